import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type GiB, mib, ServerId } from '@omnivisor/contracts';
import { fileDisk, fileSource, flatNic, rootFrom, testGuest } from '../../common/test-guest.js';
import { readConfigDrive } from '../../common/testing/read-config-drive.js';
import { TINY_GUEST_LETTER, tinyGuest } from '../../common/tiny-guest.js';
import type { Change, Devices, DriverUnderTest, Inside } from '../../conformance/driver-under-test.js';
import { perform } from '../../conformance/perform.js';
import type { DiskFormat, GuestDisk, GuestNic, GuestSpec, ImageSource } from '../../hypervisor-driver.js';
import { addController, addDisk, addNic, nicAt } from '../operations/devices.js';
import { type GuestState, readState } from '../operations/guest-state.js';
import { extraConfig } from '../operations/guests.js';
import { Host } from '../operations/host.js';
import type { Place } from '../operations/place.js';
import {
  type Device,
  devicesOf,
  fileOf,
  isDisk,
  unitOf,
  VM_PATHS,
  type VmRecord,
  vmRecord,
} from '../operations/records.js';
import { datastorePath } from '../transport/datastore.js';
import { textOf } from '../transport/http.js';
import { PropertyReader } from '../transport/properties.js';
import { type AnswerObject, element, envelope, isTrue, type Ref } from '../transport/soap.js';
import { Updates } from '../transport/updates.js';
import { VimSession } from '../transport/vim-session.js';
import { VsphereDriver, type VsphereOptions } from '../vsphere.driver.js';
import { Gateway } from './gateway.js';
import { Simulator } from './simulator.js';

const CLOUD = 'test-cloud';
export const never = new AbortController().signal;
export const newId = () => ServerId.parse(randomUUID());
const MIB = 2 ** 20;

/** A cluster of two that vcsim simulates, and what the suite does behind the driver's back. */
export class VcenterUnderTest {
  private nics = 0;
  readonly folder = mkdtempSync(join(tmpdir(), 'omnivisor-vsphere-'));
  readonly image = join(this.folder, 'tiny.img');
  readonly session: VimSession;
  readonly read: PropertyReader;
  readonly updates: Updates;
  /** Of the whole cluster. */
  place!: Place;
  /** Where the simulator keeps the datastore's files. */
  datastore!: string;

  static async start(...args: string[]): Promise<VcenterUnderTest> {
    const simulator = await Simulator.start(...args);
    const under = new VcenterUnderTest(simulator, await Gateway.start(simulator.url));
    const { read, session, updates } = under;
    const cluster = args.includes('-clusters') ? 'DC0_C0' : null;
    under.place = await new Host(session, read, updates, { ...under.options(), cluster, member: null }).place();
    const { url } = (await read.one(under.place.datastore.ref, 'summary')) as AnswerObject;
    under.datastore = String(url);
    return under;
  }

  private constructor(
    readonly simulator: Simulator,
    readonly gateway: Gateway,
  ) {
    this.session = new VimSession(this.access(simulator.url));
    this.read = new PropertyReader(this.session);
    this.updates = new Updates(this.session, this.read);
    writeFileSync(this.image, Buffer.concat([tinyGuest()], MIB));
  }

  access(url: string): VsphereOptions['access'] {
    return {
      ...{ url, user: 'omnivisor', password: 'secret', trust: { kind: 'authorities', pem: null } },
      ...{ answerTimeout: 1_000, connectTimeout: 500 },
    };
  }

  options(change: Partial<VsphereOptions> = {}): VsphereOptions {
    return {
      cloudId: CLOUD,
      access: this.access(this.gateway.url),
      stateDir: join(this.folder, 'agent'),
      ...{ datacenter: null, cluster: null, member: 'DC0_C0_H0', datastore: null, resourcePool: null, folder: null },
      physicalNetworks: { physnet1: 'DVS0' },
      createPortGroups: true,
      softRebootPatience: 300,
      ...change,
    };
  }

  open(change: Partial<VsphereOptions> = {}): VsphereDriver {
    return new VsphereDriver(this.options(change));
  }

  guest(id: ServerId, change: Partial<GuestSpec> = {}): GuestSpec {
    return testGuest(id, CLOUD, { disks: rootFrom(fileSource(this.image)), nics: [this.nic()], ...change });
  }

  async running(driver: VsphereDriver, change: Partial<GuestSpec> = {}): Promise<GuestSpec & { id: ServerId }> {
    const spec = this.guest(newId(), change);
    await driver.spawn(spec, never);
    return { ...spec, id: spec.mark.serverId };
  }

  nic(mac?: string): GuestNic {
    const n = ++this.nics;
    const address = `fa:16:3e:00:${(n >> 8).toString(16).padStart(2, '0')}:${(n & 255).toString(16).padStart(2, '0')}`;
    return flatNic(mac ?? address);
  }

  async imageOf(size: GiB): Promise<ImageSource> {
    const path = join(this.folder, `image-${size}.raw`);
    writeFileSync(path, '');
    truncateSync(path, size * 2 ** 30);
    return fileSource(path);
  }

  /** @param content of its first bytes */
  smallImage(content: string): ImageSource {
    const path = join(this.folder, `${content}.raw`);
    writeFileSync(path, Buffer.concat([Buffer.from(content)], MIB));
    return fileSource(path);
  }

  async vms(): Promise<VmRecord[]> {
    return (await this.read.below(this.place.datacenter.ref, 'VirtualMachine', VM_PATHS)).map(vmRecord);
  }

  /** Makes a call that the driver never makes. */
  async say(method: string, self: Ref, args: string): Promise<void> {
    const call = `<${method} xmlns="urn:vim25">${element('_this', self)}${args}</${method}>`;
    const exchange = { method: 'POST', path: '/sdk', body: envelope(call) } as const;
    const answer = await this.session.send(exchange, { 'content-type': 'text/xml' });
    const said = await textOf(answer, MIB);
    if (answer.statusCode !== 200) throw new Error(said);
  }

  /** Whether the cluster places guests by itself. */
  async setDrs(enabled: boolean): Promise<void> {
    const drs = `<drsConfig><enabled>${enabled}</enabled></drsConfig>`;
    const spec = `<spec xsi:type="ClusterConfigSpecEx">${drs}</spec><modify>true</modify>`;
    await this.say('ReconfigureComputeResource_Task', this.place.cluster.ref, spec);
    for (;;) {
      const { drsConfig } = (await this.read.one(this.place.cluster.ref, 'configurationEx')) as AnswerObject;
      if (isTrue((drsConfig as AnswerObject).enabled) === enabled) return;
    }
  }

  /** Of each attempt, the oldest first. */
  async vmsOf(id: ServerId): Promise<(VmRecord & { readonly attempt: number })[]> {
    const found = (await this.vms()).flatMap((vm) => {
      const state = vm.state === null ? null : readState(vm.state);
      return state !== null && state !== 'unreadable' && state.serverId === id
        ? [{ ...vm, attempt: state.attempt }]
        : [];
    });
    return found.sort((a, b) => a.attempt - b.attempt);
  }

  /** That of the newest attempt. */
  async vmOf(id: ServerId): Promise<VmRecord> {
    const found = (await this.vmsOf(id)).at(-1);
    if (!found) throw new Error(`there is no VM of server ${id}`);
    return found;
  }

  async devices(vm: Ref): Promise<Device[]> {
    return devicesOf(await this.read.one(vm, 'config.hardware.device'));
  }

  /** Whether a port's card is connected, is once its VM starts, and may be by the guest. */
  async connectionOf(id: ServerId, portId: string) {
    const { ref, state } = await this.vmOf(id);
    const { nics } = readState(state!) as GuestState;
    const card = nicAt(await this.devices(ref), nics.find((nic) => nic.portId === portId)!.mac)!;
    const { connected, startConnected, allowGuestControl } = card.connectable as AnswerObject;
    return {
      connected: isTrue(connected),
      startConnected: isTrue(startConnected),
      allowGuestControl: isTrue(allowGuestControl),
    };
  }

  /** Where a file of the datastore is on this machine. */
  file(path: string): string {
    return join(this.datastore, datastorePath(path).path);
  }

  /** VMs of a server that one member answers for, and files where there is no VM of it at all. */
  async leftovers(id: ServerId, member: number): Promise<string[]> {
    const { place } = this.place.members[member]!;
    const states = (await this.vms()).flatMap(({ state }) => {
      const read = state === null ? null : readState(state);
      return read !== null && read !== 'unreadable' && read.serverId === id ? [read] : [];
    });
    const own = states.filter((state) => [state.place, state.invited?.place, state.movedFrom?.place].includes(place));
    const files = states.length > 0 ? [] : readdirSync(this.datastore).filter((name) => name.includes(id));
    return [...own.map(({ phase }) => `VM ${phase}`), ...files];
  }

  /** A flat disk of the datastore. */
  disk(): { disk: GuestDisk; exists(): Promise<boolean>; remove(): Promise<void> } {
    const name = randomUUID();
    const folder = join(this.datastore, 'volumes');
    const [descriptor, flat] = [join(folder, `${name}.vmdk`), join(folder, `${name}-flat.vmdk`)];
    mkdirSync(folder, { recursive: true });
    const text = [
      ...['# Disk DescriptorFile', 'version=1', 'CID=fffffffe', 'parentCID=ffffffff', 'createType="vmfs"'],
      ...[`RW ${MIB / 512} VMFS "${name}-flat.vmdk"`, 'ddb.adapterType = "lsilogic"', ''],
    ];
    writeFileSync(descriptor, text.join('\n'));
    writeFileSync(flat, Buffer.alloc(MIB));
    return {
      disk: fileDisk(`[${this.place.datastore.name}] volumes/${name}.vmdk`, 'volume'),
      exists: async () => existsSync(descriptor) && existsSync(flat),
      remove: async () => {
        for (const file of [descriptor, flat]) rmSync(file);
      },
    };
  }

  /** A VM that somebody else made, with a disk and a network card, and runs. */
  async foreign(name = `theirs-${randomUUID().slice(0, 8)}`) {
    const mac = 'fa:16:3e:ff:00:01';
    const { disk, exists, remove } = this.disk();
    const { path } = disk.connection as { path: string };
    const card = { nic: this.nic(mac), type: 'VirtualE1000', isBackedBy: () => true } as const;
    const backing = { $type: 'VirtualEthernetCardNetworkBackingInfo', deviceName: 'VM Network' };
    const vm = (await this.updates.run(this.place.folder, 'CreateVM_Task', {
      config: {
        ...{ name, guestId: 'otherLinux64Guest', numCPUs: 1, memoryMB: 32 },
        files: { vmPathName: `[${this.place.datastore.name}]` },
        deviceChange: [
          addController('ParaVirtualSCSIController'),
          addDisk({ path, unit: 0, kib: 1024 }),
          addNic({ ...card, backing }),
        ],
        extraConfig: [extraConfig('theirs', 'yes')],
      },
      pool: this.place.pool,
      host: this.place.members[0]!.ref,
    })) as Ref;
    await this.updates.run(vm, 'PowerOnVM_Task');
    const facts = async () => {
      const { version: _, ...record } = vmRecord({ ref: vm, properties: await this.read.of(vm, VM_PATHS) });
      return JSON.stringify([record, await this.devices(vm), await this.read.one(vm, 'config.extraConfig["theirs"]')]);
    };
    const before = await facts();
    return {
      nativeId: String(await this.read.one(vm, 'config.instanceUuid')),
      nics: [this.nic(mac)],
      untouched: async () => (await facts()) === before && (await exists()),
      // An adopted one may have gone with its server.
      remove: async () => {
        const there = (await this.vms()).find(({ ref }) => ref.is(vm));
        if (there?.power === 'running') await this.updates.run(vm, 'PowerOffVM_Task');
        if (there) await this.updates.run(vm, 'Destroy_Task');
        if (await exists()) await remove();
      },
    };
  }

  /** Guests are records; their disks are those of the datastore. */
  get inside(): Inside {
    const running = async (id: ServerId) => {
      const vm = await this.vmOf(id);
      if (vm.power !== 'running') throw new Error(`server ${id} does not run`);
      return vm;
    };
    const disk = async (id: ServerId, n: number): Promise<string | null> => {
      const disks = (await this.devices((await running(id)).ref)).filter(isDisk);
      const path = disks.sort((a, b) => unitOf(a) - unitOf(b)).map(fileOf)[n];
      return path ? this.file(path).replace(/\.vmdk$/, '-flat.vmdk') : null;
    };
    return {
      up: async (id) => void (await running(id)),
      switchOff: async (id) => void (await this.updates.run((await running(id)).ref, 'PowerOffVM_Task')),
      ignorePowerButton: async (id) => void this.gateway.deaf.add((await running(id)).ref.value),
      disk: {
        write: async (id, n, letter) => {
          const path = await disk(id, n);
          if (path === null) throw new Error(`the guest has no disk ${n}`);
          const file = openSync(path, 'r+');
          writeSync(file, letter, TINY_GUEST_LETTER, 'latin1');
          closeSync(file);
        },
        read: async (id, n) => letterAt(await disk(id, n)),
      },
    };
  }

  async letterOf(file: string, format: DiskFormat): Promise<string> {
    const raw = `${file}.raw`;
    execFileSync('qemu-img', ['convert', '-f', format, '-O', 'raw', file, raw]);
    const letter = letterAt(raw);
    rmSync(raw);
    return letter;
  }

  async configDriveFiles(id: ServerId): Promise<string[]> {
    const cd = (await this.devices((await this.vmOf(id)).ref)).find(({ $type }) => $type === 'VirtualCdrom');
    const files = readConfigDrive(readFileSync(this.file(fileOf(cd!)!)), 17);
    return Object.keys(files).map((name) => name.replace(/;1$/, ''));
  }

  /**
   * An agent that does a change and ends. All that it is to the vCenter is its connections: they break, and nothing follows.
   * @returns true when that came before the change was done
   */
  async crashDuring(change: Change, id: ServerId, after: number, devices: Devices): Promise<boolean> {
    const driver = this.open();
    await driver.check();
    let done = false;
    const running = perform(driver, change, this.guest(id), devices).then(
      () => {
        done = true;
      },
      () => undefined,
    );
    await Promise.race([running, sleep(after)]);
    const cut = !done;
    await driver.close();
    await running;
    return cut;
  }

  underTest(supports: DriverUnderTest['supports']): DriverUnderTest {
    return {
      backend: 'vsphere',
      level: 'L1',
      // The gateway answers in the simulator's place, which has no such methods.
      levels: { crashDumps: 'L0', 'consoleTickets.mks': 'L0' },
      supports,
      inside: this.inside,
      ...{ countsRequests: false, diskSerials: false, readOnlyDisks: false },
      open: async () => this.open(),
      reopen: async () => this.open(),
      openOtherCloud: async () => this.open({ cloudId: 'another-cloud' }),
      guest: async (id) => this.guest(id),
      tooBig: async (id) => {
        const spec = this.guest(id);
        return { ...spec, flavor: { ...spec.flavor, memory: mib(1 << 30) } };
      },
      failing: async (id) => {
        await this.simulator.failNext('CopyVirtualDisk_Task', 'NoDiskSpace');
        return this.guest(id);
      },
      imageOf: (size) => this.imageOf(size),
      leftovers: (id) => this.leftovers(id, 0),
      configDriveFiles: (id) => this.configDriveFiles(id),
      foreignGuest: () => this.foreign(),
      makeUnreachable: async () => {
        const open = this.gateway.cut();
        return async () => open();
      },
      stopHypervisor: async () => {
        const open = this.gateway.cut('silent');
        return async () => open();
      },
      crashDuring: (...crash) => this.crashDuring(...crash),
      disk: async () => this.disk(),
      nic: async () => this.nic(),
      passes: async (id, portId) => (await this.connectionOf(id, portId)).connected,
      letterOf: (file, format) => this.letterOf(file, format),
      otherHost: {
        open: async () => this.open({ member: 'DC0_C0_H1' }),
        spec: (spec) => spec,
        leftovers: (id) => this.leftovers(id, 1),
        shared: async () => ({ here: this.open(), there: this.open({ member: 'DC0_C0_H1' }) }),
      },
      adoptable: () => this.foreign(),
      tellsHostname: async (id) => {
        const spec = { extraConfig: [extraConfig('SET.guest.hostName', 'conformance')] };
        await this.updates.run((await this.vmOf(id)).ref, 'ReconfigVM_Task', { spec });
        return 'conformance';
      },
    };
  }

  async stop(): Promise<void> {
    await this.session.close();
    await this.updates.close();
    await this.gateway.stop();
    await this.simulator.stop();
    rmSync(this.folder, { recursive: true });
  }
}

/** What a tiny guest reads from its disk. */
const letterAt = (path: string | null): string => {
  if (path === null) return '';
  const byte = Buffer.alloc(1);
  const file = openSync(path, 'r');
  readSync(file, byte, 0, 1, TINY_GUEST_LETTER);
  closeSync(file);
  return byte.toString('latin1');
};
