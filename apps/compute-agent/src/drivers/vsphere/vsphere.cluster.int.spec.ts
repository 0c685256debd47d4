import { readdirSync } from 'node:fs';
import { gib, mib, ms, type ServerId } from '@omnivisor/contracts';
import { beforeAll, describe, expect, it } from 'vitest';
import { fileSource, rootFrom } from '../common/test-guest.js';
import { perform, twice } from '../conformance/perform.js';
import type { GuestNic } from '../hypervisor-driver.js';
import { connectNic } from './operations/devices.js';
import { type GuestState, readState, STATE_KEY } from './operations/guest-state.js';
import { extraConfig } from './operations/guests.js';
import { type Device, isDisk } from './operations/records.js';
import { noSimulator } from './testing/simulator.js';
import { never, newId, VcenterUnderTest } from './testing/vcenter-under-test.js';
import { Vcenters } from './testing/vcenters.js';
import type { AnswerObject, Ref } from './transport/soap.js';
import type { VsphereDriver } from './vsphere.driver.js';

describe.skipIf(noSimulator)(`a cluster of a vCenter${noSimulator === null ? '' : `: ${noSimulator}`}`, () => {
  const vcenters = new Vcenters();
  const drive = (...args: Parameters<VcenterUnderTest['open']>) => vcenters.drive(...args);
  let vcenter: VcenterUnderTest;
  beforeAll(() => {
    vcenter = vcenters.first;
  });
  const second = 'DC0_C0_H1';
  const move = async (id: ServerId, member: number) => {
    const spec = { host: vcenter.place.members[member]!.ref };
    await vcenter.updates.run((await vcenter.vmOf(id)).ref, 'RelocateVM_Task', { spec });
  };

  it('is one host, with what all its members have', async () => {
    const [whole, member] = [drive({ member: null }), drive()];
    const [all, one] = [await whole.inventory(), await member.inventory()];
    expect([all.vcpus, all.memoryMib]).toEqual([one.vcpus * 2, one.memoryMib * 2]);
    expect(all.diskGib).toBeGreaterThan(one.diskGib);
    expect([whole.maintenance, typeof member.maintenance]).toEqual([undefined, 'object']);
  });

  it('moves guests by itself, and their agent follows them', async () => {
    for (const driver of [drive({ member: null }), drive()]) {
      const { id, nics } = await vcenter.running(driver);
      await move(id, 1);
      expect(await driver.inspect(id)).toMatchObject({ stage: 'settled', power: 'running' });
      await driver.powerOff(id, ms(0));
      await driver.powerOn(id, nics);
      await driver.destroy(id);
    }
  });

  it('keeps guests of one member from the agent of another', async () => {
    const [first, other] = [drive(), drive({ member: second })];
    const spec = await vcenter.running(first);
    expect((await other.list()).map(({ mark }) => mark.serverId)).not.toContain(spec.id);
    await other.destroy(spec.id);
    await expect(other.spawn(spec, never)).rejects.toMatchObject({ code: 'fault' });
    expect(await first.inspect(spec.id)).toMatchObject({ power: 'running' });
    await first.destroy(spec.id);
  });

  it('refuses in a rebuild and a rescue what it refuses in a spawn, and leaves the guest as it was', async () => {
    const driver = drive();
    const spec = await vcenter.running(driver);
    const mark = { ...spec.mark, build: 1 };
    const kernel = spec.disks.root.source;
    for (const [change, words] of [
      [{ directBoot: { kernel, ramdisk: null, commandLine: null } }, 'a kernel outside of the disk'],
      [{ image: { ...spec.image, properties: { hw_watchdog_action: 'reset' } } }, 'hw_watchdog_action=reset'],
    ] as const) {
      const refused = { code: 'unsupported', message: expect.stringContaining(words) };
      await expect(driver.spawn({ ...vcenter.guest(newId()), ...change }, never)).rejects.toMatchObject(refused);
      await expect(driver.rebuilding.rebuild({ ...spec, ...change, mark }, never)).rejects.toMatchObject(refused);
      await expect(driver.rescuing.rescue({ ...spec, ...change }, never)).rejects.toMatchObject(refused);
    }
    expect(await driver.inspect(spec.id)).toMatchObject({ mark: spec.mark, power: 'running', stage: 'settled' });
    await driver.destroy(spec.id);
  });

  it('is not guessed at: what is configured has to be there', async () => {
    for (const [change, words] of [
      [{ member: 'esx9' }, 'the cluster has no member esx9'],
      [{ datacenter: 'elsewhere' }, 'the vCenter has no Datacenter elsewhere'],
      [{ datastore: 'elsewhere' }, 'the vCenter has no Datastore elsewhere'],
      [{ access: vcenter.access('http://127.0.0.9:9') }, 'does not answer'],
    ] as const) {
      const report = await drive(change).probe(never);
      expect([report.health, report.reason]).toEqual(['unhealthy', expect.stringContaining(words)]);
    }
  });

  it('is unhealthy when no guest can be started, and nothing of the try is left', async () => {
    await vcenter.simulator.failNext('PowerOnVM_Task', 'InsufficientHostMemoryCapacityFault');
    const driver = drive();
    expect(await driver.probe(never)).toMatchObject({ health: 'unhealthy' });
    expect(await driver.probe(never)).toMatchObject({ health: 'healthy', hypervisorVersion: 6_005_000 });
    expect((await vcenter.vms()).filter(({ probe }) => probe !== null)).toEqual([]);
  });

  it('leaves VMs alone whose mark cannot be read', async () => {
    const driver = drive();
    const theirs = await vcenter.foreign();
    const { ref } = (await vcenter.vms()).find(({ instanceUuid }) => instanceUuid === theirs.nativeId)!;
    const spec = vcenter.guest(newId());
    await vcenter.updates.run(ref, 'ReconfigVM_Task', {
      spec: { extraConfig: [extraConfig('omnivisor', '{"v":99}')] },
    });
    expect(await driver.list()).toEqual([]);
    expect((await driver.adoption.candidates()).map(({ nativeId }) => nativeId)).not.toContain(theirs.nativeId);
    await driver.destroy(spec.mark.serverId);
    expect(await vcenter.read.one(ref, 'runtime.powerState')).toBe('poweredOn');
    await theirs.remove();
  });

  it('takes a disk off before the VM goes, as a VM takes along what it has', async () => {
    const driver = drive();
    const { id } = await vcenter.running(driver);
    const volume = vcenter.disk();
    await driver.disks.attach(id, volume.disk);
    vcenter.gateway.calls.length = 0;
    await driver.destroy(id);
    const calls = vcenter.gateway.calls.filter((call) => /Reconfig|Destroy/.test(call));
    expect(calls).toEqual(['ReconfigVM_Task', 'Destroy_Task']);
    expect(await volume.exists()).toBe(true);
    await volume.remove();
  });

  it('is told each image once, also by several spawns at one time', async () => {
    const driver = drive();
    const source = vcenter.smallImage('one');
    const specs = [newId(), newId(), newId()].map((id) => vcenter.guest(id, { disks: rootFrom(source) }));
    vcenter.gateway.calls.length = 0;
    await Promise.all(specs.map((spec) => driver.spawn(spec, never)));
    expect(vcenter.gateway.calls.filter((call) => call === 'ImportVApp')).toHaveLength(1);
    for (const { mark } of specs) await driver.destroy(mark.serverId);
    const again = drive();
    await again.spawn(specs[0]!, never);
    expect(vcenter.gateway.calls.filter((call) => call === 'ImportVApp')).toHaveLength(1);
    await again.destroy(specs[0]!.mark.serverId);
  });

  it('takes images, and without DRS guests, on a member that works', async () => {
    const [whole, member] = [drive({ member: null }), drive()];
    const spec = vcenter.guest(newId(), { disks: rootFrom(vcenter.smallImage('three')) });
    const works = vcenter.place.members[1]!.ref.value;
    await whole.spawn(spec, never);
    expect(vcenter.gateway.bodies.get('CreateVM_Task')).not.toContain('<host');
    await whole.destroy(spec.mark.serverId);
    await member.maintenance!.enter(never);
    await vcenter.setDrs(false);
    const told = (method: string) => /<host [^>]*>([^<]+)</.exec(vcenter.gateway.bodies.get(method)!)?.[1];
    expect(await whole.probe(never)).toMatchObject({ health: 'healthy' });
    expect(told('CreateVM_Task')).toBe(works);
    const other = { ...spec, disks: rootFrom(vcenter.smallImage('four')) };
    await whole.spawn(other, never);
    expect([told('ImportVApp'), told('CreateVM_Task')]).toEqual([works, works]);
    await whole.destroy(spec.mark.serverId);
    await vcenter.setDrs(true);
    await member.maintenance!.leave();
  });

  it('brings an image again that was cut off in the middle, and removes what was there of it', async () => {
    const source = vcenter.smallImage('two');
    const spec = vcenter.guest(newId(), { disks: rootFrom(source) });
    const holders = async () => (await vcenter.vms()).filter(({ holder }) => holder?.includes('"isReady":false'));
    await vcenter.simulator.failNext('HttpNfcLeaseComplete', 'NotSupported');
    await vcenter.simulator.failNext('Destroy_Task', 'TaskInProgress');
    await expect(drive().spawn(spec, never)).rejects.toMatchObject({ code: 'unsupported' });
    expect(await holders()).toHaveLength(1);
    const driver = drive();
    await driver.spawn(spec, never);
    expect(await holders()).toEqual([]);
    await driver.destroy(spec.mark.serverId);
  });

  it('tells how busy a guest is, by the performance counters of the vCenter', async () => {
    const driver = drive();
    const spec = await vcenter.running(driver, { nics: [vcenter.nic()] });
    const { cpus, nics } = await driver.statistics.read(spec.id);
    expect(cpus).toHaveLength(spec.flavor.vcpus);
    for (const { time, utilisation } of cpus) {
      expect(time).toBeNull();
      expect(utilisation).toSatisfy((percent: number) => percent >= 0 && percent <= 100);
    }
    // vcsim measures whole KiB a second.
    for (const { receivedRate, sentRate } of nics)
      for (const rate of [receivedRate, sentRate]) expect(rate! % 1024).toBe(0);
    expect(nics).toHaveLength(1);
    await driver.destroy(spec.id);
  });

  it('has ephemeral disks and swap, which grow with the flavor', async () => {
    const driver = drive();
    const ephemeral = { size: gib(1), source: vcenter.smallImage('ephemeral') };
    const disks = { ...rootFrom(fileSource(vcenter.image)), ephemeral, swap: mib(16) };
    const spec = await vcenter.running(driver, { disks });
    const found = await driver.statistics.read(spec.id);
    expect(found.disks.map(({ disk }) => disk)).toEqual(['root', 'ephemeral', 'swap']);
    await driver.powerOff(spec.id, ms(0));
    const flavor = { ...twice(spec.flavor), ephemeral: gib(2), swap: mib(32) };
    await driver.resizing.resize(spec.id, flavor, never);
    const sizes = async () =>
      (await vcenter.devices((await vcenter.vmOf(spec.id)).ref)).flatMap(({ $type, capacityInKB }) =>
        $type === 'VirtualDisk' ? [Number(capacityInKB) / 1024] : [],
      );
    expect((await sizes()).sort((a, b) => a - b)).toEqual([1, 32, 2048]);
    await driver.resizing.revertResize(spec.id);
    expect((await sizes()).sort((a, b) => a - b)).toEqual([1, 16, 1024]);
    await driver.destroy(spec.id);
    expect(await vcenter.leftovers(spec.id, 0)).toEqual([]);
  });

  it('keeps no file that nothing needs, through every change', async () => {
    const driver = drive();
    const configDrive = new Map([['openstack/latest/meta_data.json', Buffer.from('{}')]]);
    const spec = await vcenter.running(driver, { configDrive });
    const files = async () => {
      const folder = vcenter.file((await vcenter.vmOf(spec.id)).file).replace(/\/[^/]*$/, '');
      return readdirSync(folder).filter((name) => /\.(vmdk|iso)$/.test(name)).length;
    };
    const before = await files();
    expect(before).toBe(3);
    for (const change of ['rebuild', 'rescue', 'unrescue', 'powerOff', 'resize', 'confirmResize', 'powerOn'] as const) {
      await perform(driver, change, { ...spec, configDrive });
      if (change === 'rescue') expect(await files()).toBe(before * 2);
      else if (change !== 'resize') expect([change, await files()]).toEqual([change, before]);
    }
    await driver.destroy(spec.id);
  });

  describe('ports', () => {
    const rules = (['IPv4', 'IPv6'] as const).flatMap((ethertype) =>
      (['ingress', 'egress'] as const).map((direction) => ({
        ...{ ethertype, direction, protocol: null, portMin: null, portMax: null },
        remotePrefixes: [ethertype === 'IPv4' ? '0.0.0.0/0' : '::/0'],
      })),
    );
    const guarded = (change: Partial<GuestNic> = {}): GuestNic => {
      const nic = vcenter.nic();
      const addresses = ['0.0.0.0/0', '::/0'].map((ip) => ({ mac: nic.mac, ip }));
      return { ...nic, guard: { addresses, rules }, ...change };
    };
    const vlan = (segmentationId: number, physicalNetwork = 'physnet1') =>
      ({ kind: 'provider', networkType: 'vlan', physicalNetwork, segmentationId }) as const;

    it('of a VLAN get a port group that lets them be nobody else, made once', async () => {
      const driver = drive();
      const nic = guarded({ attachment: vlan(42) });
      vcenter.gateway.calls.length = 0;
      const made = await Promise.all([
        vcenter.running(driver, { nics: [nic] }),
        vcenter.running(driver, { nics: [guarded({ attachment: vlan(42) })] }),
      ]);
      expect(vcenter.gateway.calls.filter((call) => call === 'AddDVPortgroup_Task')).toHaveLength(1);
      const groups = await vcenter.read.below(vcenter.place.datacenter.ref, 'DistributedVirtualPortgroup', [
        ...['name', 'config.defaultPortConfig'],
      ]);
      const { properties } = groups.find((group) => group.properties.name === 'DVS0 VLAN 42')!;
      const { securityPolicy } = properties['config.defaultPortConfig'] as AnswerObject;
      const { allowPromiscuous, macChanges, forgedTransmits } = securityPolicy as AnswerObject;
      for (const each of [allowPromiscuous, macChanges, forgedTransmits])
        expect(String((each as AnswerObject).value)).toBe('false');
      for (const { id } of made) await driver.destroy(id);
    });

    it('of a guest that is there already are refused when its port group cannot keep their guard', async () => {
      const driver = drive();
      const theirs = await vcenter.foreign();
      const { mark } = vcenter.guest(newId());
      const nic = guarded({ mac: theirs.nics[0]!.mac });
      const guard = { addresses: [{ mac: nic.mac, ip: '10.0.0.5' }], rules };
      await expect(driver.adoption.adopt(theirs.nativeId, mark, [{ ...nic, guard }])).rejects.toMatchObject({
        code: 'unsupported',
      });
      expect(await theirs.untouched()).toBe(true);
      await theirs.remove();
    });

    it('are refused when the network is not there, and when a guard cannot be kept', async () => {
      const nic = guarded({ attachment: vlan(43) });
      const { addresses } = nic.guard!;
      const refused = async (driver: VsphereDriver, wanted: GuestNic) => {
        const spec = vcenter.guest(newId(), { nics: [wanted] });
        // What operators call their networks is for the log.
        const message = expect.not.stringMatching(/physnet/);
        await expect(driver.spawn(spec, never)).rejects.toMatchObject({ code: 'unsupported', message });
        expect(await vcenter.leftovers(spec.mark.serverId, 0)).toEqual([]);
      };
      await refused(drive({ createPortGroups: false }), nic);
      await refused(drive(), { ...nic, attachment: vlan(43, 'physnet9') });
      await refused(drive(), { ...nic, attachment: { kind: 'tap', tap: 'tap0', netns: null } });
      await refused(drive(), { ...nic, guard: { addresses: [{ mac: nic.mac, ip: '10.0.0.5' }], rules } });
      await refused(drive(), { ...nic, guard: { addresses, rules: rules.slice(1) } });
    });

    it('that are cut off stay so whoever starts the VM, its guest included, until their policy is accepted', async () => {
      const driver = drive();
      const nic = guarded({ attachment: vlan(44) });
      const { id } = await vcenter.running(driver, { nics: [nic] });
      const connection = () => vcenter.connectionOf(id, nic.portId);
      const off = { connected: false, startConnected: false, allowGuestControl: false };
      const on = { connected: true, startConnected: true, allowGuestControl: true };
      const refused = { ...nic, guard: { addresses: nic.guard!.addresses, rules: rules.slice(1) } };
      const { ref } = await vcenter.vmOf(id);
      for (const power of ['running', 'shutdown']) {
        if (power === 'shutdown') await driver.powerOff(id, ms(0));
        await driver.nics.cutOff(id, nic.portId);
        const card = async () => (await vcenter.devices(ref)).find(({ macAddress }) => macAddress === nic.mac);
        const { connectable: _, ...before } = (await card())!;
        expect(await connection()).toEqual(off);
        vcenter.gateway.calls.length = 0;
        await driver.nics.cutOff(id, nic.portId);
        expect(vcenter.gateway.calls).not.toContain('ReconfigVM_Task');
        await expect(driver.nics.attach(id, refused)).rejects.toMatchObject({ code: 'unsupported' });
        await expect(driver.reboot(id, 'hard', [refused])).rejects.toMatchObject({ code: 'unsupported' });
        await vcenter.updates.run(ref, 'PowerOnVM_Task');
        expect(await connection()).toEqual(off);
        await driver.nics.attach(id, nic);
        expect(await connection()).toEqual(on);
        expect(await card()).toMatchObject(before);
      }
      await driver.nics.cutOff(id, nic.portId);
      await driver.reboot(id, 'hard', [nic]);
      expect(await connection()).toEqual(on);
      await driver.powerOff(id, ms(0));
      await driver.nics.cutOff(id, nic.portId);
      await driver.nics.attach(id, nic);
      expect(await connection()).toEqual({ ...on, connected: false });
      await driver.destroy(id);
    });

    const adopted = async (driver: VsphereDriver) => {
      const theirs = await vcenter.foreign();
      const { mark } = vcenter.guest(newId());
      const [nic] = theirs.nics as [GuestNic];
      await driver.adoption.adopt(theirs.nativeId, mark, [nic]);
      const { ref } = await vcenter.vmOf(mark.serverId);
      const connection = () => vcenter.connectionOf(mark.serverId, nic.portId);
      return { ...theirs, id: mark.serverId, nic, ref, connection };
    };

    it('are guarded by the port group that their card is in, not by the one that it would get now', async () => {
      const driver = drive();
      const { id, nic, ref, connection, remove } = await adopted(driver);
      const wanted = { ...guarded({ mac: nic.mac, attachment: vlan(45) }), portId: nic.portId };
      wanted.guard = { addresses: ['0.0.0.0/0', '::/0'].map((ip) => ({ mac: nic.mac, ip })), rules };
      const cards = async () => (await vcenter.devices(ref)).filter(({ macAddress }) => macAddress === nic.mac);
      await expect(driver.nics.attach(id, wanted)).rejects.toMatchObject({ code: 'unsupported' });
      await driver.nics.cutOff(id, nic.portId);
      const before = await cards();
      await expect(driver.nics.attach(id, wanted)).rejects.toMatchObject({ code: 'unsupported' });
      expect([await cards(), (await connection()).connected]).toEqual([before, false]);
      await driver.reboot(id, 'hard', [wanted]);
      expect((await connection()).connected).toBe(true);
      const [card] = await cards();
      expect((card!.backing as AnswerObject).$type).toBe('VirtualEthernetCardDistributedVirtualPortBackingInfo');
      await driver.nics.attach(id, wanted);
      await driver.destroy(id);
      await remove();
    });

    it('that are cut off are connected again when their VM is released', async () => {
      const driver = drive();
      const { id, nic, ref, connection, remove } = await adopted(driver);
      const card = async () => (await vcenter.devices(ref)).find(({ macAddress }) => macAddress === nic.mac);
      const before = await card();
      await driver.nics.cutOff(id, nic.portId);
      expect((await connection()).connected).toBe(false);
      await driver.adoption.release(id);
      const { key, connectable } = before!;
      expect(await card()).toMatchObject({ key, connectable });
      expect((await vcenter.vms()).find((vm) => vm.ref.is(ref))).toMatchObject({ state: null, cutOff: [] });
      await remove();
    });

    it('that are cut off are known to be when an agent of an older release has written the state', async () => {
      const driver = drive();
      const nic = vcenter.nic();
      const { id } = await vcenter.running(driver, { nics: [nic] });
      await driver.nics.cutOff(id, nic.portId);
      const { ref, state } = await vcenter.vmOf(id);
      const { nics, ...rest } = readState(state!) as GuestState;
      const older = { ...rest, nics: nics.map(({ portId, mac }) => ({ portId, mac })) };
      const spec = { extraConfig: [extraConfig(STATE_KEY, JSON.stringify(older))] };
      await vcenter.updates.run(ref, 'ReconfigVM_Task', { spec });
      await driver.nics.attach(id, nic);
      expect(await vcenter.connectionOf(id, nic.portId)).toMatchObject({ connected: true, startConnected: true });
      await driver.destroy(id);
    });

    it('keep their guest suspended when they cannot be guarded, and are connected when it goes on', async () => {
      const driver = drive();
      const { suspend, resume } = driver.suspending;
      const nic = guarded({ attachment: vlan(46) });
      const { id } = await vcenter.running(driver, { nics: [nic] });
      const closed = { ...nic, guard: { addresses: nic.guard!.addresses, rules: rules.slice(1) } };
      await driver.nics.cutOff(id, nic.portId);
      await suspend(id);
      await expect(resume(id, [closed])).rejects.toMatchObject({ code: 'unsupported' });
      expect(await driver.inspect(id)).toMatchObject({ power: 'suspended' });
      // One that it does not have is of no matter.
      await resume(id, [nic, { ...closed, mac: vcenter.nic().mac, portId: 'another' }]);
      expect(await driver.inspect(id)).toMatchObject({ power: 'running' });
      expect(await vcenter.connectionOf(id, nic.portId)).toMatchObject({ connected: true, startConnected: true });
      await driver.destroy(id);
    });

    it('that somebody else has disconnected stay so', async () => {
      const driver = drive();
      const nic = vcenter.nic();
      const { id } = await vcenter.running(driver, { nics: [nic] });
      const { ref } = await vcenter.vmOf(id);
      const card = (await vcenter.devices(ref)).find(({ macAddress }) => macAddress === nic.mac)!;
      const deviceChange = [connectNic(card, false, true)];
      await vcenter.updates.run(ref, 'ReconfigVM_Task', { spec: { deviceChange } });
      await driver.nics.cutOff(id, nic.portId);
      await driver.nics.attach(id, nic);
      await driver.reboot(id, 'hard', [nic]);
      expect(await vcenter.connectionOf(id, nic.portId)).toMatchObject({ connected: false, startConnected: false });
      await driver.destroy(id);
    });
  });

  it('keeps files by the storage policy that a flavor asks for, and refuses one that it does not have', async () => {
    const driver = drive();
    const spec = vcenter.guest(newId());
    const flavor = (name: string) => ({ ...spec.flavor, extraSpecs: { 'vmware:storage_policy': name } });
    await expect(driver.spawn({ ...spec, flavor: flavor('no such policy') }, never)).rejects.toMatchObject({
      code: 'unsupported',
    });
    await driver.spawn({ ...spec, flavor: flavor('vSAN Default Storage Policy') }, never);
    await driver.destroy(spec.mark.serverId);
  });

  it('is left and joined again for maintenance', async () => {
    const driver = drive();
    const { id: other, nics } = await vcenter.running(driver);
    await move(other, 1);
    const [before, whole] = [await driver.inventory(), drive({ member: null })];
    const all = await whole.inventory();
    await driver.maintenance!.enter(never);
    const words = 'the member is in maintenance mode';
    await expect(driver.check()).rejects.toMatchObject({ code: 'unavailable', message: words });
    expect(await driver.probe(never)).toMatchObject({ health: 'unhealthy', reason: words, inMaintenance: true });
    expect(await driver.inspect(other)).toMatchObject({ power: 'running', stage: 'settled' });
    expect(await driver.inventory()).toEqual(before);
    await whole.check();
    expect(await whole.inventory()).toMatchObject({
      ...{ vcpus: all.vcpus - before.vcpus, memoryMib: all.memoryMib - before.memoryMib, diskGib: all.diskGib },
    });
    await driver.reboot(other, 'hard', nics);
    await expect(driver.spawn(vcenter.guest(newId()), never)).rejects.toMatchObject({ code: 'noResources' });
    await driver.maintenance!.leave();
    await driver.check();
    const { id } = await vcenter.running(driver);
    for (const each of [id, other]) await driver.destroy(each);
  });

  it('is joined again only when nobody is leaving it for maintenance any more', async () => {
    const slow = await VcenterUnderTest.start('-delay', 'EnterMaintenanceMode=1000');
    const [driver, other] = [slow.open(), slow.open()];
    const entered = () => slow.gateway.calls.filter((call) => call === 'EnterMaintenanceMode_Task').length;
    try {
      const { enter, leave } = driver.maintenance!;
      // Nobody hears of the task that goes on.
      slow.gateway.loseAnswerOf('EnterMaintenanceMode_Task');
      await expect(enter(never)).rejects.toMatchObject({ code: 'unavailable' });
      await leave();
      expect(slow.gateway.calls).toContain('CancelTask');
      await driver.check();
      // It does not let itself be cancelled.
      await slow.simulator.failNext('CancelTask', 'NotSupported');
      const emptied = other.maintenance!.enter(never);
      const begins = () => entered() === 2 && slow.gateway.calls.at(-1) !== 'EnterMaintenanceMode_Task';
      await expect.poll(begins).toBe(true);
      await leave();
      await emptied;
      expect(slow.gateway.calls).toContain('ExitMaintenanceMode_Task');
      await driver.check();
      // Whoever is in it is not asked to enter it.
      await enter(never);
      await enter(never);
      expect(entered()).toBe(3);
      await expect(driver.check()).rejects.toMatchObject({ code: 'unavailable' });
      await leave();
    } finally {
      for (const each of [driver, other]) await each.close();
      await slow.stop();
    }
  });

  it('is left without a live migration that begins meanwhile', async () => {
    const slow = await VcenterUnderTest.start('-delay', 'EnterMaintenanceMode=1000');
    const driver = slow.open();
    try {
      const { id } = await slow.running(driver);
      await driver.liveMigration.recover(id);
      const emptied = driver.maintenance!.enter(never);
      const recovered = () => driver.liveMigration.recover(id).catch(({ code }) => code);
      await expect.poll(recovered, { interval: 5 }).toBe('unavailable');
      await emptied;
      await driver.liveMigration.recover(id);
      await driver.maintenance!.leave();
      await driver.destroy(id);
    } finally {
      await driver.close();
      await slow.stop();
    }
  });

  it('goes on with what its answer was lost of, however long that takes to be done', async () => {
    const slow = await VcenterUnderTest.start(
      ...['CreateVm', 'CopyVirtualDisk', 'PowerOn'].flatMap((task) => ['-delay', `${task}=200`]),
    );
    const driver = slow.open();
    try {
      for (const method of ['CreateVM_Task', 'CopyVirtualDisk_Task', 'PowerOnVM_Task'] as const) {
        const spec = slow.guest(newId());
        slow.gateway.loseAnswerOf(method);
        await expect(driver.spawn(spec, never)).rejects.toMatchObject({ code: 'unavailable' });
        expect([method, await slow.leftovers(spec.mark.serverId, 0)]).toEqual([method, []]);
        await driver.spawn(spec, never);
        expect([method, (await slow.vmsOf(spec.mark.serverId)).length]).toEqual([method, 1]);
        await driver.destroy(spec.mark.serverId);
        expect([method, await slow.leftovers(spec.mark.serverId, 0)]).toEqual([method, []]);
      }
    } finally {
      await driver.close();
      await slow.stop();
    }
  });

  it('finds what its answer was lost of among other tasks, also where a vCenter does not say what is copied', async () => {
    const slow = await VcenterUnderTest.start('-delay', 'CreateVm=200', '-delay', 'CopyVirtualDisk=1000');
    const [driver, other] = [slow.open(), slow.open({ member: second })];
    const copying = async () => {
      const manager = await slow.session.manager('taskManager');
      const tasks = await slow.read.listed(manager, 'recentTask', 'Task', ['info.state', 'info.descriptionId']);
      return tasks.some(
        ({ properties: { 'info.state': state, 'info.descriptionId': name } }) =>
          state === 'running' && name === 'VirtualDiskManager.copyVirtualDisk',
      );
    };
    const failing = async (method: string) => {
      const spec = slow.guest(newId());
      slow.gateway.loseAnswerOf(method);
      await expect(driver.spawn(spec, never)).rejects.toMatchObject({ code: 'unavailable' });
      return spec.mark.serverId;
    };
    try {
      const copied = await failing('CopyVirtualDisk_Task');
      expect([await copying(), await slow.leftovers(copied, 0)]).toEqual([false, []]);
      const beside = slow.guest(newId());
      const spawned = other.spawn(beside, never);
      await expect.poll(copying, { timeout: 5_000 }).toBe(true);
      const made = await failing('CreateVM_Task');
      await spawned;
      expect(await slow.leftovers(made, 0)).toEqual([]);
      await other.destroy(beside.mark.serverId);
    } finally {
      for (const each of [driver, other]) await each.close();
      await slow.stop();
    }
  });

  it('offers no VMs to adopt that are its own, or that it has lost', async () => {
    const driver = drive();
    const theirs = await vcenter.foreign();
    const { mark } = vcenter.guest(newId());
    const offered = async () => (await driver.adoption.candidates()).map(({ nativeId }) => nativeId);
    expect(await offered()).toEqual([theirs.nativeId]);
    await vcenter.simulator.connect('DC0_C0_H0', false);
    expect(await offered()).toEqual([]);
    await vcenter.simulator.connect('DC0_C0_H0', true);
    const { ref } = (await vcenter.vms()).find(({ instanceUuid }) => instanceUuid === theirs.nativeId)!;
    const by = '<extensionKey>com.vmware.vim.eam</extensionKey><type>cluster-agent</type>';
    await vcenter.say('ReconfigVM_Task', ref, `<spec><managedBy>${by}</managedBy></spec>`);
    await expect.poll(offered).toEqual([]);
    await expect(driver.adoption.adopt(theirs.nativeId, mark, theirs.nics)).rejects.toMatchObject({ code: 'fault' });
    await theirs.remove();
  });

  it('gives no guest to adopt with a disk that others have as well', async () => {
    const driver = drive();
    const { nativeId, nics, remove } = await vcenter.foreign();
    const { mark } = vcenter.guest(newId());
    const { ref } = (await vcenter.vms()).find(({ instanceUuid }) => instanceUuid === nativeId)!;
    const change = async (pick: (device: Device) => boolean, how: (device: Device) => object) => {
      const device = (await vcenter.devices(ref)).find(pick)!;
      const deviceChange = [{ operation: 'edit', device: { ...device, ...how(device) } }];
      await vcenter.updates.run(ref, 'ReconfigVM_Task', { spec: { deviceChange } } as never);
    };
    await change(isDisk, ({ backing }) => ({ backing: { ...(backing as object), sharing: 'sharingMultiWriter' } }));
    await expect(driver.adoption.adopt(nativeId, mark, nics)).rejects.toMatchObject({
      ...{ code: 'unsupported', message: expect.stringContaining('shares a disk') },
    });
    await remove();
  });

  it('gives two disks at one time', async () => {
    const driver = drive();
    const { id } = await vcenter.running(driver);
    const taken = [1, 2].map(() => driver.snapshots.exportDisk(id, 'root', 'vmdk', never));
    for (const { stream } of await Promise.all(taken)) {
      let size = 0;
      for await (const part of stream) size += (part as Buffer).length;
      expect(size).toBeGreaterThan(512);
    }
    await driver.destroy(id);
  });

  it('of whose snapshots only our own are removed', async () => {
    const driver = drive();
    const spec = await vcenter.running(driver);
    const { ref } = await vcenter.vmOf(spec.id);
    const take = (name: string) =>
      vcenter.updates.run(ref, 'CreateSnapshot_Task', { name, memory: false, quiesce: false }) as Promise<Ref>;
    await take('theirs');
    await take('omnivisor export');
    await driver.rebuilding.rebuild({ ...spec, mark: { ...spec.mark, build: 1 } }, never);
    const left = JSON.stringify(await vcenter.read.one(ref, 'snapshot.rootSnapshotList'));
    expect([left.includes('theirs'), left.includes('omnivisor export')]).toEqual([true, false]);
    await driver.destroy(spec.id);
  });
});

describe.skipIf(noSimulator)('a single host without a vCenter', () => {
  it('runs servers, as far as it goes without one', async () => {
    const host = await VcenterUnderTest.start('-esx');
    const driver = host.open({ member: null, physicalNetworks: { physnet1: 'VM Network' } });
    try {
      expect(await driver.probe(never)).toMatchObject({ health: 'healthy' });
      const spec = await host.running(driver);
      const thin = '<destSpec xsi:type="VirtualDiskSpec"><diskType>thin</diskType><adapterType>lsiLogic</adapterType>';
      expect(host.gateway.bodies.get('CopyVirtualDisk_Task')).toContain(thin);
      const { stream } = await driver.snapshots.exportDisk(spec.id, 'root', 'vmdk', never);
      stream.resume();
      await driver.rebuilding.rebuild({ ...spec, mark: { ...spec.mark, build: 1 } }, never);
      expect(await driver.list()).toMatchObject([{ power: 'running', stage: 'settled', mark: { build: 1 } }]);
      await driver.destroy(spec.id);
      expect(await driver.list()).toEqual([]);
    } finally {
      await driver.close();
      await host.stop();
    }
  });
});
