import { XapiFailure } from '../../../../../../tools/doubles/xapi/model/failure.mjs';
import type { PoolUnderTest } from './pool-under-test.js';

/** Calls that change nothing. */
const LOOKS = /^(session|event|task)\.|\.get_|\.assert_|^GET/;

export interface CutCalls {
  /** Some call did not come through. */
  happened(): boolean;
  mend(): void;
}

/**
 * After that many changes nothing that anybody asks of the pool comes through any more, as if who asks had ended.
 * @param last `begun`: the last one goes on in the pool, and whoever asked for it does not hear of its end
 */
export const cutCalls = (
  { double: { faults } }: PoolUnderTest,
  changes: number,
  last: 'done' | 'begun' = 'done',
): CutCalls => {
  let [left, cut] = [changes, false];
  const { before } = faults;
  faults.before = async (method: string, params: unknown[]) => {
    const isChange = !LOOKS.test(method);
    if (isChange && left-- <= 0) cut = true;
    if (cut) throw new XapiFailure('INTERNAL_ERROR', 'nobody asks any more');
    if (isChange && left === 0 && last === 'begun') cut = true;
    return before.call(faults, method, params);
  };
  return {
    happened: () => cut,
    mend: () => {
      faults.before = before;
    },
  };
};
