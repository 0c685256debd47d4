import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { ms, networkNeeds, ServerId } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fileSource, flatNic, rootFrom, testGuest } from '../common/test-guest.js';
import type { GuestNic, PortGuard } from '../hypervisor-driver.js';
import { deviceOf, guarding } from './guard.js';
import { Guests } from './guests.js';
import { Host } from './host-shell.js';
import { GUARD_PORTS } from './scripts.js';
import { XlDouble } from './testing/xl-double.js';
import { XenDriver } from './xen.driver.js';

const cloudId = 'test-cloud';
const never = new AbortController().signal;
const mac = 'fa:16:3e:00:00:01';
const guard: PortGuard = { addresses: [{ mac, ip: '10.0.0.5' }], rules: [] };
const port = (change: Partial<GuestNic> = {}) => flatNic(mac, { guard, ...change });

describe('guarded ports of a Xen host', { timeout: 30_000 }, () => {
  const double = new XlDouble();
  const state = join(double.folder, 'state');
  const image = join(double.folder, 'image.raw');
  const bridges = { physnet1: 'xenbr0' };
  const xen = new XenDriver({ cloudId, shell: double.shell(), root: double.root, type: 'pv', bridges });
  const id = ServerId.parse(randomUUID());
  const nic = port();
  const tables = () => (existsSync(join(state, 'nft')) ? readdirSync(join(state, 'nft')) : []);
  const filter = () => readFileSync(join(state, 'nft', tables()[0]!), 'utf8');
  const both = ['bridge', 'inet'].map((family) => `${family} omnivisor_${id.replaceAll('-', '_')}`);

  beforeAll(async () => {
    writeFileSync(image, 'an image');
    truncateSync(image, 1 << 20);
    await xen.spawn({ ...testGuest(id, cloudId, { disks: rootFrom(fileSource(image)) }), nics: [nic] }, never);
  });
  afterAll(() => double.close());

  it('are filtered from before the guest runs until it is off', async () => {
    expect((await xen.inspect(id)).power).toBe('running');
    expect(tables()).toEqual(both);
    expect(filter()).toContain(`iifname "${deviceOf(nic.portId)}" jump from_`);
    expect(readFileSync(join(double.folder, 'bridging', 'bridge-nf-call-iptables'), 'utf8')).toBe('1\n');
    await xen.powerOff(id, ms(0));
    expect(tables()).toEqual([]);
    await xen.powerOn(id, [nic]);
    expect(tables()).toEqual(both);
  });

  it('stay so over a sleep', async () => {
    await xen.suspending.suspend(id);
    await xen.suspending.resume(id, [nic]);
    expect((await xen.inspect(id)).power).toBe('running');
    expect(tables()).toEqual(both);
  });

  it('follow what is asked for, and come and go with their interface', async () => {
    const open = { direction: 'ingress', ethertype: 'IPv4', protocol: 'tcp', portMin: 22, portMax: 22 } as const;
    const rules = [{ ...open, remotePrefixes: ['192.0.2.0/24'] }];
    await xen.nics.attach(id, { ...nic, guard: { ...guard, rules } });
    expect(filter()).toContain('ip saddr 192.0.2.0/24 meta l4proto 6 th dport 22 return');
    const other = port({ mac: 'fa:16:3e:00:00:02' });
    await xen.nics.attach(id, other);
    expect(filter()).toContain(`iifname "${deviceOf(other.portId)}" jump from_`);
    await xen.nics.detach(id, other.portId);
    expect(filter()).not.toContain(deviceOf(other.portId));
    expect(filter()).toContain('th dport 22 return');
  });

  it('are filtered again when somebody has swept the filters away', async () => {
    rmSync(join(state, 'nft'), { recursive: true });
    await xen.check();
    expect(tables()).toEqual(both);
  });

  it('are filtered again when somebody has told the kernel to let frames of bridges pass by', async () => {
    const passes = join(double.folder, 'bridging', 'bridge-nf-call-iptables');
    writeFileSync(passes, '0\n');
    await xen.check();
    expect(readFileSync(passes, 'utf8')).toBe('1\n');
  });

  it('stay filtered while their guest, which resets itself, has no domain', async () => {
    const guests = new Guests(new Host(double.shell()), double.root, cloudId);
    const { definition } = await guests.get(id);
    const monitor = join(double.root, 'guests', id, 'monitor');
    await double.xl('destroy', id);
    const watcher = spawn('flock', [monitor, 'sh', '-c', 'echo watches; read _'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await once(watcher.stdout, 'data');
    const { args, input } = guarding(definition);
    await guests.call(id, GUARD_PORTS, args, { input });
    expect([(await xen.inspect(id)).power, tables()]).toEqual(['running', both]);
    const ended = once(watcher, 'exit');
    watcher.stdin.end();
    await ended;
    await guests.call(id, GUARD_PORTS, args, { input });
    expect([(await xen.inspect(id)).power, tables()]).toEqual(['shutdown', []]);
    await xen.powerOn(id, [nic]);
    expect(tables()).toEqual(both);
  });

  it('follow what is asked for while one beside them is on record and not plugged in', async () => {
    const other = port({ mac: 'fa:16:3e:00:00:02' });
    await xen.nics.attach(id, other);
    await double.xl('network-detach', (await double.xl('domid', id)).trim(), other.mac);
    const open = { direction: 'ingress', ethertype: 'IPv4', protocol: 'tcp', portMin: 80, portMax: 80 } as const;
    await xen.nics.attach(id, { ...nic, guard: { ...guard, rules: [{ ...open, remotePrefixes: ['0.0.0.0/0'] }] } });
    expect(filter()).toContain('th dport 80 return');
    await xen.nics.attach(id, other);
    expect(await double.xl('network-list', (await double.xl('domid', id)).trim())).toContain(other.mac);
    await xen.nics.detach(id, other.portId);
  });

  it('are refused, not left open, where devices do not get their names', async () => {
    writeFileSync(join(state, 'names-nothing'), '');
    const other = port({ mac: 'fa:16:3e:00:00:02' });
    await expect(xen.nics.attach(id, other)).rejects.toMatchObject({ code: 'unsupported' });
    expect(await double.xl('network-list', (await double.xl('domid', id)).trim())).not.toContain(other.mac);
    expect(filter()).not.toContain(deviceOf(other.portId));
    await expect(xen.reboot(id, 'hard', [nic])).rejects.toMatchObject({ code: 'unsupported' });
    expect((await xen.inspect(id)).power).toBe('shutdown');
    expect(tables()).toEqual([]);
    rmSync(join(state, 'names-nothing'));
  });

  it('are refused where nothing can filter them, and the host says so', async () => {
    const bridging = join(double.folder, 'bridging');
    const traits = async () => (await xen.probe(never)).traits;
    const all = [networkNeeds.antiSpoofing.trait, networkNeeds.securityGroups.trait];
    if (process.getuid?.() === 0) expect(await traits()).toEqual(expect.arrayContaining(all));
    rmSync(bridging, { recursive: true });
    expect((await traits()).filter((trait) => all.includes(trait))).toEqual([]);
    await expect(xen.powerOn(id, [nic])).rejects.toMatchObject({ code: 'unsupported' });
    expect((await xen.inspect(id)).power).toBe('shutdown');
    mkdirSync(bridging);
    await xen.powerOn(id, [nic]);
    expect(tables()).toEqual(both);
  });

  it('cost no memory that was saved where nothing can filter them', async () => {
    const bridging = join(double.folder, 'bridging');
    await xen.suspending.suspend(id);
    rmSync(bridging, { recursive: true });
    await expect(xen.suspending.resume(id, [nic])).rejects.toMatchObject({ code: 'unsupported' });
    expect((await xen.inspect(id)).power).toBe('suspended');
    mkdirSync(bridging);
    await xen.suspending.resume(id, [nic]);
    expect(tables()).toEqual(both);
  });

  describe('when they are cut off', () => {
    const passes = (portId = nic.portId, foreign?: Parameters<XlDouble['passes']>[2]) =>
      double.passes(id, portId, foreign);
    /** One that finds another tool of this name in dom0. */
    const withTool = (name: string, script: string) => {
      const tools = mkdtempSync(join(double.folder, 'tools-'));
      writeFileSync(join(tools, name), `#!/bin/sh\nPATH=\${PATH#*:}\n${script}\n`, { mode: 0o755 });
      return new XenDriver({ cloudId, shell: double.shell(`${tools}:`), root: double.root, type: 'pv', bridges });
    };
    const domid = async () => (await double.xl('domid', id)).trim();
    /** Takes what leads to the device of its second interface away. */
    const hideSecond = async () => {
      const net = join(double.folder, 'backends', `vif-${await domid()}-1`, 'net');
      renameSync(net, `${net}.away`);
      return () => renameSync(`${net}.away`, net);
    };
    /** As its watcher does when it resets itself. @param vifs what its interfaces are then */
    const reset = async (vifs: string) => {
      const config = join(folder, 'again.cfg');
      writeFileSync(config, readFileSync(join(folder, 'xl.cfg'), 'utf8').replace(/^vif = \[(.*)\]$/m, vifs));
      await double.xl('destroy', id);
      await double.xl('create', config);
      rmSync(config);
    };
    const bridging = join(double.folder, 'bridging');
    const folder = join(double.root, 'guests', id);

    it('let nothing pass where the host cannot guard them, until it can', async () => {
      rmSync(bridging, { recursive: true });
      for (let i = 0; i < 2; i++) {
        await expect(xen.nics.attach(id, nic)).rejects.toMatchObject({ code: 'unsupported' });
        expect(passes()).toBe(i === 0);
        await xen.nics.cutOff(id, nic.portId);
        expect(passes()).toBe(false);
      }
      mkdirSync(bridging);
      await xen.nics.attach(id, nic);
      expect(passes()).toBe(true);
      expect(tables()).toEqual(both);
    });

    it('leave others alone, and are shut still after the guest has reset itself', async () => {
      const other = port({ mac: 'fa:16:3e:00:00:02', guard: null });
      await xen.nics.attach(id, other);
      await xen.nics.cutOff(id, other.portId);
      expect([passes(), passes(other.portId)]).toEqual([true, false]);
      const open = { direction: 'ingress', ethertype: 'IPv4', protocol: 'tcp', portMin: 81, portMax: 81 } as const;
      await xen.nics.attach(id, { ...nic, guard: { ...guard, rules: [{ ...open, remotePrefixes: ['0.0.0.0/0'] }] } });
      expect(filter()).toContain('th dport 81 return');
      expect([passes(), passes(other.portId)]).toEqual([true, false]);
      await reset(`vif = [$1, "mac=${other.mac},bridge=xenbr0,vifname=${deviceOf(other.portId)}"]`);
      expect(readFileSync(join(double.folder, 'net', deviceOf(other.portId), 'flags'), 'utf8')).toBe('0x1003\n');
      expect([passes(), passes(other.portId)]).toEqual([true, false]);
      await xen.nics.attach(id, other);
      expect([passes(), passes(other.portId)]).toEqual([true, true]);
      await xen.nics.cutOff(id, other.portId);
      await xen.nics.detach(id, other.portId);
      expect(filter()).not.toContain(deviceOf(other.portId));
    });

    it('are open again with the start that they were planned for', async () => {
      await xen.nics.cutOff(id, nic.portId);
      await xen.powerOff(id, ms(0));
      await xen.nics.cutOff(id, nic.portId);
      expect(tables()).toEqual([]);
      await xen.powerOn(id, [nic]);
      expect(passes()).toBe(true);
    });

    it('let nothing pass where their device has another name, and hinder no other', async () => {
      writeFileSync(join(state, 'names-nothing'), '');
      const other = port({ mac: 'fa:16:3e:00:00:02', guard: null });
      await xen.nics.attach(id, other);
      rmSync(join(state, 'names-nothing'));
      const named = async () => ({ device: `vif${await domid()}.1`, mac: other.mac });
      expect(passes(other.portId, await named())).toBe(true);
      await expect(xen.nics.attach(id, { ...other, guard })).rejects.toMatchObject({ code: 'unsupported' });
      await xen.nics.cutOff(id, other.portId);
      await xen.nics.attach(id, nic);
      expect([passes(), passes(other.portId, await named())]).toEqual([true, false]);
      const before = await domid();
      await reset(`vif = [$1, "mac=${other.mac},bridge=xenbr0"]`);
      expect(await domid()).not.toBe(before);
      const { device } = await named();
      expect(readFileSync(join(double.folder, 'net', device, 'flags'), 'utf8')).toBe('0x1003\n');
      expect([passes(), passes(other.portId, await named())]).toEqual([true, false]);
      await xen.nics.detach(id, other.portId);
    });

    it('are shut by the filter when their link is not found, and the call says that it was not', async () => {
      const other = port({ mac: 'fa:16:3e:00:00:02' });
      await xen.nics.attach(id, other);
      const show = await hideSecond();
      await expect(xen.nics.cutOff(id, other.portId)).rejects.toMatchObject({ code: 'fault' });
      expect([passes(), passes(other.portId)]).toEqual([true, false]);
      show();
      await xen.nics.cutOff(id, other.portId);
      await xen.nics.detach(id, other.portId);
    });

    it('have their link taken down though their filter cannot be kept', async () => {
      const other = port({ mac: 'fa:16:3e:00:00:02' });
      await xen.nics.attach(id, other);
      const full = withTool('sync', 'case $1 in *guard.nft*) exit 1;; esac; exec sync "$@"');
      await expect(full.nics.cutOff(id, other.portId)).rejects.toMatchObject({ code: 'fault' });
      expect([passes(), passes(other.portId)]).toEqual([true, false]);
      await xen.nics.detach(id, other.portId);
    });

    it('are those that could not be plugged in, and are there all the same', async () => {
      const stuck = withTool('xl', '[ "$1" != network-detach ] || exit 1; exec xl "$@"');
      const other = port({ mac: 'fa:16:3e:00:00:02' });
      writeFileSync(join(state, 'names-nothing'), '');
      await expect(stuck.nics.attach(id, other)).rejects.toMatchObject({ code: 'unsupported' });
      rmSync(join(state, 'names-nothing'));
      expect(filter()).toContain(`iifname "${deviceOf(other.portId)}" drop`);
      const { definition } = await new Guests(new Host(double.shell()), double.root, cloudId).get(id);
      expect(definition.nics.find(({ portId }) => portId === other.portId)?.guard?.cutOff).toBe(true);
      await xen.nics.detach(id, other.portId);
      expect(filter()).not.toContain(deviceOf(other.portId));
    });

    it('leave nothing to clear away on a host without nft', async () => {
      const bare = withTool('nft', 'exit 1');
      const unguarded = { ...nic, guard: null };
      await xen.reboot(id, 'hard', [unguarded]);
      await bare.nics.cutOff(id, nic.portId);
      expect([passes(), tables()]).toEqual([false, []]);
      await bare.nics.attach(id, unguarded);
      expect(passes()).toBe(true);
      await bare.nics.cutOff(id, nic.portId);
      await bare.powerOff(id, ms(0));
      await xen.powerOn(id, [nic]);
      expect(passes()).toBe(true);
    });
  });

  it('leave nothing behind', async () => {
    await xen.destroy(id);
    expect(tables()).toEqual([]);
    expect(double.leftovers(id)).toEqual([]);
  });
});
