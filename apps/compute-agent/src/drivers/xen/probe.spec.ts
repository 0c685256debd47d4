import { spawn } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { Host, type HostShell } from './host-shell.js';
import { parseFacts, probe } from './probe.js';
import { FACTS, INFO, PROBE } from './scripts.js';
import { XenDriver } from './xen.driver.js';

/** Answers each script with the same. */
const answering = (script: string, isRemote: boolean): HostShell => ({
  isRemote,
  start: () => spawn('/bin/sh', ['-c', script], { stdio: ['pipe', 'pipe', 'pipe'] }),
  close: () => {},
});
const probed = async (shell: HostShell) =>
  (await probe(new Host(shell), { root: '/x', type: 'pv', bridges: [] }, AbortSignal.timeout(5_000))).report;

const CLAIMS_ALL = `xen_version : 4.17.7
virt_caps : pv hvm
xen_caps : xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_64
nr_cpus : 4
cores_per_socket : 4
threads_per_core : 1
total_memory : 4096
free_memory : 2048
`;
/** Xen that claims to run domains of all types: what xl says of a guest of each, and ends with. */
const claiming = (
  guests: Readonly<Record<string, readonly [code: number, said: string]>>,
  facts = 'disk 1000 400\n',
): HostShell => ({
  isRemote: true,
  start: (script, args) => {
    const [, type = ''] = script === PROBE ? /^type = "(\w+)"$/m.exec(args[2]!)! : [];
    const answers = new Map<string, readonly [number, string]>([
      [INFO, [0, CLAIMS_ALL]],
      [FACTS, [0, facts]],
      [PROBE, guests[type]!],
    ]);
    const [code, said] = answers.get(script) ?? [0, ''];
    const answer = ['-c', 'cat >/dev/null; printf %s "$2"; printf %s "$2" >&2; exit "$1"', 'sh', `${code}`, said];
    return spawn('/bin/sh', answer, { stdio: ['pipe', 'pipe', 'pipe'] });
  },
  close: () => {},
});
const RAN = [0, 'Domain 3 has shut down, reason code 0 0x0\n'] as const;
const CRASHED = [0, 'Domain 3 has shut down, reason code 3 0x3\n'] as const;
const LATE = [124, ''] as const;
const NO_MODEL = [1, 'libxl: error: no device model\n'] as const;

describe('the probe', () => {
  it('offers the types of which a guest has run, and says why no others', async () => {
    const shell = claiming({ pv: RAN, pvh: CRASHED, hvm: NO_MODEL });
    const options = { root: '/x', type: 'pv' as const, bridges: [] };
    const { report, capabilities } = await probe(new Host(shell), options, AbortSignal.timeout(5_000));
    expect(capabilities).toEqual({ pv: true, pvh: false, hvm: false });
    expect(report).toMatchObject({ health: 'healthy' });
    expect(report.reason).toMatch(/^a guest ran on Xen 4.17.7 as pv; no pvh .*code 3.*; no hvm .*no device model/);
    const modes = report.traits.filter((trait) => /VM_MODE|FIRMWARE/.test(trait));
    expect(modes).toEqual(['CUSTOM_VM_MODE_XEN']);
  });

  it('says that the folder of shared disks is not there', async () => {
    const options = { root: '/x', type: 'pv' as const, bridges: [], sharedDisks: '/srv/guests' };
    const { report } = await probe(new Host(claiming({ pv: RAN }, '')), options, AbortSignal.timeout(5_000));
    expect(report).toMatchObject({ health: 'unhealthy', reason: 'dom0 has no folder /srv/guests' });
  });

  it('keeps a type of which a guest has run, on a host that is too busy for one now', async () => {
    const guests: Record<string, readonly [number, string]> = { pv: RAN, pvh: RAN, hvm: NO_MODEL };
    const xen = new XenDriver({ cloudId: 'c', shell: claiming(guests), root: '/x', type: 'pv', bridges: {} });
    const modes = async () => {
      const { traits, reason } = await xen.probe(AbortSignal.timeout(5_000));
      return [traits.filter((trait) => trait.includes('VM_MODE')), reason] as const;
    };
    const both = ['CUSTOM_VM_MODE_XEN', 'CUSTOM_VM_MODE_PVH'];
    expect(await modes()).toEqual([both, expect.not.stringContaining('no pvh')]);
    guests.pvh = LATE;
    expect(await modes()).toEqual([both, expect.stringMatching(/no pvh .*not end in time, as one has before; no hvm/)]);
    guests.hvm = RAN;
    expect((await modes())[0]).toEqual([...both, 'CUSTOM_VM_MODE_HVM']);
    await xen.close();
  });

  it('believes no host on which a guest of the wanted type did not run', async () => {
    expect(await probed(claiming({ pv: CRASHED, pvh: RAN, hvm: RAN }))).toMatchObject({
      ...{ health: 'unhealthy', reason: expect.stringMatching(/^no pv guest ran: .*code 3/) },
    });
  });

  it('knows a machine that is no dom0', async () => {
    const missing = 'echo "/bin/sh: 1: xl: not found" >&2; exit 127';
    expect(await probed(answering(missing, false))).toMatchObject({ health: 'undetected' });
    expect(await probed(answering(missing, true))).toMatchObject({ health: 'unhealthy' });
  });

  it('does not believe a host that answers with something else, or with nothing', async () => {
    expect(await probed(answering('echo hello', true))).toMatchObject({ health: 'unhealthy' });
    expect(await probed(answering('exit 255', true))).toMatchObject({
      ...{ health: 'unhealthy', reason: 'the Xen host does not answer: ended with 255' },
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
