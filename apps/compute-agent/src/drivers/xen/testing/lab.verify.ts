import { randomUUID } from 'node:crypto';
import { ms, ServerId } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { flatNic } from '../../common/test-guest.js';
import { describeHypervisorDriver } from '../../conformance/index.js';
import type { GuardRule } from '../../hypervisor-driver.js';
import { deviceOf } from '../guard.js';
import type { XenDriver } from '../xen.driver.js';
import { inShell, isUp, Lab, LabSettings, labUnderTest, PATIENCE } from './lab.js';

/** Run by tools/lab/xen.mjs, which has put what it was told into the environment. */
const lab = new Lab(LabSettings.parse(JSON.parse(process.env.OMNIVISOR_LAB_XEN!)));
afterAll(() => lab.close());

describe('the test image in a paravirtual domain', () => {
  let driver: XenDriver;
  beforeAll(async () => {
    driver = await lab.open();
    // Here all is as Debian has it.
    await lab.run('touch /run/lab-original');
  }, PATIENCE);
  afterAll(async () => {
    await lab.run('rm /run/lab-original');
    await driver.close();
  }, PATIENCE);

  for (const boot of ['pygrub', 'kernel'] as const)
    it(`boots by ${boot}, and shuts down when asked`, { timeout: PATIENCE * 3 }, async () => {
      const id = ServerId.parse(randomUUID());
      const since = Date.now();
      await driver.spawn(lab.guest(id, boot), new AbortController().signal);
      const created = Date.now();
      await isUp(driver, id);
      const booted = Date.now();
      expect(await inShell(driver, id, 'cat /sys/hypervisor/type')).toContain('xen');
      await driver.powerOff(id, ms(PATIENCE));
      expect((await driver.inspect(id)).power).toBe('shutdown');
      await driver.destroy(id);
      const took = (from: number, to: number) => `${((to - from) / 1000).toFixed(1)} s`;
      console.log(
        `${boot}: spawned in ${took(since, created)}, at its prompt after ${took(created, booted)} more, off and gone after ${took(booted, Date.now())}`,
      );
    });
});

describe('guarded ports', () => {
  let driver: XenDriver;
  beforeAll(async () => {
    driver = await lab.open();
  }, PATIENCE);
  afterAll(() => driver.close());

  /** Whether a port of the guest, at which nothing listens, says so to dom0. */
  const reaches = async (address: string) =>
    (await lab.run('timeout 5 bash -c "</dev/tcp/$1/81" 2>&1 || true', address)).includes('refused');
  const rule = (direction: GuardRule['direction']): GuardRule => ({
    ...{ direction, ethertype: 'IPv4', protocol: null, portMin: null, portMax: null },
    remotePrefixes: ['0.0.0.0/0'],
  });

  it('keep a guest to its addresses and rules, and are gone with it', { timeout: PATIENCE * 3 }, async () => {
    const id = ServerId.parse(randomUUID());
    const [mac, own, other] = ['fa:16:3e:00:03:01', '10.0.2.50', '10.0.2.51'];
    const nic = (...rules: GuardRule[]) => flatNic(mac, { guard: { addresses: [{ mac, ip: own }], rules } });
    const closedPort = nic(rule('egress'));
    await driver.spawn({ ...lab.shellGuest(id), nics: [closedPort] }, new AbortController().signal);
    await isUp(driver, id);
    const pings = async (from: string) =>
      (await inShell(driver, id, `busybox ping -c 2 -W 3 -I ${from} 10.0.2.9; true`)).includes('bytes from');
    await inShell(driver, id, `ip link set eth0 up; for a in ${own} ${other}; do ip addr add $a/24 dev eth0; done`);
    expect(await pings(own)).toBe(true);
    expect(await pings(other)).toBe(false);
    expect(await reaches(own)).toBe(false);
    await driver.nics.attach(id, {
      ...closedPort,
      guard: { ...closedPort.guard!, rules: [rule('egress'), rule('ingress')] },
    });
    expect(await reaches(own)).toBe(true);
    expect(await reaches(other)).toBe(false);
    await inShell(driver, id, 'ip link set eth0 down; ip link set eth0 address fa:16:3e:00:03:99 up; true');
    expect(await pings(own)).toBe(false);
    // A guest that resets itself is started anew by xl, and is guarded all the same.
    const console = await driver.consoles.open(id, 'serial');
    const closed = new Promise((resolve) => console.readable.once('close', resolve).resume());
    console.writable.write('\nreboot -f\n');
    await closed;
    await isUp(driver, id);
    expect(await lab.run('ls "/sys/class/net/$1"', deviceOf(closedPort.portId))).toContain('brport');
    expect(await lab.run('nft list tables')).toContain(id.replaceAll('-', '_'));
    await driver.destroy(id);
    expect(await lab.run('nft list tables')).not.toContain(id.replaceAll('-', '_'));
  });
});

describe('settings that an adopted domain would lose', () => {
  const mac = 'fa:16:3e:00:05:01';
  let driver: XenDriver;
  let made = 0;
  beforeAll(async () => {
    driver = await lab.open();
  }, PATIENCE);
  afterAll(() => driver.close());

  it.each([
    // Without a number of vCPUs xl pins none.
    ...[
      'vcpus = 1\ncpus = "0"',
      'vcpus = 1\ncpus_soft = "0"',
      'cpu_weight = 512',
      'cap = 50',
      'maxvcpus = 2',
      'maxmem = 64',
    ],
    ...['tsc_mode = "native"', 'localtime = 1', 'rtc_timeoffset = 60', 'nomigrate = 1', 'e820_host = 1'],
    ...['seclabel = "system_u:system_r:domU_t"', 'driver_domain = 1', 'msr_relaxed = 1', 'cpuid = "host,htt=0"'],
    ...['ioports = ["2f8-2ff"]', 'irqs = [3]', 'iomem = ["fed00,1"]'],
    ...['rate=1Mb/s', 'mtu=1400', 'vifname=web', 'script=/bin/true'].map(
      (part) => `vif = ["mac=${mac},bridge=xenbr0,${part}"]`,
    ),
    ...['direct-io-safe', 'no-discard'].map(
      (part) => `disk = ["format=raw,vdev=xvda,access=rw,${part},target=/boot/lab/vmlinuz"]`,
    ),
  ])('are refused: %s', { timeout: PATIENCE }, async (setting) => {
    const theirs = await lab.adoptable(`kept-${++made}`, mac, setting);
    onTestFinished(theirs.remove);
    const mark = { cloudId: 'lab-cloud', serverId: ServerId.parse(randomUUID()), attempt: 1, build: 0 };
    await expect(driver.adoption.adopt(theirs.nativeId, mark, [])).rejects.toMatchObject({ code: 'unsupported' });
    expect(await theirs.untouched()).toBe(true);
  });
});

describe.runIf(lab.settings.peer)('a move that is cut off', () => {
  let peer: Lab;
  let source: XenDriver;
  let target: XenDriver;
  beforeAll(async () => {
    peer = await lab.peer();
    [source, target] = [await lab.open(), await peer.open()];
  }, PATIENCE);
  afterAll(async () => {
    for (const driver of [source, target]) await driver?.close();
    peer?.close();
  });

  /** The guest is suspended by then, and there is nobody who would let it go on. */
  const killXl = () =>
    lab.run(`for p in /proc/[0-9]*; do
      case $(tr '\\0' ' ' <"$p/cmdline" 2>/dev/null) in /*/bin/xl" save -p "*) kill -9 "\${p#/proc/}"; echo killed;; esac
    done`);

  it('leaves the guest running where it was, with its memory', { timeout: PATIENCE * 3 }, async () => {
    const id = ServerId.parse(randomUUID());
    const never = new AbortController().signal;
    const spec = lab.shellGuest(id);
    await source.spawn(spec, never);
    await isUp(source, id);
    await inShell(source, id, 'echo kept >/run/letter');
    for (const way of ['abort', 'kill'] as const) {
      const shared = { disks: 'shared', attached: [] } as const;
      const there = { ...spec, mark: { ...spec.mark, attempt: 2 } };
      const ticket = await target.liveMigration!.receive(there, await source.liveMigration!.offer(id), shared, never);
      const abort = new AbortController();
      let cut: Promise<unknown> | null = null;
      const onProgress = () => {
        if (way === 'abort') abort.abort();
        else cut ??= killXl();
      };
      const since = Date.now();
      await expect(source.liveMigration!.send(id, ticket, { signal: abort.signal, onProgress })).rejects.toMatchObject({
        code: 'fault',
      });
      if (way === 'kill') expect(await cut).toContain('killed');
      const over = Date.now();
      expect(await source.inspect(id)).toMatchObject({ stage: 'settled', power: 'running' });
      expect(await inShell(source, id, 'cat /run/letter')).toContain('kept');
      await target.liveMigration!.cancel(id);
      const seconds = (from: number, to: number) => ((to - from) / 1000).toFixed(1);
      console.log(`${way}: refused after ${seconds(since, over)} s, answered in ${seconds(over, Date.now())} s`);
    }
    await source.destroy(id);
  });
});

describeHypervisorDriver(labUnderTest(lab));
