import { readFileSync } from 'node:fs';

/** Error codes with the names of their parameters in order; codes made by storage back ends carry a number at the end. */
const CODES = JSON.parse(readFileSync(new URL('../generated/errors.json', import.meta.url), 'utf8'));

/** An error as XAPI answers it: a code of the table and its parameters, all text. */
export class XapiFailure extends Error {
  /** @param {string} code @param {...(string | number)} params */
  constructor(code, ...params) {
    super(`${code}(${params.join(', ')})`);
    if (!(code.replace(/_\d+$/, '') in CODES)) throw new Error(`XAPI has no error ${code}`);
    this.code = code;
    this.params = params.map(String);
  }

  /** Code first, as XML-RPC's ErrorDescription and a task's error_info have it. */
  get description() {
    return [this.code, ...this.params];
  }

  /** @param {unknown} error @returns {XapiFailure} */
  static of(error) {
    return error instanceof XapiFailure ? error : new XapiFailure('INTERNAL_ERROR', String(error?.stack ?? error));
  }
}

/** @param {string} code @param {...(string | number)} params @returns {never} */
export const fail = (code, ...params) => {
  throw new XapiFailure(code, ...params);
};
