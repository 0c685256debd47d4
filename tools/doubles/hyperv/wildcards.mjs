/**
 * What a name with wildcards means in PowerShell: `*`, `?` and `[a-c]`, a backtick before one that means itself; case does
 * not count.
 * @param {string} pattern
 * @returns {RegExp}
 */
export const wildcard = (pattern) => {
  let source = '';
  for (const [token] of pattern.matchAll(/`.|\[[^\]]+\]|./gs))
    if (token === '*') source += '.*';
    else if (token === '?') source += '.';
    else if (token.length > 2) source += `[${token.slice(1, -1).replace(/[\\^]/g, '\\$&')}]`;
    else source += literal(token.length === 2 ? token[1] : token);
  return new RegExp(`^${source}$`, 'is');
};

const literal = (text) => text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
