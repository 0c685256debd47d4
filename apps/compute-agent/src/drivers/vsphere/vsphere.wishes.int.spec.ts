import { readdirSync } from 'node:fs';
import { mib, ms, type ServerId } from '@omnivisor/contracts';
import { beforeAll, describe, expect, it } from 'vitest';
import type { GuestSpec } from '../hypervisor-driver.js';
import { STATE_KEY } from './operations/guest-state.js';
import { extraConfig } from './operations/guests.js';
import { isNic } from './operations/records.js';
import { noSimulator } from './testing/simulator.js';
import { never, newId, type VcenterUnderTest } from './testing/vcenter-under-test.js';
import { Vcenters } from './testing/vcenters.js';
import { type AnswerObject, type ArgumentObject, isTrue } from './transport/soap.js';
import type { VsphereDriver } from './vsphere.driver.js';

type Said = Record<string, string>;

const PATHS = [
  ...['config.guestId', 'config.firmware', 'config.bootOptions', 'config.hardware.numCPU'],
  ...['config.hardware.numCoresPerSocket', 'config.cpuAllocation', 'config.memoryAllocation'],
];
const SECURE = { hw_firmware_type: 'uefi', os_secure_boot: 'required' };

describe.skipIf(noSimulator)(
  `what images and flavors ask for on a vCenter${noSimulator === null ? '' : `: ${noSimulator}`}`,
  () => {
    const vcenters = new Vcenters();
    const drive = (...args: Parameters<VcenterUnderTest['open']>) => vcenters.drive(...args);
    let vcenter: VcenterUnderTest;
    beforeAll(() => {
      vcenter = vcenters.first;
    });

    const asking = (properties: Said, extraSpecs: Said = {}, vcpus = 4): GuestSpec => {
      const spec = vcenter.guest(newId());
      return {
        ...spec,
        image: { ...spec.image, properties },
        flavor: { ...spec.flavor, vcpus, extraSpecs },
      };
    };
    const spawned = async (driver: VsphereDriver, ...wish: Parameters<typeof asking>) => {
      const spec = asking(...wish);
      await driver.spawn(spec, never);
      return { ...spec, id: spec.mark.serverId };
    };
    const flavorOf = ({ flavor }: GuestSpec, extraSpecs: Said, vcpus = flavor.vcpus) => ({
      ...{ ...flavor, vcpus, memory: mib(32), extraSpecs },
    });
    const imageOf = ({ image }: GuestSpec, properties: Said) => ({ ...image, properties });

    /** What the vCenter says of a guest's VM. */
    const machine = async (id: ServerId) => {
      const { ref } = await vcenter.vmOf(id);
      const config = await vcenter.read.of(ref, PATHS);
      const bound = (resource: string) => {
        const { reservation, limit, shares } = config[`config.${resource}Allocation`] as AnswerObject;
        return [String(reservation), String(limit), String((shares as AnswerObject).level)];
      };
      const cards = (await vcenter.devices(ref)).filter(isNic);
      const { efiSecureBootEnabled } = (config['config.bootOptions'] ?? {}) as AnswerObject;
      return {
        ...{ guestId: config['config.guestId'], firmware: config['config.firmware'] },
        secureBoot: isTrue(efiSecureBootEnabled),
        vcpus: config['config.hardware.numCPU'],
        cores: config['config.hardware.numCoresPerSocket'],
        ...{ cpu: bound('cpu'), memory: bound('memory') },
        cards: Object.fromEntries(cards.map(({ macAddress, $type }) => [macAddress, $type])),
      };
    };
    const reconfigure = async (id: ServerId, spec: ArgumentObject) =>
      vcenter.updates.run((await vcenter.vmOf(id)).ref, 'ReconfigVM_Task', { spec });
    const stateOf = async (id: ServerId) => JSON.parse((await vcenter.vmOf(id)).state!);
    /** As a release wrote it that did not keep what was asked for. */
    const age = async (id: ServerId) => {
      const { wishes: _, firmware: __, own, ...state } = await stateOf(id);
      const older = { ...state, own: own && { disks: own.disks, config: own.config } };
      await reconfigure(id, { extraConfig: [extraConfig(STATE_KEY, JSON.stringify(older))] });
    };
    const FREE = ['0', '-1', 'normal'];
    const cardsOf = ({ nics }: GuestSpec, type: string) => Object.fromEntries(nics.map(({ mac }) => [mac, type]));
    const rebuilt = (spec: GuestSpec, properties: Said, powerOn = true): GuestSpec => ({
      ...spec,
      ...{ mark: { ...spec.mark, build: spec.mark.build + 1 }, image: imageOf(spec, properties), powerOn },
    });

    it('is served by a spawn, and kept', async () => {
      const driver = drive();
      const [properties, extraSpecs] = [
        { ...SECURE, hw_vif_model: 'e1000' },
        { 'hw:cpu_cores': '2', 'quota:cpu_limit': '1000' },
      ];
      const spec = await spawned(driver, { ...properties, description: 'of no interest' }, extraSpecs);
      expect(await machine(spec.id)).toEqual({
        ...{ guestId: 'otherLinux64Guest', firmware: 'efi', secureBoot: true, vcpus: 4, cores: 2 },
        ...{ cpu: ['0', '1000', 'normal'], memory: FREE, cards: cardsOf(spec, 'VirtualE1000') },
      });
      expect((await stateOf(spec.id)).wishes).toEqual({ properties, extraSpecs });
      await driver.destroy(spec.id);
    });

    it('is another thing after a resize, and what it was when that is reverted', async () => {
      const driver = drive();
      const { resizing } = driver;
      const spec = await spawned(driver, {}, { 'hw:cpu_cores': '2', 'quota:cpu_limit': '1000' });
      const { id } = spec;
      await driver.powerOff(id, ms(0));
      const [before, state] = [await machine(id), await stateOf(id)];
      const to = flavorOf(spec, { 'hw:cpu_sockets': '2', 'quota:memory_reservation': '16' }, 6);
      await resizing.resize(id, to, never);
      const after = await machine(id);
      expect(after).toMatchObject({ vcpus: 6, cores: 3, cpu: FREE, memory: ['16', '-1', 'normal'] });
      await resizing.revertResize(id);
      expect([await machine(id), (await stateOf(id)).wishes]).toEqual([before, state.wishes]);
      await resizing.resize(id, to, never);
      await resizing.confirmResize(id);
      expect([await machine(id), (await stateOf(id)).wishes]).toEqual([
        after,
        { properties: {}, extraSpecs: to.extraSpecs },
      ]);
      await resizing.resize(id, flavorOf(spec, {}, 4), never);
      expect(await machine(id)).toMatchObject({ vcpus: 4, cores: 1, cpu: FREE, memory: FREE });
      await driver.destroy(id);
    });

    it('tells flavors of one size apart', async () => {
      const driver = drive();
      const { resizing } = driver;
      const spec = await spawned(driver, {});
      await driver.powerOff(spec.id, ms(0));
      const specs = { 'quota:cpu_limit': '1000', 'hw:cpu_cores': '2' };
      await resizing.resize(spec.id, flavorOf(spec, specs), never);
      await resizing.resize(spec.id, flavorOf(spec, Object.fromEntries(Object.entries(specs).reverse())), never);
      for (const other of [{}, { ...specs, 'quota:cpu_limit': '2000' }])
        await expect(resizing.resize(spec.id, flavorOf(spec, other), never)).rejects.toMatchObject({ code: 'fault' });
      // As an older release wrote it.
      const state = await stateOf(spec.id);
      const { memory, disk, ephemeral, swap } = flavorOf(spec, {});
      state.before = { size: state.before.size, disks: state.before.disks, flavor: '' };
      state.before.flavor = JSON.stringify([4, memory, disk, ephemeral, swap]);
      await reconfigure(spec.id, { extraConfig: [extraConfig(STATE_KEY, JSON.stringify(state))] });
      await resizing.resize(spec.id, flavorOf(spec, specs), never);
      await resizing.revertResize(spec.id);
      expect(await driver.inspect(spec.id)).toMatchObject({ stage: 'settled', memory: 16 });
      await driver.destroy(spec.id);
    });

    it('has secure boot switched by a resize where the firmware can do it', async () => {
      const driver = drive();
      const { resizing } = driver;
      const secure = { 'os:secure_boot': 'required' };
      const spec = await spawned(driver, { hw_firmware_type: 'uefi' });
      await driver.powerOff(spec.id, ms(0));
      await resizing.resize(spec.id, flavorOf(spec, secure), never);
      expect(await machine(spec.id)).toMatchObject({ firmware: 'efi', secureBoot: true });
      await resizing.revertResize(spec.id);
      expect(await machine(spec.id)).toMatchObject({ firmware: 'efi', secureBoot: false });
      // The firmware that came with it stays when it goes.
      const other = await spawned(driver, {}, secure);
      await driver.powerOff(other.id, ms(0));
      expect(await machine(other.id)).toMatchObject({ firmware: 'efi', secureBoot: true });
      for (const [extraSpecs, secureBoot] of [
        [{}, false],
        [secure, true],
      ] as const) {
        await resizing.resize(other.id, flavorOf(other, extraSpecs), never);
        await resizing.confirmResize(other.id);
        expect(await machine(other.id)).toMatchObject({ firmware: 'efi', secureBoot });
      }
      for (const { id } of [spec, other]) await driver.destroy(id);
    });

    it('is refused by a resize that cannot serve it, and the guest is as it was', async () => {
      const driver = drive();
      const spec = await spawned(driver, {});
      await driver.powerOff(spec.id, ms(0));
      const { version } = await vcenter.vmOf(spec.id);
      const { checkResize, resize } = driver.resizing;
      for (const [extraSpecs, words] of [
        [{ 'os:secure_boot': 'required' }, 'does not change the firmware'],
        [{ 'vmware:storage_policy': 'gold' }, 'another storage policy'],
        [{ 'hw:cpu_cores': '3' }, '4 vCPUs as ? sockets of 3 cores'],
        [{ 'hw:cpu_policy': 'dedicated' }, 'hw:cpu_policy=dedicated'],
      ] as const)
        for (const refused of [
          checkResize(spec.id, flavorOf(spec, extraSpecs)),
          resize(spec.id, flavorOf(spec, extraSpecs), never),
        ])
          await expect(refused).rejects.toMatchObject({
            ...{ code: 'unsupported', message: expect.stringContaining(words) },
          });
      expect((await vcenter.vmOf(spec.id)).version).toBe(version);
      await driver.destroy(spec.id);
    });

    it('is another machine after a rebuild from another image', async () => {
      const driver = drive();
      const first = { ...SECURE, hw_cpu_cores: '2', hw_vif_model: 'e1000', os_type: 'windows' };
      const spec = await spawned(driver, first, { 'quota:cpu_limit': '1000' });
      const before = await machine(spec.id);
      expect(before).toMatchObject({ guestId: 'windows9Server64Guest', cards: cardsOf(spec, 'VirtualE1000') });
      // What somebody else has changed meanwhile.
      await reconfigure(spec.id, { memoryAllocation: { limit: 64 } });
      const second = rebuilt(spec, { hw_firmware_type: 'bios' });
      await driver.rebuilding.rebuild(second, never);
      expect(await machine(spec.id)).toEqual({
        ...{ guestId: 'otherLinux64Guest', firmware: 'bios', secureBoot: false, vcpus: 4, cores: 1 },
        ...{ cpu: ['0', '1000', 'normal'], memory: FREE, cards: cardsOf(spec, 'VirtualVmxnet3') },
      });
      expect((await stateOf(spec.id)).wishes.properties).toEqual(second.image.properties);
      const third = rebuilt(second, first, false);
      await driver.rebuilding.rebuild(third, never);
      expect(await machine(spec.id)).toEqual(before);
      expect((await stateOf(spec.id)).wishes.properties).toEqual(first);
      expect(await driver.inspect(spec.id)).toMatchObject({ mark: third.mark, power: 'shutdown' });
      await driver.destroy(spec.id);
    });

    it.each([false, true])(
      'is whole before it starts when an agent ends in a rebuild between any two steps (the last one done: %s)',
      async (isDone) => {
        const phases = new Set<string>();
        for (let step = 0; ; step++) {
          const driver = drive();
          const spec = await spawned(driver, { ...SECURE, hw_vif_model: 'e1000' });
          const { id, nics } = spec;
          vcenter.gateway.cutAfter(step, isDone);
          const next = rebuilt(spec, {});
          await driver.rebuilding.rebuild(next, never).catch(() => undefined);
          const wasCut = vcenter.gateway.reopen();
          await driver.close();
          const { build, firmware } = await stateOf(id);
          phases.add(`${build} ${firmware}`);
          const heir = drive();
          // Either it is done again, or the guest is started as it is.
          if (step % 2 === 0) await heir.rebuilding.rebuild(next, never);
          else await heir.reboot(id, 'hard', nics);
          const isNew = (await heir.inspect(id)).mark.build === 1;
          expect([step, await machine(id)]).toMatchObject([
            step,
            isNew
              ? { firmware: 'bios', secureBoot: false, cards: cardsOf(spec, 'VirtualVmxnet3') }
              : { firmware: 'efi', secureBoot: true, cards: cardsOf(spec, 'VirtualE1000') },
          ]);
          expect(await stateOf(id)).toMatchObject({ firmware: null });
          await heir.destroy(id);
          await heir.close();
          if (!wasCut) break;
        }
        expect([...phases]).toEqual(['0 null', '1 bios', '1 null']);
      },
      60_000,
    );

    it('is what the rescue image asks for while rescued, and its own afterwards', async () => {
      const driver = drive();
      const own = { hw_cpu_cores: '2', hw_vif_model: 'e1000e' };
      const spec = await spawned(driver, own, { 'quota:cpu_limit': '1000' });
      const { id } = spec;
      const before = await machine(id);
      const rescue = (properties: Said) => driver.rescuing.rescue({ ...spec, image: imageOf(spec, properties) }, never);
      await rescue({});
      expect(await machine(id)).toEqual(before);
      await driver.rescuing.unrescue(id, spec.nics);
      await expect(rescue({ hw_scsi_model: 'lsilogic' })).rejects.toMatchObject({
        ...{ code: 'unsupported', message: expect.stringContaining('another controller of disks') },
      });
      expect(await driver.inspect(id)).toMatchObject({ stage: 'settled', power: 'running' });
      await rescue({ ...SECURE, hw_vif_model: 'e1000', vmware_ostype: 'debian10_64Guest' });
      expect(await machine(id)).toEqual({
        ...{ guestId: 'debian10_64Guest', firmware: 'efi', secureBoot: true, vcpus: 4, cores: 2 },
        ...{ cpu: before.cpu, memory: FREE, cards: cardsOf(spec, 'VirtualE1000') },
      });
      const more = vcenter.nic();
      await driver.nics.attach(id, more);
      expect((await machine(id)).cards[more.mac]).toBe('VirtualE1000');
      // The agent that ends it is another one.
      await drive().rescuing.unrescue(id, [...spec.nics, more]);
      const cards = cardsOf({ ...spec, nics: [...spec.nics, more] }, 'VirtualE1000e');
      expect(await machine(id)).toEqual({ ...before, cards });
      expect((await stateOf(id)).wishes.properties).toEqual(own);
      await driver.destroy(id);
    });

    it.each(['rescue', 'unrescue', 'resize', 'revertResize'] as const)(
      'is that of one side or the other when an agent ends in %s between any two steps',
      async (change) => {
        for (let step = 0; ; step++) {
          const driver = drive();
          const spec = await spawned(driver, { hw_vif_model: 'e1000' });
          const { id } = spec;
          const [to, image] = [
            flavorOf(spec, { 'quota:cpu_limit': '1000', 'hw:cpu_cores': '2' }),
            imageOf(spec, { ...SECURE, hw_vif_model: 'vmxnet3' }),
          ];
          if (/esize/.test(change)) await driver.powerOff(id, ms(0));
          const away = ({ rescuing, resizing }: VsphereDriver) =>
            /rescue/.test(change) ? rescuing.rescue({ ...spec, image }, never) : resizing.resize(id, to, never);
          const back = ({ rescuing, resizing }: VsphereDriver) =>
            /rescue/.test(change) ? rescuing.unrescue(id, spec.nics) : resizing.revertResize(id);
          const doing = /^(rescue|resize)$/.test(change) ? away : back;
          const before = await machine(id);
          if (doing === back) await away(driver);
          vcenter.gateway.cutAfter(Math.floor(step / 2), step % 2 === 0);
          await doing(driver).catch(() => undefined);
          const wasCut = vcenter.gateway.reopen();
          await driver.close();
          const heir = drive();
          const expected = /rescue/.test(change)
            ? { ...before, firmware: 'efi', secureBoot: true, cards: cardsOf(spec, 'VirtualVmxnet3') }
            : { ...before, cores: 2, cpu: ['0', '1000', 'normal'] };
          const side = (await heir.inspect(id)).stage === 'settled' ? before : expected;
          const isLate = (await stateOf(id)).firmware !== null;
          expect([step, await machine(id)]).toEqual([step, isLate ? { ...side, firmware: 'efi' } : side]);
          await doing(heir);
          expect([step, await machine(id)]).toEqual([step, doing === away ? expected : before]);
          await back(heir);
          expect([step, await machine(id)]).toEqual([step, before]);
          await heir.destroy(id);
          await heir.close();
          if (!wasCut) break;
        }
      },
      60_000,
    );

    it('is what the image says for ports that come later, unless they say otherwise', async () => {
      const driver = drive();
      const spec = await spawned(driver, { hw_vif_model: 'e1000' });
      const [plugged, found] = [vcenter.nic(), vcenter.nic()];
      const own = { ...vcenter.nic(), model: 'vmxnet3' };
      await driver.nics.attach(spec.id, plugged);
      await driver.reboot(spec.id, 'hard', [...spec.nics, plugged, found, own]);
      const cards = cardsOf({ ...spec, nics: [...spec.nics, plugged, found] }, 'VirtualE1000');
      expect((await machine(spec.id)).cards).toEqual({ ...cards, [own.mac]: 'VirtualVmxnet3' });
      await driver.destroy(spec.id);
    });

    it('is what the VM has where an older release did not keep it', async () => {
      const driver = drive();
      const spec = await spawned(driver, {
        ...SECURE,
        hw_vif_model: 'e1000',
        hw_cpu_cores: '2',
        hw_scsi_model: 'lsilogic',
      });
      const { id } = spec;
      await age(id);
      const before = await machine(id);
      const plugged = vcenter.nic();
      await driver.nics.attach(id, plugged);
      expect((await machine(id)).cards[plugged.mac]).toBe('VirtualVmxnet3');
      await driver.nics.detach(id, plugged.portId);
      await driver.rescuing.rescue({ ...spec, image: imageOf(spec, {}) }, never);
      expect(await machine(id)).toEqual(before);
      await age(id);
      await driver.rescuing.unrescue(id, spec.nics);
      expect(await machine(id)).toEqual(before);
      await driver.powerOff(id, ms(0));
      await driver.resizing.resize(id, flavorOf(spec, { 'quota:cpu_limit': '1000' }), never);
      expect(await machine(id)).toEqual({ ...before, cpu: ['0', '1000', 'normal'] });
      await driver.resizing.revertResize(id);
      expect([await machine(id), (await stateOf(id)).wishes]).toEqual([before, null]);
      await driver.rebuilding.rebuild(rebuilt(spec, { hw_scsi_model: 'lsilogic' }), never);
      expect(await machine(id)).toEqual({
        ...before,
        ...{ firmware: 'bios', secureBoot: false, cores: 1, cards: cardsOf(spec, 'VirtualVmxnet3') },
      });
      await driver.destroy(id);
    });

    it('leaves a Windows of an older release on its disks, with its own image and with others', async () => {
      const driver = drive();
      const spec = await spawned(driver, {});
      const { id } = spec;
      await age(id);
      const said = rebuilt(spec, { os_type: 'windows', hw_scsi_model: 'lsisas1068' });
      await expect(driver.rebuilding.rebuild(said, never)).rejects.toMatchObject({
        ...{ code: 'unsupported', message: expect.stringContaining('another controller of disks') },
      });
      const first = rebuilt(spec, { os_type: 'windows' });
      await driver.rebuilding.rebuild(first, never);
      await driver.rebuilding.rebuild(rebuilt(first, { os_type: 'windows' }), never);
      expect(await driver.inspect(id)).toMatchObject({ mark: { build: 2 }, power: 'running' });
      expect(await machine(id)).toMatchObject({
        ...{ guestId: 'windows9Server64Guest', cards: cardsOf(spec, 'VirtualE1000e') },
      });
      const types = (await vcenter.devices((await vcenter.vmOf(id)).ref)).map(({ $type }) => $type);
      expect(types).toContain('ParaVirtualSCSIController');
      await driver.destroy(id);
    });

    it('is its own again, and off, when a rescue cannot be started', async () => {
      const driver = drive();
      const spec = await spawned(driver, { hw_vif_model: 'e1000e' });
      const { id } = spec;
      const before = await machine(id);
      const rescue = () =>
        driver.rescuing.rescue({ ...spec, image: imageOf(spec, { ...SECURE, hw_vif_model: 'e1000' }) }, never);
      const files = async () => readdirSync(vcenter.file((await vcenter.vmOf(id)).file.replace(/[^/]*$/, ''))).sort();
      const kept = await files();
      await vcenter.simulator.failNext('PowerOnVM_Task', 'InsufficientMemoryResourcesFault');
      await expect(rescue()).rejects.toMatchObject({ code: 'noResources' });
      expect(await driver.inspect(id)).toMatchObject({ stage: 'settled', power: 'shutdown' });
      expect([await machine(id), await files()]).toEqual([before, kept]);
      expect(await stateOf(id)).toMatchObject({ own: null, start: null, scratch: [] });
      await driver.powerOn(id, spec.nics);
      // What may be done the next time goes on.
      await vcenter.simulator.failNext('PowerOnVM_Task', 'TaskInProgress');
      await expect(rescue()).rejects.toMatchObject({ code: 'unavailable' });
      expect(await driver.inspect(id)).toMatchObject({ stage: 'rescued', power: 'shutdown' });
      await vcenter.simulator.failNext('PowerOnVM_Task', 'NotSupported');
      await expect(rescue()).rejects.toMatchObject({ code: 'unsupported' });
      expect(await driver.inspect(id)).toMatchObject({ stage: 'settled', power: 'shutdown' });
      expect(await machine(id)).toEqual(before);
      await driver.powerOn(id, spec.nics);
      await driver.destroy(id);
    });

    it('is not forgotten by a rescue when an agent has ended before the firmware was exchanged', async () => {
      const driver = drive();
      const spec = await spawned(driver, {});
      const { id } = spec;
      const rescueLate = async (properties: Said) => {
        const state = JSON.stringify({ ...(await stateOf(id)), firmware: 'bios' });
        await reconfigure(id, { firmware: 'efi', extraConfig: [extraConfig(STATE_KEY, state)] });
        await driver.rescuing.rescue({ ...spec, image: imageOf(spec, properties) }, never);
      };
      await rescueLate({});
      expect(await machine(id)).toMatchObject({ firmware: 'bios' });
      await driver.rescuing.unrescue(id, spec.nics);
      await rescueLate({ hw_firmware_type: 'uefi' });
      expect(await machine(id)).toMatchObject({ firmware: 'efi' });
      await driver.rescuing.unrescue(id, spec.nics);
      expect(await machine(id)).toMatchObject({ firmware: 'bios' });
      await driver.destroy(id);
    });

    it('leaves an adopted VM as it is, as far as nobody asks for something else', async () => {
      const driver = drive();
      const theirs = await vcenter.foreign();
      const { mark } = vcenter.guest(newId());
      const id = mark.serverId;
      const { ref } = (await vcenter.vms()).find(({ instanceUuid }) => instanceUuid === theirs.nativeId)!;
      const cpuAllocation = { reservation: 0, limit: 700, shares: { shares: 0, level: 'high' } };
      await vcenter.updates.run(ref, 'ReconfigVM_Task', {
        spec: { guestId: 'windows9_64Guest', firmware: 'efi', numCPUs: 4, numCoresPerSocket: 2, cpuAllocation },
      });
      await driver.adoption.adopt(theirs.nativeId, mark, theirs.nics);
      await driver.powerOff(id, ms(0));
      const before = await machine(id);
      const { flavor, image } = vcenter.guest(id);
      const resize = (vcpus: number, extraSpecs: Said) =>
        driver.resizing.resize(id, { ...flavor, vcpus, memory: mib(64), extraSpecs }, never);
      await resize(8, {});
      expect(await machine(id)).toEqual({ ...before, vcpus: 8 });
      await driver.resizing.revertResize(id);
      await resize(5, { 'quota:cpu_limit': '900', 'os:secure_boot': 'required' });
      expect(await machine(id)).toEqual({
        ...{ ...before, vcpus: 5, cores: 1, secureBoot: true, cpu: ['0', '900', 'normal'] },
      });
      await driver.resizing.revertResize(id);
      expect([await machine(id), (await stateOf(id)).wishes]).toEqual([before, null]);
      const rescue = { ...vcenter.guest(id, { nics: theirs.nics }), mark };
      await driver.rescuing.rescue(
        { ...rescue, image: { ...image, properties: { hw_firmware_type: 'bios', hw_vif_model: 'vmxnet3' } } },
        never,
      );
      expect(await machine(id)).toEqual({
        ...{ ...before, firmware: 'bios', cards: cardsOf(rescue, 'VirtualVmxnet3') },
      });
      await driver.rescuing.unrescue(id, theirs.nics);
      expect(await machine(id)).toEqual(before);
      await driver.destroy(id);
      await theirs.remove();
    });

    it('is put back after a rescue whatever way the MAC addresses of its cards are written', async () => {
      const driver = drive();
      const theirs = await vcenter.foreign();
      const { mark, ...spec } = vcenter.guest(newId());
      const id = mark.serverId;
      await driver.adoption.adopt(theirs.nativeId, mark, theirs.nics);
      const types = async () => Object.values((await machine(id)).cards);
      expect(await types()).toEqual(['VirtualE1000']);
      const image = imageOf({ mark, ...spec }, { hw_vif_model: 'vmxnet3' });
      await driver.rescuing.rescue({ ...spec, mark, image, nics: theirs.nics }, never);
      expect(await types()).toEqual(['VirtualVmxnet3']);
      await driver.rescuing.unrescue(
        id,
        theirs.nics.map((nic) => ({ ...nic, mac: nic.mac.toUpperCase() })),
      );
      expect(await types()).toEqual(['VirtualE1000']);
      await driver.destroy(id);
      await theirs.remove();
    });
  },
);
