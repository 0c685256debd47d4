import { describe, expect, it } from 'vitest';
import { Host, LocalShell } from './host-shell.js';

const soon = 3_000;
const late = 'sleep 10 & wait';

describe('calls of a Xen host', () => {
  const host = () => new Host(new LocalShell(), { calls: 1, looks: 1, answer: 10_000 });

  it('end when they are late or aborted, whatever children they have', { timeout: soon }, async () => {
    await expect(host().call(late, [], { timeout: 100 })).rejects.toMatchObject({ code: 'unavailable' });
    const signal = AbortSignal.timeout(100);
    await expect(host().call(late, [], { signal })).rejects.toMatchObject({ code: 'fault' });
    await expect(host().call('true', [], { signal })).rejects.toMatchObject({ code: 'fault' });
  });

  it('tell how they ended when nothing else does', async () => {
    for (const [script, native] of [
      ['exit 255', 'ended with 255'],
      ['echo no route >&2; exit 255', 'no route'],
      ['kill -9 $$', 'it was ended'],
    ] as const)
      await expect(host().call(script, [])).rejects.toMatchObject({ code: 'unavailable', native });
  });

  it('that only look do not wait behind changes, and changes not for ever', { timeout: soon }, async () => {
    const busy = host();
    const change = busy.call('read -r line; echo "$line"', [], { input: Buffer.from('done\n') });
    const held = busy.call('sleep 1', []);
    expect(await busy.look('echo here', [])).toBe('here\n');
    await expect(busy.call('true', [], { timeout: 100 })).rejects.toMatchObject({ code: 'unavailable' });
    expect([await change, await held]).toEqual(['done\n', '']);
    expect(await busy.call('echo next', [])).toBe('next\n');
  });

  it.each([true, false])('give a disk in whole or fail, from another machine (%s) packed', async (isRemote) => {
    const shell = new LocalShell();
    const over = new Host({ isRemote, start: (...call) => shell.start(...call), close: () => {} });
    const disk = async (end: string) => {
      const script = `echo 300000; head -c 300000 /dev/urandom | $1 ${end}`;
      const { size, stream } = await over.read(script, [], AbortSignal.timeout(soon));
      let length = 0;
      for await (const part of stream) length += (part as Buffer).length;
      return { size, length };
    };
    expect(await disk('')).toEqual({ size: 300_000, length: 300_000 });
    await expect(disk('| head -c 200000')).rejects.toMatchObject({ code: 'unavailable' });
  });
});
