import type { AccessRule } from '@omnivisor/contracts';

/** One path segment; anything at all. */
const SEGMENT = Symbol('segment');
const REST = Symbol('rest');
type Part = string | typeof SEGMENT | typeof REST;

const partsOf = (pattern: string): Part[] =>
  [...pattern.matchAll(/\{[^{}]*\}|\*\*|\*|[^{}*]+|[{}]/g)].map(([text]) => {
    if (text === '**') return REST;
    return text === '*' || (text.startsWith('{') && text.endsWith('}')) ? SEGMENT : text;
  });

/** Where in the path a part can end, that begins at one of these places. Linear in the path, whatever the pattern. */
const after = (part: Part, path: string, from: ReadonlySet<number>): Set<number> => {
  const ends = new Set<number>();
  if (typeof part === 'string') {
    for (const i of from) if (path.startsWith(part, i)) ends.add(i + part.length);
  } else if (part === REST) {
    for (let i = Math.min(...from); i <= path.length; i++) ends.add(i);
  } else {
    let open = false;
    for (let i = 1; i <= path.length; i++) {
      open = (open || from.has(i - 1)) && path[i - 1] !== '/';
      if (open) ends.add(i);
    }
  }
  return ends;
};

/** A path by a rule's pattern: `*` and `{name}` are one segment or a part of it, `**` any number of them. */
export const isPathOf = (pattern: string, path: string): boolean => {
  let ends: Set<number> = new Set([0]);
  for (const part of partsOf(pattern)) {
    ends = after(part, path, ends);
    if (ends.size === 0) return false;
  }
  return ends.has(path.length);
};

/** @param paths the spellings of the request's path */
export const isPermitted = (
  rules: readonly AccessRule[],
  request: { readonly service: string; readonly method: string; readonly paths: readonly string[] },
): boolean =>
  rules.some(
    (rule) =>
      rule.service === request.service &&
      rule.method === request.method &&
      request.paths.some((path) => isPathOf(rule.path, path)),
  );
