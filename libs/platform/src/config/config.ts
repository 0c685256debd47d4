import { z } from 'zod';

/**
 * Typed configuration: one zod object whose keys are the environment's names. A field that holds a secret is marked
 * with `secret`, so that it is never shown.
 */
export const secret = <S extends z.ZodType>(schema: S): S => schema.meta({ secret: true }) as S;

/** `true`, `1`, `yes`, `on` and their opposites. */
export const flag = z.stringbool();
export const port = z.coerce.number().int().min(0).max(65_535);
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

const describe = (issue: z.core.$ZodIssue, env: Record<string, string>): string =>
  issue.path.length > 0 && env[String(issue.path[0])] === undefined ? 'is not set' : issue.message;

export const checkConfig = (schema: z.ZodObject, env: Environment): ConfigProblem[] => {
  const given = present(env);
  const result = schema.safeParse(given);
  return result.success
    ? []
    : result.error.issues.map((issue) => ({
        name: issue.path.join('.') || 'configuration',
        problem: describe(issue, given),
      }));
};

/** @throws ConfigError with every problem */
export const loadConfig = <S extends z.ZodObject>(schema: S, env: Environment): z.output<S> => {
  const problems = checkConfig(schema, env);
  if (problems.length > 0) throw new ConfigError(problems);
  return schema.parse(present(env)) as z.output<S>;
};

export interface ConfigEntry {
  readonly name: string;
  /** `***` for a secret that is set. */
  readonly value: unknown;
  readonly source: 'environment' | 'default';
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
  const given = present(env);
  const values = loadConfig(schema, env) as Record<string, unknown>;
  return Object.entries(schema.shape as Record<string, z.ZodType>).map(([name, field]) => ({
    name,
    value: values[name] === undefined ? null : isSecret(field) ? '***' : masked(values[name]),
    source: given[name] === undefined ? 'default' : 'environment',
  }));
};
