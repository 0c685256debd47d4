import { execFileSync, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gib, mib, ms, ServerId } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fileSource, rootFrom, tapNic, testGuest } from '../common/test-guest.js';
import type { GuestSpec } from '../hypervisor-driver.js';
import { QemuDriver } from './qemu.driver.js';

const cloudId = 'test-cloud';
const id = ServerId.parse(randomUUID());
const netns = `omv-e2e-${process.pid}`;
const mac = 'fa:16:3e:00:00:01';
const never = new AbortController().signal;
const builder = new URL('../../../../../tools/image/image.mjs', import.meta.url).pathname;
const cache = join(tmpdir(), 'omnivisor-test-image');
const testImage = () =>
  fileSource(execFileSync('node', [builder, '--cache', cache], { encoding: 'utf8' }).trim(), 'qcow2');
const nic = tapNic(id, '', { mac, mtu: 1400, attachment: { kind: 'tap', tap: 'tap-a', netns } });
const ip = (...args: string[]) => execFileSync('ip', args, { stdio: 'pipe' });
const inside = (...args: string[]) => ip('netns', 'exec', netns, ...args);

/** A guest with Linux inside, on a network device in a namespace, as a server of the cloud gets it. */
describe.runIf(process.getuid?.() === 0)('a Linux guest on QEMU', () => {
  const stateDir = mkdtempSync(join(tmpdir(), 'omnivisor-linux-'));
  const driver = new QemuDriver({ stateDir, cloudId, accel: 'tcg' });
  let dhcp: ReturnType<typeof spawn>;

  beforeAll(() => {
    ip('netns', 'add', netns);
    inside('ip', 'tuntap', 'add', 'dev', 'tap-a', 'mode', 'tap');
    inside('ip', 'addr', 'add', '10.77.0.1/24', 'dev', 'tap-a');
    inside('ip', 'link', 'set', 'tap-a', 'up');
    writeFileSync(join(stateDir, 'leases'), '');
    const settings = [
      '--keep-in-foreground',
      '--port=0',
      '--no-ping',
      '--bind-interfaces',
      '--interface=tap-a',
      '--conf-file=/dev/null',
    ];
    const range = [
      '--dhcp-range=10.77.0.10,10.77.0.20,1h',
      '--dhcp-option=26,1400',
      '--dhcp-option=121,169.254.169.254/32,10.77.0.1',
      `--dhcp-leasefile=${join(stateDir, 'leases')}`,
    ];
    dhcp = spawn('ip', ['netns', 'exec', netns, 'dnsmasq', '--user=root', '--pid-file', ...settings, ...range]);
  });

  afterAll(async () => {
    await driver.destroy(id);
    await driver.close();
    const ended = new Promise((resolve) => dhcp.once('exit', resolve));
    dhcp.kill();
    await ended;
    ip('netns', 'delete', netns);
    rmSync(stateDir, { recursive: true });
  });

  const console = async () => (await driver.consoleLog.tail(id, 1 << 20)).toString('latin1');
  const qemuPid = () => readFileSync(join(stateDir, 'guests', id, 'qemu.pid'), 'utf8').trim();
  const cpuSeconds = () => {
    const fields = readFileSync(`/proc/${qemuPid()}/stat`, 'latin1').split(') ')[1]!.split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  };

  it('boots the test image, reads its config drive, gets an address, and follows the power button', {
    timeout: 180_000,
  }, async () => {
    const source = testImage();
    const text = (value: string) => Buffer.from(value);
    const small = testGuest(id, cloudId);
    const spec: GuestSpec = {
      ...small,
      flavor: { ...small.flavor, memory: mib(128) },
      disks: { root: { source, size: gib(1) }, ephemeral: { size: gib(1), source: null }, swap: mib(16) },
      nics: [nic],
      configDrive: new Map([
        [
          'openstack/latest/meta_data.json',
          text(JSON.stringify({ uuid: id, hostname: 'first.novalocal', name: 'first' })),
        ],
        ['openstack/latest/user_data', text('#!/bin/sh\necho user-data says $(hostname) $(findfs LABEL=ephemeral0)\n')],
        ['openstack/content/0000', text('x'.repeat(5000))],
      ]),
    };
    await driver.spawn(spec, never);

    await expect.poll(console, { timeout: 120_000, interval: 200 }).toMatch(/Cloud-init v\. .* finished:.*Up/);
    const said = await console();
    process.stderr.write(`${cpuSeconds()} CPU seconds to boot\n`);
    expect(said).toContain('omnivisor-image: Linux ');
    expect(said).toContain(`finished: Datasource ConfigDrive. hostname=first instance-id=${id}`);
    expect(said).toMatch(/user-data says first \/dev\/vdb/);
    expect(said).toContain(`disk vda ${1024 ** 3} bytes driver=virtio_blk`);
    expect(said).toContain(`nic eth0 ${mac} driver=virtio_net`);
    expect(said).toMatch(/ci-info: eth0 10\.77\.0\.\d+\/.* mtu=1400/);

    const status = readFileSync(`/proc/${qemuPid()}/status`, 'utf8');
    expect(Number(/^Uid:\s+(\d+)/m.exec(status)?.[1])).toBeGreaterThanOrEqual(0x7000_0000);
    expect(/^CapEff:\s+(\S+)/m.exec(status)?.[1]).toMatch(/^0+$/);

    const asked = performance.now();
    await driver.powerOff(id, ms(60_000));
    expect(performance.now() - asked).toBeLessThan(60_000);
    expect(await console()).toContain('power button, shutting down');
    expect((await driver.inspect(id)).power).toBe('shutdown');
  });

  it('takes its name and key from the metadata service, and lets their owner in by ssh', {
    timeout: 180_000,
  }, async () => {
    await driver.destroy(id);
    inside('ip', 'addr', 'add', '169.254.169.254/32', 'dev', 'tap-a');
    const key = join(stateDir, 'key');
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key]);
    const metadata = { uuid: id, hostname: 'second', public_keys: { mine: readFileSync(`${key}.pub`, 'utf8') } };
    const service = `require('http').createServer((q, a) => q.url.endsWith('/openstack/latest/meta_data.json')
      ? a.end(${JSON.stringify(JSON.stringify(metadata))}) : a.writeHead(404).end()).listen(80, '169.254.169.254')`;
    const server = spawn('ip', ['netns', 'exec', netns, 'node', '-e', service]);
    try {
      const small = testGuest(id, cloudId);
      const flavor = { ...small.flavor, memory: mib(128) };
      await driver.spawn({ ...small, disks: rootFrom(testImage()), flavor, nics: [nic] }, never);
      await expect
        .poll(console, { timeout: 120_000, interval: 200 })
        .toContain('finished: Datasource MetadataService. hostname=second');
      const address = /ci-info: eth0 ([\d.]+)\//.exec(await console())![1]!;
      const options = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'LogLevel=ERROR'].flatMap((o) => [
        '-o',
        o,
      ]);
      expect(inside('ssh', '-i', key, ...options, `root@${address}`, 'hostname').toString()).toBe('second\n');
    } finally {
      server.kill();
    }
  });
});
