import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { type GiB, gib, mib, type ServerId } from '@omnivisor/contracts';
import { decodeVhd } from '../../../../../../tools/doubles/xapi/storage/vhd.mjs';
import { TestPool } from '../../../../../../tools/doubles/xapi/testing/pool.js';
import { fileDisk, fileSource, flatNic, rootFrom, testGuest } from '../../common/test-guest.js';
import { readConfigDrive } from '../../common/testing/read-config-drive.js';
import { tinyGuest } from '../../common/tiny-guest.js';
import type { Change, Devices, DriverUnderTest, Inside } from '../../conformance/driver-under-test.js';
import { perform } from '../../conformance/perform.js';
import type { DiskFormat, GuardRule, GuestDisk, GuestNic, GuestSpec, ImageSource } from '../../hypervisor-driver.js';
import { type GuestState, PORT_KEY, readDiskMark, readState } from '../operations/guest-state.js';
import { lockOf } from '../operations/port-lock.js';
import type { VifRecord } from '../operations/records.js';
import { XenServerDriver, type XenServerOptions } from '../xenserver.driver.js';
import { cutCalls } from './cut-calls.js';
import { letterAt, recordInside } from './record-inside.js';

export const CLOUD = 'test-cloud';
const MIB = 2 ** 20;

/** `fully virtual` is what an image gets that does not say. */
export type GuestKind = 'fully virtual' | 'paravirtual';

/** Two members of a pool that the double stands in for, and what the suite does behind the driver's back. */
export class PoolUnderTest {
  private nics = 0;
  readonly image: string;

  /** @param kind of its guests */
  static async start(options: Record<string, unknown> = {}, kind?: GuestKind): Promise<PoolUnderTest> {
    return new PoolUnderTest(await TestPool.start({ addresses: ['127.0.0.1', '127.0.0.2'], ...options }), kind);
  }

  private constructor(
    readonly pool: TestPool,
    public kind: GuestKind = 'fully virtual',
  ) {
    this.image = join(pool.folder, 'tiny.img');
    writeFileSync(this.image, Buffer.concat([tinyGuest()], MIB));
  }

  get double() {
    return this.pool.double;
  }

  options(change: Partial<XenServerOptions> = {}): XenServerOptions {
    return {
      cloudId: CLOUD,
      access: {
        urls: [this.double.url(0), this.double.url(1)],
        user: 'root',
        password: 'secret',
        trust: { kind: 'authorities', pem: null },
        answerTimeout: 1_000,
        connectTimeout: 500,
      },
      stateDir: join(this.pool.folder, 'agent'),
      member: 'xs1',
      repository: null,
      template: null,
      physicalNetworks: { physnet1: 'eth1' },
      createVlans: true,
      softRebootPatience: 300,
      ...change,
    };
  }

  open(change: Partial<XenServerOptions> = {}): XenServerDriver {
    return new XenServerDriver(this.options(change));
  }

  /** A driver that has looked at its pool, as an agent's has. */
  private async seen(): Promise<XenServerDriver> {
    const driver = this.open();
    await driver.survey();
    return driver;
  }

  guest(id: ServerId, change: Partial<GuestSpec> = {}): GuestSpec {
    const spec = testGuest(id, CLOUD, { disks: rootFrom(fileSource(this.image)), nics: [this.nic()], ...change });
    const ofKind = this.kind === 'paravirtual' ? { hw_vm_mode: 'xen' } : {};
    return { ...spec, image: { ...spec.image, properties: { ...ofKind, ...change.image?.properties } } };
  }

  /** Anti-spoofing on, and security groups that let everything pass. */
  nic(address?: string): GuestNic {
    const n = ++this.nics;
    const any = (direction: GuardRule['direction']): GuardRule => ({
      ...{ direction, ethertype: 'IPv4', protocol: null, portMin: null, portMax: null },
      remotePrefixes: ['0.0.0.0/0'],
    });
    const mac =
      address ?? `fa:16:3e:00:${(n >> 8).toString(16).padStart(2, '0')}:${(n & 255).toString(16).padStart(2, '0')}`;
    return flatNic(mac, {
      guard: {
        addresses: [{ mac, ip: `10.0.${n >> 8}.${n & 255}` }],
        rules: [any('ingress'), any('egress')],
      },
    });
  }

  async imageOf(size: GiB): Promise<ImageSource> {
    const path = join(this.pool.folder, `image-${size}.raw`);
    writeFileSync(path, '');
    truncateSync(path, size * 2 ** 30);
    return fileSource(path);
  }

  /** VMs and disks of a server that one member answers for. */
  async leftovers(id: ServerId, member: number): Promise<string[]> {
    const place = this.placeOf(member);
    const vms = this.vmsOf(id);
    const own = vms.filter(({ state: s }) => [s.place, s.invited?.place, s.movedFrom?.place].includes(place));
    const theirs = vms.filter((vm) => !own.includes(vm)).map(({ uuid }) => uuid);
    const disks = this.disksOf(id).filter(({ vm }) => vm === undefined || !theirs.includes(vm));
    return [...own.map(({ state: { phase } }) => `VM ${phase}`), ...disks.map(({ name }) => name)];
  }

  /** The VIF of a server's port. */
  vifOf(id: ServerId, portId: string): { readonly ref: string; readonly record: VifRecord } {
    const { ref: vm } = this.vmOf(id);
    const found = this.double.db
      .all('VIF')
      .find(([, { VM, other_config }]) => VM === vm && other_config[PORT_KEY] === portId);
    if (!found) throw new Error(`server ${id} has no port ${portId}`);
    return { ref: found[0], record: found[1] };
  }

  passes(id: ServerId, portId: string): boolean {
    return this.double.isOpen(this.vifOf(id, portId).ref);
  }

  /** Every disk with the server's mark, and the UUID of the VM that it was made for. */
  disksOf(id: ServerId): { ref: string; uuid: string; name: string; vm: string | undefined }[] {
    return this.double.db.all('VDI').flatMap(([ref, { uuid, name_label: name, other_config }]) => {
      const mark = readDiskMark(other_config);
      return mark?.serverId === id ? [{ ref, uuid, name, vm: mark.vm }] : [];
    });
  }

  /** The VMs of a server, in the order of their attempts. */
  vmsOf(id: ServerId): { ref: string; uuid: string; power: string; state: GuestState }[] {
    const found = this.double.db.all('VM').flatMap(([ref, { uuid, power_state: power, other_config }]) => {
      const state = readState(other_config);
      return state !== null && state !== 'unreadable' && state.serverId === id ? [{ ref, uuid, power, state }] : [];
    });
    return found.sort((a, b) => a.state.attempt - b.state.attempt);
  }

  private placeOf(member: number): string {
    return this.double.db.get('host', this.double.host(member)).uuid;
  }

  /** The VM of a server, where it is whole: the one that runs, else the newest. */
  vmOf(id: ServerId): { ref: string; uuid: string } {
    const whole = this.vmsOf(id).filter(({ state: { phase } }) => phase !== 'shell');
    const found = whole.find(({ power }) => power === 'Running') ?? whole.at(-1);
    if (!found) throw new Error(`there is no VM of server ${id}`);
    return found;
  }

  async letterOf(file: string, format: DiskFormat): Promise<string> {
    if (format === 'raw') return letterAt(file);
    const raw = `${file}.raw`;
    writeFileSync(raw, '');
    truncateSync(raw, 16 * MIB);
    await decodeVhd(
      (async function* () {
        yield readFileSync(file);
      })(),
      raw,
      16 * MIB,
    );
    const letter = letterAt(raw);
    rmSync(raw);
    return letter;
  }

  /** A VM that somebody else made, with a disk and a network interface. */
  async foreign() {
    const mac = 'fa:16:3e:ff:00:01';
    const vm = await this.pool.vm({ name_label: 'theirs', other_config: { folder: 'theirs' } });
    const vdi = await this.pool.vdi(2 * MIB);
    await this.pool.vbd(vm, vdi);
    const vif = await this.pool.vif(vm, { MAC: mac });
    await this.pool.call('VIF.set_ipv4_allowed', vif, ['192.0.2.1']);
    await this.pool.call('VM.start_on', vm, this.double.host(0), false, false);
    const config = () => this.pool.call<Record<string, string>>('VM.get_other_config', vm);
    const card = () => this.pool.call<VifRecord>('VIF.get_record', vif);
    const lock = async () => {
      const { locking_mode, ipv4_allowed, ipv6_allowed } = await card();
      return { locking_mode, ipv4_allowed, ipv6_allowed };
    };
    const before = JSON.stringify([await config(), await lock()]);
    const nic = this.nic(mac);
    const domain = await this.pool.call('VM.get_domid', vm);
    return {
      nativeId: await this.pool.call<string>('VM.get_uuid', vm),
      nics: [nic],
      guarded: async () => isDeepStrictEqual(await lock(), lockOf(nic)),
      untouched: async () =>
        (await this.pool.call('VM.get_power_state', vm)) === 'Running' &&
        (await this.pool.call('VM.get_domid', vm)) === domain &&
        JSON.stringify([await config(), await lock()]) === before &&
        JSON.stringify(await this.pool.call('VDI.get_other_config', vdi)) === '{}',
      // An adopted one may have gone with its server.
      remove: async () => {
        if (!this.double.db.has('VM', vm)) return;
        await this.pool.call('VM.hard_shutdown', vm);
        await this.pool.call('VM.destroy', vm);
        await this.pool.call('VDI.destroy', vdi);
      },
    };
  }

  /** @param storage name of a repository, of which the first is taken */
  async disk(
    storage = 'NFS virtual disk storage',
  ): Promise<{ disk: GuestDisk; exists(): Promise<boolean>; remove(): Promise<void> }> {
    const vdi = await this.pool.vdi(2 * MIB, storage);
    const uuid = await this.pool.call<string>('VDI.get_uuid', vdi);
    return {
      disk: fileDisk(uuid, 'volume'),
      exists: async () => (await this.pool.call<string[]>('VDI.get_all')).includes(vdi),
      remove: () => this.pool.call('VDI.destroy', vdi),
    };
  }

  /** No member answers until the result is called. */
  async cutOff(): Promise<() => Promise<void>> {
    for (const member of [0, 1]) this.double.cutMember(member, 'silence');
    return async () => {
      for (const member of [0, 1]) this.double.cutMember(member, 'refuse');
      for (const member of [0, 1]) this.double.cutMember(member, null);
    };
  }

  /**
   * An agent that does a change and ends once so many calls that change something have begun. All that it is to the pool is
   * its calls: no other follows, and the last one goes on.
   * @returns true when that came before the change was done
   */
  async crashDuring(change: Change, id: ServerId, calls: number, devices: Devices): Promise<boolean> {
    const driver = this.open();
    await driver.check();
    const cut = cutCalls(this, calls, 'begun');
    const isDone = await perform(driver, change, this.guest(id), devices).then(
      () => true,
      () => false,
    );
    await driver.close();
    cut.mend();
    return !isDone;
  }

  async configDriveFiles(id: ServerId): Promise<string[]> {
    const disk = readState(this.double.db.get('VM', this.vmOf(id).ref).other_config);
    if (disk === null || disk === 'unreadable') throw new Error('the VM has no state');
    const { vdi } = disk.disks.find(({ role }) => role === 'config')!;
    const names = Object.keys(readConfigDrive(readFileSync(this.double.xapi.disks.path(vdi)), 17));
    return names.map((name) => name.replace(/;1$/, ''));
  }

  /** @param inside how one talks to the guests; they are records unless told */
  underTest(supports: DriverUnderTest['supports'], inside: Inside = recordInside(this)): DriverUnderTest {
    return {
      backend: 'xenserver',
      level: 'L1',
      supports,
      inside,
      countsRequests: false,
      diskSerials: false,
      open: () => this.seen(),
      reopen: async () => this.open(),
      openOtherCloud: async () => this.open({ cloudId: 'another-cloud' }),
      guest: async (id) => this.guest(id),
      tooBig: async (id) => {
        const spec = this.guest(id);
        return { ...spec, flavor: { ...spec.flavor, memory: mib(1 << 30) } };
      },
      failing: async (id) => {
        this.double.faults.add({ method: 'PUT /import_raw_vdi', error: ['VDI_IO_ERROR'], times: 1 });
        return this.guest(id);
      },
      imageOf: (size) => this.imageOf(gib(size)),
      leftovers: (id) => this.leftovers(id, 0),
      configDriveFiles: (id) => this.configDriveFiles(id),
      foreignGuest: () => this.foreign(),
      makeUnreachable: () => this.cutOff(),
      stopHypervisor: () => this.cutOff(),
      // More than any change makes.
      crashMoments: Array.from({ length: 30 }, (_, calls) => calls),
      crashDuring: (...crash) => this.crashDuring(...crash),
      disk: () => this.disk(),
      nic: async () => this.nic(),
      passes: async (id, portId) => this.passes(id, portId),
      letterOf: (file, format) => this.letterOf(file, format),
      otherHost: {
        open: async () => this.open({ member: 'xs2' }),
        spec: (spec) => spec,
        leftovers: (id) => this.leftovers(id, 1),
        shared: async () => ({ here: this.open(), there: this.open({ member: 'xs2' }) }),
      },
      adoptable: () => this.foreign(),
      tellsHostname: async (id) => {
        this.double.reportGuest(this.vmOf(id).uuid, { netbios_name: { host_name: 'conformance' } });
        return 'conformance';
      },
    };
  }

  async stop(): Promise<void> {
    await this.pool.stop();
  }
}
