/** JSON-RPC 2.0 as XAPI speaks it: the error's message is its code, its data the parameters. */

/** @param {string} text @returns {{ id: unknown, method: string, params: unknown[] }} @throws SyntaxError */
export const parseCall = (text) => {
  const call = JSON.parse(text);
  if (call?.jsonrpc !== '2.0' || typeof call.method !== 'string' || !Array.isArray(call.params ?? []))
    throw new SyntaxError('no call of JSON-RPC 2.0');
  return { id: call.id ?? null, method: call.method, params: call.params ?? [] };
};

export const formatSuccess = (id, value) => JSON.stringify({ jsonrpc: '2.0', result: value, id });

/** @param {unknown} id @param {string[]} description the code and its parameters */
export const formatFailure = (id, [message, ...data]) =>
  JSON.stringify({ jsonrpc: '2.0', error: { code: 1, message, data }, id });
