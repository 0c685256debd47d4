import { expect, it } from 'vitest';
import { KeyedMutex } from './keyed-mutex.js';

const gate = () => {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { open, opened };
};

it('runs actions of one key in turn, and other keys beside them', async () => {
  const mutex = new KeyedMutex<string>();
  const seen: string[] = [];
  const first = gate();
  const a = mutex.run('one', async () => {
    await first.opened;
    seen.push('first');
  });
  const b = mutex.run('one', async () => void seen.push('second'));
  await mutex.run('two', async () => void seen.push('other'));
  first.open();
  await Promise.all([a, b]);
  expect(seen).toEqual(['other', 'first', 'second']);
});

it('goes on after an action that failed, and gives the failure to its caller', async () => {
  const mutex = new KeyedMutex<string>();
  const failing = mutex.run('one', () => Promise.reject(new Error('broken')));
  const next = mutex.run('one', async () => 'done');
  await expect(failing).rejects.toThrow('broken');
  expect(await next).toBe('done');
});
