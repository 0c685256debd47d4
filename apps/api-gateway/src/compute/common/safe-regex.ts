/**
 * Regular expressions of callers, matched in time linear to the text: no backtracking, so no pattern can keep us busy.
 * Syntax: alternatives, groups, classes, `.`, `^`, `$`, `* + ? {m,n}`, and `\d \w \s` with their opposites.
 */

type Test = (code: number) => boolean;
type Node =
  | { readonly kind: 'empty' }
  | { readonly kind: 'char'; readonly test: Test }
  | { readonly kind: 'start' | 'end' }
  | { readonly kind: 'all' | 'any'; readonly parts: readonly Node[] }
  | { readonly kind: 'repeat'; readonly part: Node; readonly min: number; readonly max: number };

const MAX_PATTERN = 255;
const MAX_REPEAT = 100;
const MAX_STATES = 2_000;

export class BadPattern extends Error {}

const digit: Test = (c) => c >= 48 && c <= 57;
const space: Test = (c) => c === 32 || (c >= 9 && c <= 13) || c === 0xa0;
const word: Test = (c) => digit(c) || (c >= 65 && c <= 90) || (c >= 97 && c <= 122) || c === 95;
const not =
  (test: Test): Test =>
  (c) =>
    !test(c);
const classes: Readonly<Record<string, Test>> = {
  d: digit,
  D: not(digit),
  w: word,
  W: not(word),
  s: space,
  S: not(space),
};
const controls: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r' };
const lower = (c: number) => (c >= 65 && c <= 90 ? c + 32 : c);
const same =
  (text: string): Test =>
  (c) =>
    lower(c) === lower(text.codePointAt(0)!);

class Parser {
  private at = 0;
  private readonly text: string[];

  constructor(pattern: string) {
    if (pattern.length > MAX_PATTERN) throw new BadPattern('the pattern is too long');
    this.text = [...pattern];
  }

  parse(): Node {
    const node = this.alternatives();
    if (this.at < this.text.length) throw new BadPattern('unbalanced parenthesis');
    return node;
  }

  private alternatives(): Node {
    const parts = [this.sequence()];
    while (this.take('|')) parts.push(this.sequence());
    return parts.length === 1 ? parts[0]! : { kind: 'any', parts };
  }

  private sequence(): Node {
    const parts: Node[] = [];
    while (this.at < this.text.length && this.peek() !== '|' && this.peek() !== ')') parts.push(this.repeated());
    return parts.length === 1 ? parts[0]! : { kind: 'all', parts };
  }

  private repeated(): Node {
    let part = this.atom();
    for (;;) {
      const bounds = this.bounds();
      if (!bounds) return part;
      this.take('?');
      part = { kind: 'repeat', part, min: bounds[0], max: bounds[1] };
    }
  }

  private bounds(): readonly [number, number] | null {
    if (this.take('*')) return [0, Number.POSITIVE_INFINITY];
    if (this.take('+')) return [1, Number.POSITIVE_INFINITY];
    if (this.take('?')) return [0, 1];
    const match = /^\{(\d{1,4})(,(\d{0,4}))?\}/.exec(this.text.slice(this.at, this.at + 12).join(''));
    if (!match) return null;
    this.at += match[0].length;
    const min = Number(match[1]);
    const max = match[2] === undefined ? min : match[3] ? Number(match[3]) : Number.POSITIVE_INFINITY;
    if (min > max || min > MAX_REPEAT || (max !== Number.POSITIVE_INFINITY && max > MAX_REPEAT))
      throw new BadPattern('bad repeat interval');
    return [min, max];
  }

  private atom(): Node {
    const c = this.next();
    switch (c) {
      case '(': {
        if (this.take('?') && !this.take(':')) throw new BadPattern('unknown extension');
        const inner = this.alternatives();
        if (!this.take(')')) throw new BadPattern('missing ), unterminated subpattern');
        return inner;
      }
      case '[':
        return { kind: 'char', test: this.set() };
      case '.':
        return { kind: 'char', test: (code) => code !== 10 };
      case '^':
        return { kind: 'start' };
      case '$':
        return { kind: 'end' };
      case '*':
      case '+':
      case '?':
        throw new BadPattern('nothing to repeat');
      case '\\':
        return { kind: 'char', test: this.escaped() };
      default:
        return { kind: 'char', test: same(c) };
    }
  }

  private escaped(): Test {
    const c = this.next();
    return classes[c] ?? same(controls[c] ?? c);
  }

  private set(): Test {
    const negated = this.take('^');
    const tests: Test[] = [];
    for (let first = true; ; first = false) {
      if (this.at >= this.text.length) throw new BadPattern('unterminated character set');
      if (!first && this.take(']')) break;
      const c = this.next();
      if (c === '\\') {
        tests.push(this.escaped());
        continue;
      }
      if (this.peek() === '-' && this.text[this.at + 1] !== undefined && this.text[this.at + 1] !== ']') {
        this.at++;
        const from = c.codePointAt(0)!;
        const to = this.next().codePointAt(0)!;
        if (from > to) throw new BadPattern('bad character range');
        tests.push((code) => (code >= from && code <= to) || (lower(code) >= from && lower(code) <= to));
      } else tests.push(same(c));
    }
    const any: Test = (code) => tests.some((t) => t(code));
    return negated ? not(any) : any;
  }

  private peek(): string | undefined {
    return this.text[this.at];
  }
  private take(c: string): boolean {
    if (this.text[this.at] !== c) return false;
    this.at++;
    return true;
  }
  private next(): string {
    const c = this.text[this.at++];
    if (c === undefined) throw new BadPattern('unexpected end of pattern');
    return c;
  }
}

type State =
  | { readonly kind: 'char'; readonly test: Test; next: number }
  | { readonly kind: 'start' | 'end'; next: number }
  | { readonly kind: 'split'; readonly to: number[] }
  | { readonly kind: 'match' };

/** True when the pattern is found anywhere in the text; letters of ASCII match in either case. */
export type Matcher = (text: string) => boolean;

/** @throws BadPattern */
export const matcher = (pattern: string): Matcher => {
  const states: State[] = [{ kind: 'match' }];
  const add = (state: State): number => {
    if (states.length >= MAX_STATES) throw new BadPattern('the pattern is too large');
    return states.push(state) - 1;
  };
  const build = (node: Node, next: number): number => {
    switch (node.kind) {
      case 'empty':
        return next;
      case 'char':
        return add({ kind: 'char', test: node.test, next });
      case 'start':
      case 'end':
        return add({ kind: node.kind, next });
      case 'all':
        return node.parts.reduceRight((after, part) => build(part, after), next);
      case 'any':
        return add({ kind: 'split', to: node.parts.map((part) => build(part, next)) });
      case 'repeat': {
        let entry = next;
        if (node.max === Number.POSITIVE_INFINITY) {
          const loop: { kind: 'split'; to: number[] } = { kind: 'split', to: [next] };
          entry = add(loop);
          loop.to.push(build(node.part, entry));
        } else
          for (let i = node.min; i < node.max; i++) entry = add({ kind: 'split', to: [next, build(node.part, entry)] });
        for (let i = 0; i < node.min; i++) entry = build(node.part, entry);
        return entry;
      }
    }
  };
  const start = build(new Parser(pattern).parse(), 0);
  return (text) => {
    const chars = [...text];
    let current = new Set<number>();
    const enter = (into: Set<number>, first: number, at: number): boolean => {
      const stack = [first];
      while (stack.length > 0) {
        const id = stack.pop()!;
        if (into.has(id)) continue;
        into.add(id);
        const state = states[id]!;
        if (state.kind === 'match') return true;
        if (state.kind === 'split') stack.push(...state.to);
        else if ((state.kind === 'start' && at === 0) || (state.kind === 'end' && at === chars.length))
          stack.push(state.next);
      }
      return false;
    };
    for (let at = 0; ; at++) {
      if (enter(current, start, at)) return true;
      if (at >= chars.length) return false;
      const code = chars[at]!.codePointAt(0)!;
      const following = new Set<number>();
      for (const id of current) {
        const state = states[id]!;
        if (state.kind === 'char' && state.test(code) && enter(following, state.next, at + 1)) return true;
      }
      current = following;
    }
  };
};
