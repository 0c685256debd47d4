import { setTimeout as sleep } from 'node:timers/promises';
import { XapiFailure } from './failure.mjs';

/**
 * What a test provokes. A rule holds for calls of `method` (`*` for all) whose parameters contain `where`.
 * @typedef {{ method: string, where?: string, times?: number } & (
 *   { error: [string, ...string[]] } | { delay: number } | { loseAnswer: true })} Rule
 */
export class Faults {
  constructor() {
    /** @type {Rule[]} */
    this.rules = [];
    /** Every call that was dispatched: method and how often. @type {Map<string, number>} */
    this.counts = new Map();
  }

  /** @param {Rule} rule */
  add(rule) {
    this.rules.push({ ...rule });
  }

  clear() {
    this.rules = [];
  }

  /** Waits and fails as the rules want it. @returns {Promise<boolean>} the caller has to lose the answer */
  async before(method, params) {
    this.counts.set(method, (this.counts.get(method) ?? 0) + 1);
    let lose = false;
    for (const rule of [...this.rules]) {
      if (rule.method !== '*' && rule.method !== method) continue;
      if (rule.where !== undefined && !JSON.stringify(params).includes(rule.where)) continue;
      if (rule.times !== undefined && --rule.times <= 0) this.rules.splice(this.rules.indexOf(rule), 1);
      if ('delay' in rule) await sleep(rule.delay);
      else if ('loseAnswer' in rule) lose = true;
      else throw new XapiFailure(...rule.error);
    }
    return lose;
  }
}
