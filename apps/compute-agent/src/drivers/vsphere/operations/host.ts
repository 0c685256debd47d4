import { type HostInventory, HypervisorError } from '../../hypervisor-driver.js';
import type { Found, PropertyReader } from '../transport/properties.js';
import { type AnswerObject, isTrue, listOf, Ref } from '../transport/soap.js';
import { LONG_TASK_LIMIT, type Updates } from '../transport/updates.js';
import { isFault } from '../transport/vim-fault.js';
import type { VimSession } from '../transport/vim-session.js';
import { type Member, Place } from './place.js';

const MIB = 2 ** 20;
const GIB = 2 ** 30;

export interface HostSettings {
  /** Name of the datacenter; null where there is one only. */
  readonly datacenter: string | null;
  /** Name of the cluster, or of the ESXi host that is in none; null where there is one only. */
  readonly cluster: string | null;
  /** Name of the member of the cluster that is the host; null: the whole cluster is one. */
  readonly member: string | null;
  /** Name of the datastore of guests; null where the cluster has one only. */
  readonly datastore: string | null;
  /** Name of the resource pool of guests; null: all of the cluster. */
  readonly resourcePool: string | null;
  /** Name of the folder of guests; null: that of the datacenter. */
  readonly folder: string | null;
}

/** The cluster, or its member, as a host. */
export class Host {
  private found: Promise<Place> | null = null;

  constructor(
    private readonly session: VimSession,
    private readonly read: PropertyReader,
    private readonly updates: Updates,
    private readonly settings: HostSettings,
  ) {}

  /** Looked for once; `refresh` finds the members that come later. */
  place(): Promise<Place> {
    this.found ??= this.find().catch((error: unknown) => {
      this.found = null;
      throw error;
    });
    return this.found;
  }

  private async find(): Promise<Place> {
    const { rootFolder, about } = await this.session.content();
    const { settings } = this;
    const datacenter = await this.named(rootFolder, 'Datacenter', settings.datacenter, ['vmFolder', 'parent']);
    const cluster = await this.named(datacenter.ref, 'ComputeResource', settings.cluster, [
      ...['host', 'datastore', 'resourcePool'],
    ]);
    const placeOf = ({ value }: Ref) => `${String(about.instanceUuid ?? '')}/${value}`;
    const members = await this.members(listOf(cluster.properties.host) as Ref[]);
    const member = settings.member === null ? null : members.find(({ name }) => name === settings.member);
    if (member === undefined) throw new HypervisorError('fault', `the cluster has no member ${settings.member}`);
    const root = cluster.properties.resourcePool as Ref;
    return new Place(
      { ref: datacenter.ref, path: await this.pathOf(datacenter) },
      { ref: cluster.ref, place: placeOf(cluster.ref) },
      members,
      member,
      settings.folder === null
        ? (datacenter.properties.vmFolder as Ref)
        : (await this.named(datacenter.properties.vmFolder as Ref, 'Folder', settings.folder, [])).ref,
      settings.resourcePool === null ? root : (await this.named(root, 'ResourcePool', settings.resourcePool, [])).ref,
      await this.datastore(listOf(cluster.properties.datastore) as Ref[]),
    );
  }

  private async members(refs: readonly Ref[]): Promise<Member[]> {
    const { about } = await this.session.content();
    const hosts = await this.read.ofAll(refs, ['name']);
    return hosts.map(({ ref, properties }) => ({
      ref,
      name: String(properties.name),
      place: `${String(about.instanceUuid ?? '')}/${ref.value}`,
    }));
  }

  /** Looks at the members anew. */
  async refresh(): Promise<Place> {
    const place = await this.place();
    place.members = await this.members(listOf(await this.read.one(place.cluster.ref, 'host')) as Ref[]);
    return place;
  }

  /** @throws HypervisorError when there is none, or several and no name */
  private async named(container: Ref, type: string, name: string | null, paths: readonly string[]): Promise<Found> {
    return onlyOne(await this.read.below(container, type, ['name', ...paths]), type, name);
  }

  private async datastore(refs: readonly Ref[]): Promise<Place['datastore']> {
    const found = await this.read.ofAll(refs, ['name']);
    const { ref, properties } = onlyOne(found, 'Datastore', this.settings.datastore);
    return { ref, name: String(properties.name) };
  }

  /** The names of the folders that lead to it, as the datastore's addresses want them. */
  private async pathOf({ properties }: Found): Promise<string> {
    const { rootFolder } = await this.session.content();
    const names = [String(properties.name)];
    let above = properties.parent;
    while (above instanceof Ref && !above.is(rootFolder)) {
      const { name, parent } = await this.read.of(above, ['name', 'parent']);
      names.unshift(String(name));
      above = parent;
    }
    return names.join('/');
  }

  private async hosts(paths: readonly string[]): Promise<Found[]> {
    const look = ({ hosts }: Place) =>
      this.read.ofAll(
        hosts.map(({ ref }) => ref),
        ['runtime.connectionState', 'runtime.inMaintenanceMode', ...paths],
      );
    try {
      return await look(await this.place());
    } catch (error) {
      // A member has gone since they were looked at.
      if (!isFault(error, 'ManagedObjectNotFound')) throw error;
      return look(await this.refresh());
    }
  }

  /** Members that the vCenter reaches. */
  async connected(paths: readonly string[]): Promise<Found[]> {
    return (await this.hosts(paths)).filter(({ properties }) => properties['runtime.connectionState'] === 'connected');
  }

  /** Members that take guests. */
  async working(paths: readonly string[]): Promise<Found[]> {
    return (await this.connected(paths)).filter(({ properties }) => properties['runtime.inMaintenanceMode'] !== true);
  }

  /**
   * A member that takes guests and has these datastores: the one with most memory to spare.
   * @throws HypervisorError `noResources`, `unsupported`
   */
  async memberWith(datastores: readonly Ref[]): Promise<Ref> {
    const working = await this.working(['datastore', 'summary.hardware', 'summary.quickStats']);
    if (working.length === 0) throw new HypervisorError('noResources', 'no member takes guests now');
    const [best] = working
      .filter(({ properties }) => {
        const has = listOf(properties.datastore) as Ref[];
        return datastores.every((each) => has.some((one) => one.is(each)));
      })
      .sort((a, b) => spareOf(b) - spareOf(a));
    if (!best) throw new HypervisorError('unsupported', 'no member that takes guests has the datastore');
    return best.ref;
  }

  /** Where a new guest is made; undefined leaves that to DRS, without which a vCenter wants to be told. */
  async memberForGuest(): Promise<Ref | undefined> {
    const { member, cluster, datastore } = await this.place();
    if (member) return member.ref;
    const { drsConfig } = ((await this.read.one(cluster.ref, 'configurationEx')) ?? {}) as AnswerObject;
    return isTrue((drsConfig as AnswerObject | undefined)?.enabled) ? undefined : this.memberWith([datastore.ref]);
  }

  /** Of a whole cluster, what the members that take guests have. */
  async inventory(): Promise<HostInventory> {
    const { member } = await this.refresh();
    const hosts = member ? await this.hosts(['summary.hardware']) : await this.working(['summary.hardware']);
    const hardware = hosts.map(({ properties }) => properties['summary.hardware'] as AnswerObject);
    const sum = (field: string) => hardware.reduce((n, each) => n + Number(each[field]), 0);
    return {
      vcpus: sum('numCpuThreads'),
      memoryMib: Math.floor(sum('memorySize') / MIB),
      diskGib: await this.diskGib(),
    };
  }

  /** A datastore that other members also use is theirs as well: each counts its share. */
  private async diskGib(): Promise<number> {
    const { datastore, member } = await this.place();
    const { 'summary.capacity': capacity, host } = await this.read.of(datastore.ref, ['summary.capacity', 'host']);
    const shares = member ? Math.max(1, listOf(host).length) : 1;
    return Math.floor(Number(capacity) / GIB / shares);
  }

  /** @throws HypervisorError `noResources` for a guest that no member could ever carry, or that has no room for its disks */
  async assertFits(memoryMib: number, diskBytes: number): Promise<void> {
    const hosts = await this.working(['summary.hardware']);
    const largest = Math.max(
      0,
      ...hosts.map(({ properties }) => Number((properties['summary.hardware'] as AnswerObject).memorySize)),
    );
    if (memoryMib * MIB > largest)
      throw new HypervisorError('noResources', 'no member that takes guests has so much memory');
    const { datastore } = await this.place();
    if (diskBytes > Number(await this.read.one(datastore.ref, 'summary.freeSpace')))
      throw new HypervisorError('noResources', 'the datastore has no room for the disks');
  }

  /** @throws HypervisorError `unavailable` when no member takes guests */
  async check(): Promise<void> {
    const closed = await this.maintenance();
    if (closed !== null) throw new HypervisorError('unavailable', closed);
  }

  /**
   * Why it takes no guests although it lives: its operators say so. Null when it takes them.
   * @throws HypervisorError `unavailable` when no member lives
   */
  async maintenance(): Promise<string | null> {
    const living = await this.connected([]);
    if (living.length === 0) throw new HypervisorError('unavailable', 'the vCenter has lost the host');
    if (living.some(({ properties }) => properties['runtime.inMaintenanceMode'] !== true)) return null;
    const { member } = await this.place();
    return member ? 'the member is in maintenance mode' : 'every member is in maintenance mode';
  }

  /** @throws HypervisorError `unavailable` while the vCenter empties this member: it moves what runs there by itself */
  async refuseEmptying(member: Ref | null): Promise<void> {
    if (!member) return;
    for (const task of listOf(await this.read.one(member, 'recentTask')) as Ref[])
      if (await this.updates.isUnderWay(task, (name) => /enterMaintenance/i.test(name)))
        throw new HypervisorError('unavailable', 'the vCenter is emptying the host, and moves the guest itself');
  }

  async enterMaintenance(signal: AbortSignal): Promise<void> {
    const member = await this.ownMember();
    await this.stopEntering(member);
    if (await this.isClosed(member)) return;
    const args = { timeout: 0, evacuatePoweredOffVms: true };
    await this.updates.run(member, 'EnterMaintenanceMode_Task', args, { signal, limit: LONG_TASK_LIMIT });
  }

  async leaveMaintenance(): Promise<void> {
    const member = await this.ownMember();
    await this.stopEntering(member);
    if (await this.isClosed(member)) await this.updates.run(member, 'ExitMaintenanceMode_Task', { timeout: 0 });
  }

  /** While it enters, it is not in maintenance mode: that comes at the task's end. */
  private async stopEntering(member: Ref): Promise<void> {
    for (const task of listOf(await this.read.one(member, 'recentTask')) as Ref[])
      await this.updates.cancel(task, (name) => /enterMaintenanceMode/i.test(name));
  }

  private async isClosed(member: Ref): Promise<boolean> {
    return (await this.read.one(member, 'runtime.inMaintenanceMode')) === true;
  }

  private async ownMember(): Promise<Ref> {
    const { member } = await this.place();
    if (!member) throw new HypervisorError('unsupported', 'a whole cluster cannot be emptied');
    return member.ref;
  }
}

/** Memory of a member that nobody uses, bytes. */
const spareOf = ({ properties }: Found): number => {
  const { memorySize } = properties['summary.hardware'] as AnswerObject;
  const { overallMemoryUsage = 0 } = (properties['summary.quickStats'] ?? {}) as AnswerObject;
  return Number(memorySize) - Number(overallMemoryUsage) * MIB;
};

const onlyOne = (found: readonly Found[], type: string, name: string | null): Found => {
  const fits = name === null ? found : found.filter(({ properties }) => properties.name === name);
  const [only, other] = fits;
  if (!only) throw new HypervisorError('fault', `the vCenter has no ${type} ${name ?? ''}`.trim());
  if (other) throw new HypervisorError('fault', `the vCenter has several ${type} objects: one has to be named`);
  return only;
};
