/** CONNECT /console?ref=…&session_id=…: the guest's screen (RFB) or its text console, byte for byte. */

const refuse = (socket, status) => socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`);

const consoleOf = ({ db }, query) => {
  const ref = query.get('ref');
  const uuid = query.get('uuid');
  if (ref !== null && db.has('console', ref)) return ref;
  const byUuid = db.all('console').find(([, record]) => record.uuid === uuid);
  if (byUuid) return byUuid[0];
  const vm = ref !== null && db.has('VM', ref) ? ref : db.all('VM').find(([, record]) => record.uuid === uuid)?.[0];
  if (vm === undefined) return null;
  return db.childrenOf('console', 'VM', vm).find((c) => db.get('console', c).protocol === 'rfb') ?? null;
};

/** A session in the query or in a cookie. */
const sessionOf = (query, head) =>
  query.get('session_id') ?? /^cookie:.*?session_id=([^;\s]+)/im.exec(head)?.[1] ?? undefined;

/**
 * @param {import('../model/xapi.mjs').Xapi} xapi
 * @param {string} host the member that was asked: a console is only where its VM runs
 * @param {import('node:net').Socket} socket
 * @param {Buffer} first bytes that came already
 */
export const openConsole = (xapi, host, socket, first) => {
  let received = first;
  const read = (chunk) => {
    received = Buffer.concat([received, chunk]);
    if (received.includes('\r\n\r\n')) start();
    else if (received.length > 8192) refuse(socket, '400 Bad Request');
  };
  const start = () => {
    socket.off('data', read);
    socket.pause();
    const end = received.indexOf('\r\n\r\n');
    connect(xapi, host, socket, received.toString('latin1', 0, end), received.subarray(end + 4)).catch(() =>
      refuse(socket, '500 Internal Server Error'),
    );
  };
  if (received.includes('\r\n\r\n')) start();
  else socket.on('data', read).resume();
};

const connect = async (xapi, host, socket, head, rest) => {
  const [, target, version] = /^CONNECT (\S+) (HTTP\/1\.[01])/.exec(head) ?? [];
  if (!version || !target.startsWith('/console')) return refuse(socket, '404 Not Found');
  const query = new URL(target, 'http://xapi').searchParams;
  try {
    const session = xapi.sessions.check(sessionOf(query, head));
    xapi.sessions.authorize(session, 'http/connect_console', 'vm-operator');
  } catch {
    return refuse(socket, '401 Unauthorised');
  }
  const ref = consoleOf(xapi, query);
  if (ref === null) return refuse(socket, '404 Not Found');
  const { VM: vm, protocol } = xapi.db.get('console', ref);
  const { power_state: power, resident_on: on, uuid } = xapi.db.get('VM', vm);
  if (power !== 'Running' || on !== host) return refuse(socket, '500 Internal Server Error');
  const stream = await xapi.guests.console(uuid, protocol);
  socket.write(`${version} 200 OK\r\n\r\n`);
  if (rest.length > 0) stream.write(rest);
  stream.on('error', () => socket.destroy());
  stream.pipe(socket);
  socket.pipe(stream);
  socket.on('close', () => stream.destroy());
  stream.on('close', () => socket.destroy());
};
