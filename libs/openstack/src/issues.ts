import type { z } from 'zod';
import { HIDDEN, isSecret, withoutSecrets } from './secrets.js';
import { bounded, pythonStr, pythonText } from './text.js';

/** One thing that is wrong with an input, in the words of JSON Schema that clients of OpenStack know. */
export interface SchemaIssue {
  /** From the outside in; empty for the input itself. */
  readonly path: readonly (string | number)[];
  readonly value: unknown;
  readonly message: string;
}

const JSON_TYPES: Record<string, string> = {
  string: 'string',
  number: 'number',
  int: 'integer',
  boolean: 'boolean',
  array: 'array',
  object: 'object',
  record: 'object',
  null: 'null',
};

const FORMATS: Record<string, string> = {
  uuid: 'uuid',
  email: 'email',
  url: 'uri',
  ipv4: 'ipv4',
  ipv6: 'ipv6',
  datetime: 'date-time',
};

/** The value at a path of an input. */
export const valueAt = (input: unknown, path: readonly PropertyKey[]): unknown => {
  let value = input;
  for (const key of path) {
    if (value === null || typeof value !== 'object') return undefined;
    value = (value as Record<PropertyKey, unknown>)[key];
  }
  return value;
};

/** What zod found, as JSON Schema would have said it. */
export const schemaIssues = (error: z.ZodError, input: unknown): SchemaIssue[] =>
  error.issues.map((issue) => fromZod(issue, input));

const fromZod = (issue: z.core.$ZodIssue, input: unknown): SchemaIssue => {
  const path = issue.path.map((p) => (typeof p === 'symbol' ? String(p) : p));
  const given = valueAt(input, path);
  const secret = path.some(isSecret);
  const value = secret && given !== undefined ? HIDDEN : withoutSecrets(given);
  const missing = given === undefined && path.length > 0;
  if (missing && issue.code !== 'unrecognized_keys' && issue.code !== 'custom') {
    const parent = path.slice(0, -1);
    return {
      path: parent,
      value: secret ? HIDDEN : withoutSecrets(valueAt(input, parent)),
      message: `${pythonText(String(path.at(-1)))} is a required property`,
    };
  }
  const message = messageOf(issue, value, input);
  // A check of ours says what it was given.
  const own = secret && issue.code === 'custom' ? `${HIDDEN} is not valid` : message;
  return { path, value, message: bounded(own) };
};

const messageOf = (issue: z.core.$ZodIssue, value: unknown, input: unknown): string => {
  const shown = pythonText(value);
  switch (issue.code) {
    case 'unrecognized_keys': {
      const keys = issue.keys.map((k) => pythonText(k)).join(', ');
      return `Additional properties are not allowed (${keys} ${issue.keys.length > 1 ? 'were' : 'was'} unexpected)`;
    }
    case 'invalid_type':
      return `${shown} is not of type '${JSON_TYPES[issue.expected] ?? issue.expected}'`;
    case 'too_small':
      if (issue.origin === 'string' || issue.origin === 'array')
        return Number(issue.minimum) === 1 ? `${shown} should be non-empty` : `${shown} is too short`;
      return `${shown} is less than the minimum of ${issue.minimum}`;
    case 'too_big':
      if (issue.origin === 'string' || issue.origin === 'array') return `${shown} is too long`;
      return issue.origin === 'object'
        ? `${shown} has too many properties`
        : `${shown} is greater than the maximum of ${issue.maximum}`;
    case 'invalid_value':
      return issue.values.length === 1
        ? `${pythonText(issue.values[0])} was expected`
        : `${shown} is not one of ${pythonText([...issue.values])}`;
    case 'invalid_format':
      return issue.format === 'regex'
        ? `${shown} does not match ${pythonText(patternOf(issue))}`
        : `${shown} is not a '${FORMATS[issue.format] ?? issue.format}'`;
    case 'invalid_union': {
      // The branch that came furthest is the one the caller meant.
      const branches = issue.errors.filter((e) => e.length > 0);
      const deepest = branches.sort((a, b) => depth(b) - depth(a))[0]?.[0];
      if (deepest && deepest.path.length > 0) return messageOf(deepest, valueAt(value, deepest.path), input);
      return `${shown} is not valid under any of the given schemas`;
    }
    case 'invalid_key':
      return `${pythonText(String(issue.path.at(-1)))} does not match any of the regexes`;
    case 'not_multiple_of':
      return `${shown} is not a multiple of ${issue.divisor}`;
    default:
      return issue.message;
  }
};

const depth = (issues: readonly z.core.$ZodIssue[]): number => Math.max(...issues.map((i) => i.path.length));

const patternOf = (issue: z.core.$ZodIssue): string => {
  const pattern = 'pattern' in issue && typeof issue.pattern === 'string' ? issue.pattern : '';
  return pattern.replace(/^\//, '').replace(/\/[a-z]*$/, '');
};

/** How a service words the first thing that is wrong with a body or a query. */
export type IssueWording = (issue: SchemaIssue, where: 'body' | 'query') => string;

export const computeWording: IssueWording = (issue, where) => {
  if (issue.path.length === 0) return issue.message;
  return where === 'body'
    ? `Invalid input for field/attribute ${issue.path.at(-1)}. Value: ${bounded(pythonStr(issue.value))}. ${issue.message}`
    : `Invalid input for query parameters ${issue.path[0]}. Value: ${bounded(pythonStr(issue.value))}. ${issue.message}`;
};

export const identityWording: IssueWording = (issue) =>
  issue.path.length === 0 ? issue.message : `Invalid input for field '${issue.path.join('/')}': ${issue.message}`;

export const networkWording: IssueWording = (issue) => {
  const unknown = /^Additional properties are not allowed \((.*) w(?:as|ere) unexpected\)$/.exec(issue.message);
  if (unknown) return `Unrecognized attribute(s) ${pythonText(unknown[1]!.replaceAll("'", ''))}`;
  const missing = /^(.*) is a required property$/.exec(issue.message);
  if (missing) return `Failed to parse request. Required attribute ${missing[1]} not specified`;
  return `Invalid input for ${issue.path.at(-1) ?? 'request'}. Reason: ${issue.message}.`;
};

export const imageWording: IssueWording = (issue) =>
  `Provided object does not match schema: ${issue.message}${issue.path.length > 0 ? ` (${issue.path.join('.')})` : ''}`;

export const placementWording: IssueWording = (issue, where) =>
  where === 'query' ? `Invalid query string parameters: ${issue.message}` : `JSON does not validate: ${issue.message}`;
