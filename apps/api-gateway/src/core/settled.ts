/**
 * Results of work that goes on side by side. Waits for all of it, so that nothing is still under way when it throws.
 * @throws the error of the first in order that failed
 */
export const settled = async <const W extends readonly unknown[]>(
  work: W,
): Promise<{ -readonly [I in keyof W]: Awaited<W[I]> }> => {
  const results = await Promise.allSettled(work);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
  return results.map((r) => (r as PromiseFulfilledResult<unknown>).value) as never;
};
