import { expect, it } from 'vitest';
import { Semaphore } from './semaphore.js';

const gate = () => {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
};

it('lets so many work at once, in the order in which they came', async () => {
  const semaphore = new Semaphore(2);
  const gates = [gate(), gate(), gate(), gate()];
  const began: number[] = [];
  const all = gates.map(({ opened }, i) =>
    semaphore.use(async () => {
      began.push(i);
      await opened;
    }),
  );
  await Promise.resolve();
  expect(began).toEqual([0, 1]);
  gates[1]!.open();
  await all[1];
  await Promise.resolve();
  expect(began).toEqual([0, 1, 2]);
  for (const { open } of gates) open();
  await Promise.all(all);
  expect(began).toEqual([0, 1, 2, 3]);
});

it('lets go of who gives up in the line, and the others move up', async () => {
  const semaphore = new Semaphore(1);
  const first = gate();
  const working = semaphore.use(() => first.opened);
  const abort = new AbortController();
  const second = semaphore.use(async () => 'second', abort.signal);
  const third = semaphore.use(async () => 'third');
  abort.abort(new Error('given up'));
  await expect(second).rejects.toThrow('given up');
  first.open();
  await working;
  expect(await third).toBe('third');
  await expect(semaphore.use(async () => 'never', abort.signal)).rejects.toThrow('given up');
  expect(await semaphore.use(async () => 'fourth')).toBe('fourth');
});
