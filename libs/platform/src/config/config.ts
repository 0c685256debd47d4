import { readFileSync } from 'node:fs';
import { z } from 'zod';

/**
 * Typed configuration: one zod object whose keys are the environment's names. A field that holds a secret is marked
 * with `secret`, so that it is never shown.
 */
export const secret = <S extends z.ZodType>(schema: S): S => schema.meta({ secret: true }) as S;

/** `true`, `1`, `yes`, `on` and their opposites. */
export const flag = z.stringbool();
export const port = z.coerce.number().int().min(0).max(65_535);
/** The address of something that speaks HTTP. */
export const httpUrl = z.url({ protocol: /^https?$/ });
/** A whole number as the environment has it. */
export const count = z.coerce.number().int().min(0);

export interface ConfigProblem {
  readonly name: string;
  readonly problem: string;
}

/** Every problem of a configuration at once, never its values: they may be secrets. */
export class ConfigError extends Error {
  constructor(readonly problems: readonly ConfigProblem[]) {
    super(
      `the configuration has ${problems.length} problem${problems.length === 1 ? '' : 's'}:\n${problems.map((p) => `  ${p.name}: ${p.problem}`).join('\n')}`,
    );
    this.name = 'ConfigError';
  }
}

export type Environment = Readonly<Record<string, string | undefined>>;

/** An empty variable counts as one that is not set. */
const present = (env: Environment): Record<string, string> =>
  Object.fromEntries(Object.entries(env).filter((e): e is [string, string] => e[1] !== undefined && e[1] !== ''));

/** What is given: a variable itself, or where `<variable>_FILE` names a file, the text in it. */
const given = (schema: z.ZodObject, env: Environment): Record<string, string> => {
  const values = present(env);
  for (const name of Object.keys(schema.shape)) {
    const file = values[`${name}_FILE`];
    if (values[name] === undefined && file !== undefined) {
      const text = textOf(file);
      if (text !== undefined) values[name] = text;
    }
  }
  return values;
};

const textOf = (file: string): string | undefined => {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return undefined;
  }
};

const describe = (issue: z.core.$ZodIssue, env: Record<string, string>): string => {
  const name = String(issue.path[0] ?? '');
  if (name === '' || env[name] !== undefined) return issue.message;
  return env[`${name}_FILE`] === undefined ? 'is not set' : `cannot be read from ${env[`${name}_FILE`]}`;
};

export const checkConfig = (schema: z.ZodObject, env: Environment): ConfigProblem[] => {
  const values = given(schema, env);
  const result = schema.safeParse(values);
  return result.success
    ? []
    : result.error.issues.map((issue) => ({
        name: issue.path.join('.') || 'configuration',
        problem: describe(issue, values),
      }));
};

/** @throws ConfigError with every problem */
export const loadConfig = <S extends z.ZodObject>(schema: S, env: Environment): z.output<S> => {
  const problems = checkConfig(schema, env);
  if (problems.length > 0) throw new ConfigError(problems);
  return schema.parse(given(schema, env)) as z.output<S>;
};

export interface ConfigEntry {
  readonly name: string;
  /** `***` for a secret that is set. */
  readonly value: unknown;
  readonly source: 'environment' | 'file' | 'default';
}

const isSecret = (schema: z.ZodType): boolean => {
  if (schema.meta()?.secret === true) return true;
  const inner = (schema.def as { innerType?: z.ZodType }).innerType;
  return inner !== undefined && isSecret(inner);
};

/** A password inside a URL is a secret too. */
const masked = (value: unknown): unknown =>
  typeof value === 'string' ? value.replace(/(\/\/[^/:@\s]*):[^@/\s]*@/g, '$1:***@') : value;

/** What is in force, with secrets masked; for `config show`. */
export const showConfig = <S extends z.ZodObject>(schema: S, env: Environment): ConfigEntry[] => {
  const set = given(schema, env);
  const values = loadConfig(schema, env) as Record<string, unknown>;
  return Object.entries(schema.shape as Record<string, z.ZodType>).map(([name, field]) => ({
    name,
    value: values[name] === undefined ? null : isSecret(field) ? '***' : masked(values[name]),
    source: set[name] === undefined ? 'default' : present(env)[name] === undefined ? 'file' : 'environment',
  }));
};
