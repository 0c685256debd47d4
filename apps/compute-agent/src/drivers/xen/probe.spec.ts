import { spawn } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { Host, type HostShell } from './host-shell.js';
import { parseFacts, probe } from './probe.js';

/** Answers each script with the same. */
const answering = (script: string, isRemote: boolean): HostShell => ({
  isRemote,
  start: () => spawn('/bin/sh', ['-c', script], { stdio: ['pipe', 'pipe', 'pipe'] }),
  close: () => {},
});
const probed = async (shell: HostShell) =>
  (await probe(new Host(shell), { root: '/x', type: 'pv', bridges: [] }, AbortSignal.timeout(5_000))).report;

describe('the probe', () => {
  it('knows a machine that is no dom0', async () => {
    const missing = 'echo "/bin/sh: 1: xl: not found" >&2; exit 127';
    expect(await probed(answering(missing, false))).toMatchObject({ health: 'undetected' });
    expect(await probed(answering(missing, true))).toMatchObject({ health: 'unhealthy' });
  });

  it('does not believe a host that answers with something else, or with nothing', async () => {
    expect(await probed(answering('echo hello', true))).toMatchObject({ health: 'unhealthy' });
    expect(await probed(answering('exit 255', true))).toMatchObject({
      ...{ health: 'unhealthy', reason: 'the Xen host does not answer' },
    });
  });
});

it('reads what dom0 says of itself', () => {
  const text = 'flags fpu sse2\nmodel A CPU\ndisk 1000 400\nbridge xenbr0\nbridge xenbr0.42\nconsole log\n';
  expect(parseFacts(text)).toEqual({
    ...{ cpuFlags: ['fpu', 'sse2'], cpuModel: 'A CPU', disk: { total: 1000, free: 400 } },
    ...{ bridges: ['xenbr0', 'xenbr0.42'], logsConsoles: true },
  });
  expect(parseFacts('')).toMatchObject({ cpuFlags: [], disk: { total: 0, free: 0 }, logsConsoles: false });
});
