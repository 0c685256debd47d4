import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ms, ServerId } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tapNic } from '../common/test-guest.js';
import { QemuDriver } from './qemu.driver.js';
import { CLOUD, TinyGuests } from './testing/tiny-guests.js';

const never = new AbortController().signal;
const networks = ['a', 'b', 'c'].map((name) => `omv-taps-${process.pid}-${name}`);
const devices = networks.map((netns, i) => ({ netns, tap: `taps${i}`, mtu: 1_400 + i }));
const nics = devices.map(({ netns, tap, mtu }, i) =>
  tapNic(randomUUID(), tap, { mac: `fa:16:3e:00:00:0${i}`, mtu, attachment: { kind: 'tap', tap, netns } }),
);
const ip = (...args: string[]) => execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

describe.runIf(process.getuid?.() === 0)('a guest on several networks', () => {
  const stateDir = mkdtempSync(join(tmpdir(), 'omnivisor-taps-'));
  const driver = new QemuDriver({ stateDir, cloudId: CLOUD, accel: 'tcg' });
  const id = ServerId.parse(randomUUID());
  const spec = { ...new TinyGuests([stateDir]).spec(id), nics };

  beforeAll(() => {
    for (const { netns, tap, mtu } of devices) {
      ip('netns', 'add', netns);
      ip('-n', netns, 'link', 'add', 'name', 'br0', 'type', 'bridge');
      ip('-n', netns, 'link', 'set', 'dev', 'br0', 'up');
      ip('-n', netns, 'tuntap', 'add', 'dev', tap, 'mode', 'tap');
      ip('-n', netns, 'link', 'set', 'dev', tap, 'mtu', `${mtu}`, 'master', 'br0', 'up');
    }
  });
  afterAll(async () => {
    await driver.destroy(id);
    await driver.close();
    for (const netns of networks) ip('netns', 'delete', netns);
    rmSync(stateDir, { recursive: true });
  });

  /** Each device is on the bridge of its own network, and QEMU has it open. */
  const areAtHome = () => {
    for (const { netns, tap, mtu } of devices) {
      const [link] = JSON.parse(ip('-n', netns, '-j', 'link', 'show', 'dev', tap));
      expect(link).toMatchObject({ master: 'br0', mtu, flags: expect.arrayContaining(['UP', 'LOWER_UP']) });
    }
    expect(ip('-n', networks[0]!, '-j', 'link').match(/"taps\d"/g)).toEqual(['"taps0"']);
  };

  it('has each device in its network, also after a stop and a start', async () => {
    await driver.spawn(spec, never);
    areAtHome();
    await driver.powerOff(id, ms(0));
    await driver.powerOn(id, nics);
    areAtHome();
  });

  it('leaves the devices in their networks when it cannot be started', async () => {
    await driver.powerOff(id, ms(0));
    const qemu = join(stateDir, 'no-qemu');
    const script = `#!/bin/sh\ncase "$*" in *guest=${CLOUD}*) exit 1;; esac\nexec qemu-system-x86_64 "$@"\n`;
    writeFileSync(qemu, script, { mode: 0o755 });
    const broken = new QemuDriver({ stateDir, cloudId: CLOUD, accel: 'tcg', qemu });
    expect(await broken.probe(never)).toMatchObject({ health: 'healthy' });
    await expect(broken.powerOn(id, nics)).rejects.toMatchObject({ message: 'starting the guest failed' });
    await broken.close();
    for (const { netns, tap } of devices) expect(ip('-n', netns, 'link', 'show', 'dev', tap)).toContain('master br0');
  });
});
