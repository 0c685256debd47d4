/** oslo.policy's rule language, compiled to closures. */

/** What is decided about: attributes of the object, dots and all (`target.user.id`), flat or nested. */
export type Target = Readonly<Record<string, unknown>>;
/** What the token says: `user_id`, `project_id`, `domain_id`, `system_scope`, `roles`, `is_admin`, nested `token`. */
export type Credentials = Readonly<Record<string, unknown>> & { readonly roles: readonly string[] };

/** Rules by their names, in oslo.policy's language. */
export type RuleTable = Readonly<Record<string, string>>;

export type Check = (target: Target, credentials: Credentials, rules: RuleLookup) => boolean;
export type RuleLookup = (name: string) => Check;

export class PolicySyntaxError extends Error {
  constructor(rule: string, reason: string) {
    super(`policy rule "${rule}": ${reason}`);
    this.name = 'PolicySyntaxError';
  }
}

const always: Check = () => true;
const never: Check = () => false;

/** @throws PolicySyntaxError */
export const compile = (rule: string): Check => {
  const tokens = tokenize(rule);
  if (tokens.length === 0) return always;
  const parser = new Parser(rule, tokens);
  return parser.parse();
};

const tokenize = (rule: string): string[] => {
  const tokens: string[] = [];
  for (const word of rule.split(/\s+/).filter((w) => w !== '')) {
    let rest = word;
    while (rest.startsWith('(')) {
      tokens.push('(');
      rest = rest.slice(1);
    }
    // `%(name)s` has parentheses of its own: only those without a partner close a group.
    let closing = 0;
    while (rest.endsWith(')') && count(rest, ')') > count(rest, '(')) {
      closing++;
      rest = rest.slice(0, -1);
    }
    if (rest !== '') tokens.push(rest);
    for (let i = 0; i < closing; i++) tokens.push(')');
  }
  return tokens;
};

const count = (text: string, char: string): number => text.split(char).length - 1;

class Parser {
  private at = 0;

  constructor(
    private readonly rule: string,
    private readonly tokens: readonly string[],
  ) {}

  parse(): Check {
    const check = this.or();
    if (this.at < this.tokens.length) throw new PolicySyntaxError(this.rule, `unexpected "${this.tokens[this.at]}"`);
    return check;
  }

  private or(): Check {
    const checks = [this.and()];
    while (this.word('or')) checks.push(this.and());
    if (checks.length === 1) return checks[0]!;
    return (target, credentials, rules) => {
      for (const check of checks) if (check(target, credentials, rules)) return true;
      return false;
    };
  }

  private and(): Check {
    const checks = [this.not()];
    while (this.word('and')) checks.push(this.not());
    if (checks.length === 1) return checks[0]!;
    return (target, credentials, rules) => {
      for (const check of checks) if (!check(target, credentials, rules)) return false;
      return true;
    };
  }

  private not(): Check {
    if (!this.word('not')) return this.primary();
    const check = this.not();
    return (target, credentials, rules) => !check(target, credentials, rules);
  }

  private primary(): Check {
    const token = this.tokens[this.at++];
    if (token === undefined) throw new PolicySyntaxError(this.rule, 'ends too early');
    if (token === '(') {
      const check = this.or();
      if (this.tokens[this.at++] !== ')') throw new PolicySyntaxError(this.rule, 'a parenthesis is not closed');
      return check;
    }
    if (token === '@') return always;
    if (token === '!') return never;
    return this.leaf(token);
  }

  private word(word: string): boolean {
    if (this.tokens[this.at]?.toLowerCase() !== word) return false;
    this.at++;
    return true;
  }

  private leaf(token: string): Check {
    const colon = token.indexOf(':');
    if (colon < 0) throw new PolicySyntaxError(this.rule, `"${token}" is no check`);
    const kind = token.slice(0, colon);
    const match = token.slice(colon + 1);
    if (kind === 'rule') return (target, credentials, rules) => rules(match)(target, credentials, rules);
    if (kind === 'http' || kind === 'https') throw new PolicySyntaxError(this.rule, `${kind} checks are not supported`);
    if (kind === 'field') return field(this.rule, match);
    const right = template(match);
    if (kind === 'role')
      return (target, credentials) => {
        const role = right(target)?.toLowerCase();
        return role !== undefined && credentials.roles.some((r) => r.toLowerCase() === role);
      };
    const literal = literalOf(kind);
    if (literal !== undefined) return (target) => right(target) === literal;
    const path = kind.split('.');
    const templated = match.includes('%(');
    return (target, credentials) => {
      const wanted = right(target);
      // Two things that are not there are not the same thing: an unscoped token owns no ownerless object.
      if (wanted === undefined || (wanted === 'None' && templated)) return false;
      return found(credentials, path, wanted);
    };
  }
}

/** Neutron's `field:networks:router:external=True`: an attribute of the object; `=~` compares by regular expression. */
const field = (rule: string, match: string): Check => {
  const parts = /^[^:]+:(.+?)=(~?)(.*)$/.exec(match);
  if (!parts) throw new PolicySyntaxError(rule, `"field:${match}" is no field check`);
  const [, name, pattern, wanted] = parts;
  if (pattern === '~') {
    const expression = new RegExp(`^(?:${wanted})`);
    return (target) => expression.test(shown(target[name!]) ?? '');
  }
  return (target) => shown(target[name!]) === wanted;
};

/** A template with `%(name)s`; undefined when the target lacks a name. */
const template = (text: string): ((target: Target) => string | undefined) => {
  const whole = /^%\(([^)]+)\)s$/.exec(text);
  if (whole) {
    const name = whole[1]!;
    return (target) => shown(lookUp(target, name));
  }
  if (!text.includes('%(')) return () => text;
  return (target) => {
    let missing = false;
    const result = text.replace(/%\(([^)]+)\)s/g, (_, name: string) => {
      const value = shown(lookUp(target, name));
      if (value === undefined) missing = true;
      return value ?? '';
    });
    return missing ? undefined : result;
  };
};

const lookUp = (target: Target, name: string): unknown => {
  if (name in target) return target[name];
  let value: unknown = target;
  for (const part of name.split('.')) {
    if (value === null || typeof value !== 'object' || !Object.hasOwn(value, part)) return undefined;
    value = (value as Record<string, unknown>)[part];
  }
  return value;
};

const shown = (value: unknown): string | undefined => {
  if (value === undefined) return undefined;
  if (value === null) return 'None';
  if (value === true) return 'True';
  if (value === false) return 'False';
  return String(value);
};

/** A left side that stands for itself: `'Member':%(role.name)s`, `True:…`, `None:…`, `1:…`. */
const literalOf = (kind: string): string | undefined => {
  const quoted = /^(['"])(.*)\1$/.exec(kind);
  if (quoted) return quoted[2];
  if (kind === 'None' || kind === 'True' || kind === 'False') return kind;
  return /^-?\d+$/.test(kind) ? kind : undefined;
};

const found = (value: unknown, path: readonly string[], wanted: string, at = 0): boolean => {
  if (at === path.length)
    return Array.isArray(value) ? value.some((v) => shown(v) === wanted) : shown(value) === wanted;
  if (Array.isArray(value)) return value.some((v) => found(v, path, wanted, at));
  if (value === null || typeof value !== 'object' || !Object.hasOwn(value, path[at]!)) return false;
  return found((value as Record<string, unknown>)[path[at]!], path, wanted, at + 1);
};
