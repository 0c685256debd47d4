import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { HostChannel, type HostProcess } from './host-channel.js';
import { HostConnection, selectionOf } from './host-connection.js';

const hello = { protocol: 2, powershell: '5.1', build: 20348, product: 'Windows', languageMode: 'FullLanguage' };

/** A run of the script that a test speaks for. */
const scripted = () => {
  const [input, output] = [new PassThrough(), new PassThrough()];
  const requests: Record<string, unknown>[] = [];
  input.on('data', (bytes: Buffer) => {
    for (const line of bytes.toString().trim().split('\n')) requests.push(JSON.parse(line));
  });
  let end = (_: string) => {};
  const ended = new Promise<string>((resolve) => {
    end = resolve;
  });
  const say = (line: object | string) => output.write(`${typeof line === 'string' ? line : JSON.stringify(line)}\n`);
  const run: HostProcess & { killed: boolean } = {
    input,
    output,
    ended,
    killed: false,
    kill() {
      run.killed = true;
    },
  };
  return { run, requests, say, end };
};
const call = { cmdlet: 'Get-VM', parameters: {} };

describe('a run of the host script', () => {
  it('answers by the number of the call, whatever PowerShell prints between', async () => {
    const { run, requests, say } = scripted();
    const channel = new HostChannel(() => run);
    say({ hello });
    expect(await channel.hello).toEqual(hello);
    const answers = [channel.call(call, 1_000), channel.call(call, 1_000)];
    await expect.poll(() => requests).toMatchObject([{ id: 1, cmdlet: 'Get-VM' }, { id: 2 }]);
    say('WARNING: something');
    say('{"broken');
    say({ id: 99, ok: true, result: [] });
    say({ id: 2, ok: true, result: ['second'] });
    say({ id: 1, ok: true, result: ['first'] });
    expect(await Promise.all(answers)).toEqual([['first'], ['second']]);
  });

  it('gives error records as errors', async () => {
    const { run, say } = scripted();
    const channel = new HostChannel(() => run);
    const failing = channel.call(call, 1_000);
    say({
      id: 1,
      ok: false,
      error: { fullyQualifiedErrorId: 'OutOfMemory,X', category: 'ResourceUnavailable', message: 'm', exception: 'E' },
    });
    await expect(failing).rejects.toMatchObject({ code: 'noResources', native: 'Get-VM: OutOfMemory,X: m' });
  });

  it('is over when it does not answer in time, and all that waits with it', async () => {
    const { run } = scripted();
    const channel = new HostChannel(() => run);
    const calls = [channel.call(call, 20), channel.call(call, 60_000)];
    for (const one of calls) await expect(one).rejects.toMatchObject({ code: 'unavailable' });
    expect([channel.isOpen, run.killed]).toEqual([false, true]);
    await expect(channel.call(call, 1_000)).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('says what it last said when it ends', async () => {
    const { run, end } = scripted();
    const channel = new HostChannel(() => run);
    const waiting = channel.call(call, 1_000);
    end('Host key verification failed.\n');
    await expect(waiting).rejects.toMatchObject({ code: 'unavailable', native: 'Host key verification failed.' });
    await expect(channel.hello).rejects.toMatchObject({ native: 'Host key verification failed.' });
  });

  it('is asked to cancel a call that is aborted', async () => {
    const { run, requests, say } = scripted();
    const channel = new HostChannel(() => run);
    const abort = new AbortController();
    const receiving = channel.call(call, 1_000, abort.signal);
    abort.abort();
    await expect.poll(() => requests).toMatchObject([{ id: 1 }, { cancel: 1 }]);
    say({ id: 1, ok: true, result: [] });
    expect(await receiving).toEqual([]);
  });
});

describe('calls to a host', () => {
  it('go side by side over as many runs as there may be, and wait for one beyond', async () => {
    const runs: ReturnType<typeof scripted>[] = [];
    const open = () => {
      const made = scripted();
      runs.push(made);
      return made.run;
    };
    const host = new HostConnection({ open, workers: 2, answerTimeout: 1_000 });
    const done = [1, 2, 3].map(() => host.run('New-HostFolder', { Path: 'C:\\a' }));
    await expect.poll(() => runs.map((r) => r.requests.length)).toEqual([1, 1]);
    for (const { say } of runs) say({ id: 1, ok: true, result: [] });
    await expect.poll(() => runs.map((r) => r.requests.length).sort()).toEqual([1, 2]);
    runs.find((r) => r.requests.length === 2)!.say({ id: 2, ok: true, result: [] });
    await Promise.all(done);
    host.close();
    expect(runs.every((r) => r.run.killed)).toBe(true);
  });

  it('ask for what the schema reads, and refuse an answer that is none', async () => {
    expect(
      selectionOf(z.object({ Id: z.string(), Disks: z.array(z.object({ Path: z.string().nullable() })).nullable() })),
    ).toEqual({ Id: true, Disks: { Path: true } });
    const made = scripted();
    const host = new HostConnection({ open: () => made.run, answerTimeout: 1_000 });
    const reading = host.get('Get-VM', {}, z.object({ Id: z.string() }));
    await expect.poll(() => made.requests).toMatchObject([{ select: { Id: true } }]);
    made.say({ id: 1, ok: true, result: [{ Id: 7 }] });
    await expect(reading).rejects.toMatchObject({ code: 'fault' });
    host.close();
  });
});
