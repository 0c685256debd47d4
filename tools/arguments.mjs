import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Refused } from './services/process.mjs';

/** Reads a whole number. */
export const whole =
  (least = 0, most = Number.MAX_SAFE_INTEGER) =>
  (text) => {
    const value = Number(text);
    if (/^\d+(e\d+)?$/.test(text) && value >= least && value <= most) return value;
    throw new Refused(`a whole number from ${least}${most < Number.MAX_SAFE_INTEGER ? ` to ${most}` : ''} is needed`);
  };

/** Reads one of some words. @param {...string} words */
export const oneOf =
  (...words) =>
  (text) => {
    if (words.includes(text)) return text;
    throw new Refused(`one of ${words.join(', ')} is needed`);
  };

const readValue = (name, read, text) => {
  try {
    return read(text);
  } catch (error) {
    throw error instanceof Refused ? new Refused(`--${name} ${text}: ${error.message}`) : error;
  }
};

/**
 * What parseArgs makes of arguments; refuses those that are wrong. An option may be `required`, and may have a `read`, which
 * makes a value of its text; `needed` names what has to be there beside options. Beside `--help` nothing has to.
 * @param {any} config of parseArgs
 * @returns {{ values: any, positionals: string[] }}
 */
export const parsed = (config = {}) => {
  const options = { ...config.options, help: { type: 'boolean', default: false } };
  let given;
  try {
    given = parseArgs({ ...config, options });
  } catch (error) {
    throw error.code?.startsWith('ERR_PARSE_ARGS_') ? new Refused(error.message.replaceAll('\n', ' ')) : error;
  }
  const { values, positionals } = given;
  if (values.help) return { values, positionals };
  const lacking = Object.keys(options).flatMap((name) =>
    options[name].required && !values[name] ? [`--${name}`] : [],
  );
  if (config.needed && positionals.length === 0) lacking.push(config.needed);
  if (lacking.length > 0) throw new Refused(`needed: ${lacking.join(' and ')}`);
  for (const [name, { read }] of Object.entries(options))
    if (read && values[name] !== undefined) values[name] = readValue(name, read, values[name]);
  return { values, positionals };
};

/** The comment at the top of a module. @param {string} url */
const usageOf = (url) => {
  const [, comment] = /\/\*\*(.*?)\*\//s.exec(readFileSync(new URL(url), 'utf8'));
  return comment.replace(/^ \* ?/gm, '').trim();
};

/** Ends a program that was called wrongly. @param {string} url of the module that has the usage at its top @param {string} why @returns {never} */
export const askedWrongly = (url, why) => {
  console.error(`${why}\n\n${usageOf(url)}`);
  process.exit(2);
};

/**
 * What a program was called with. Asked for help, or wrongly, it says how it is called and ends: call this before all else.
 * @param {string} url of the module that has the usage at its top
 * @param {Parameters<typeof parsed>[0]} [config]
 */
export const argumentsOf = (url, config) => {
  let given;
  try {
    given = parsed(config);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return askedWrongly(url, error.message);
  }
  if (!given.values.help) return given;
  console.log(usageOf(url));
  process.exit();
};
