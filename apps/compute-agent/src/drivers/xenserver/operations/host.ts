import type { MiB } from '@omnivisor/contracts';
import { type HostInventory, HypervisorError } from '../../hypervisor-driver.js';
import { xapiCode } from '../transport/xapi-error.js';
import { LONG_TASK_LIMIT, type XapiSession } from '../transport/xapi-session.js';
import { type Capabilities, PLAIN_TEMPLATE, type Template } from './hardware.js';
import { Place } from './place.js';
import {
  type HostRecord,
  NULL_REF,
  type PbdRecord,
  type PoolRecord,
  type Ref,
  type SrRecord,
  type VmRecord,
  wholeNumber,
  type XapiMap,
} from './records.js';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
/** In the archive that a pool keeps them in. Some releases of XCP-ng come with the first one only. */
const BOOT_CERTIFICATES = ['PK.auth', 'KEK.auth', 'db.auth'];

export interface HostSettings {
  /** UUID, name or address of the member that is the host; null: the whole pool is one. */
  readonly member: string | null;
  /** UUID or name of the storage repository for disks; null: the pool's default. */
  readonly repository: string | null;
  /** UUID or name of the template that says what a machine's platform is; null: the driver's own. */
  readonly template: string | null;
}

/** `8.4.0` as Nova counts versions. */
export const versionNumber = (version: string): number => {
  const [major = 0, minor = 0, patch = 0] = version.split('.').map((part) => Number.parseInt(part, 10) || 0);
  return major * 1_000_000 + minor * 1_000 + patch;
};

const plugged = async (xapi: XapiSession, hosts: readonly Ref[]): Promise<PbdRecord[]> => {
  const pbds = await xapi.call<Record<Ref, PbdRecord>>('PBD.get_all_records');
  return Object.values(pbds).filter((pbd) => hosts.includes(pbd.host) && pbd.currently_attached);
};

/** Repositories that any of these members has now. */
export const pluggedInto = async (xapi: XapiSession, hosts: readonly Ref[]): Promise<ReadonlySet<Ref>> =>
  new Set((await plugged(xapi, hosts)).map(({ SR }) => SR));

/** The pool, or its member, as a host. */
export class Host {
  private found: Promise<Place> | null = null;

  constructor(
    private readonly xapi: XapiSession,
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
    const pools = await this.xapi.call<Record<Ref, { readonly uuid: string }>>('pool.get_all_records');
    const [[ref, { uuid }]] = Object.entries(pools) as [[Ref, { uuid: string }]];
    const hosts = await this.members();
    const { member } = this.settings;
    if (member === null) return new Place({ ref, uuid }, null, hosts);
    const one = [...hosts].find(([, host]) => [host.uuid, host.name_label, host.address].includes(member));
    if (!one) throw new HypervisorError('fault', `the pool has no member ${member}`);
    return new Place({ ref, uuid }, { ref: one[0], record: one[1] }, hosts);
  }

  private async members(): Promise<ReadonlyMap<Ref, HostRecord>> {
    return new Map(Object.entries(await this.xapi.call<Record<Ref, HostRecord>>('host.get_all_records')));
  }

  /** Looks at the members anew. */
  async refresh(): Promise<Place> {
    const place = await this.place();
    place.members = await this.members();
    return place;
  }

  async repository(): Promise<Ref> {
    const { repository } = this.settings;
    if (repository !== null) return this.named('SR', repository);
    const { pool } = await this.place();
    const ref = await this.xapi.call<Ref>('pool.get_default_SR', pool.ref);
    if (!(await this.xapi.call<Ref[]>('SR.get_all')).includes(ref))
      throw new HypervisorError('fault', 'the pool has no default storage repository, and none is configured');
    return ref;
  }

  async template(): Promise<Template> {
    if (this.settings.template === null) return PLAIN_TEMPLATE;
    return this.xapi.call<VmRecord>('VM.get_record', await this.named('VM', this.settings.template));
  }

  private async named(kind: 'SR' | 'VM', name: string): Promise<Ref> {
    const [byName, ...others] = await this.xapi.call<Ref[]>(`${kind}.get_by_name_label`, name);
    if (others.length > 0) throw new HypervisorError('fault', `the pool has several objects named ${name}`);
    if (byName !== undefined) return byName;
    try {
      return await this.xapi.call<Ref>(`${kind}.get_by_uuid`, name);
    } catch (error) {
      if (xapiCode(error) !== 'UUID_INVALID') throw error;
      throw new HypervisorError(
        'fault',
        `the pool has no ${kind === 'SR' ? 'storage repository' : 'template'} ${name}`,
      );
    }
  }

  /** What every member of this place can do. */
  async capabilities(): Promise<Capabilities> {
    const { hosts, members } = await this.place();
    const records = hosts.map((ref) => members.get(ref)!);
    const all = (can: (host: HostRecord) => boolean) => records.every(can);
    const since = (version: string) => all((host) => productVersion(host) >= versionNumber(version));
    return {
      hvm: all(({ capabilities }) => capabilities.some((c) => c.startsWith('hvm-'))),
      pv: all(({ capabilities }) => capabilities.includes('xen-3.0-x86_64')),
      uefi: since('8.0.0'),
      secureBoot: since('8.1.0') && (await this.hasBootCertificates(records)),
    };
  }

  /** XenServer comes with them, into a pool of XCP-ng operators put them. Without, a guest boots whatever it finds, or nothing. */
  private async hasBootCertificates(members: readonly HostRecord[]): Promise<boolean> {
    if (!members.some(({ software_version }) => software_version.product_brand === 'XCP-ng')) return true;
    const { pool } = await this.place();
    const record = await this.xapi.call<PoolRecord>('pool.get_record', pool.ref);
    const archive = Buffer.from(record.custom_uefi_certificates || record.uefi_certificates, 'base64');
    return BOOT_CERTIFICATES.every((file) => archive.includes(file));
  }

  /** Of a whole pool, what the members that take guests have. */
  async inventory(): Promise<HostInventory> {
    const { hosts, member, members } = await this.refresh();
    let [vcpus, memory] = [0, 0];
    for (const ref of hosts) {
      const host = members.get(ref);
      if (!host) throw new HypervisorError('fault', 'the member is not in the pool any more');
      if (!member && !(await this.takesGuests(host))) continue;
      vcpus += Number(host.cpu_info.cpu_count ?? host.host_CPUs.length);
      const total = wholeNumber(await this.xapi.call('host_metrics.get_memory_total', host.metrics));
      const own = wholeNumber(await this.xapi.call('VM.get_memory_static_max', host.control_domain));
      memory += total - own - wholeNumber(host.memory_overhead);
    }
    return { vcpus, memoryMib: Math.floor(memory / MIB), diskGib: await this.diskGib() };
  }

  /** Storage that other members also use is theirs as well: each counts its share. */
  private async diskGib(): Promise<number> {
    const { member } = await this.place();
    const sr = await this.xapi.call<SrRecord>('SR.get_record', await this.repository());
    const shares = member ? Math.max(1, sr.PBDs.length) : 1;
    return Math.floor(wholeNumber(sr.physical_size) / GIB / shares);
  }

  /**
   * The member with the most free memory of those that take guests and have this repository.
   * @throws HypervisorError `unavailable`; `noResources` when none has that much memory
   */
  async roomFor(memory: MiB, repository: Ref): Promise<Ref> {
    await this.check();
    const { hosts, members } = await this.refresh();
    const pbds = await plugged(this.xapi, hosts);
    const sees = (ref: Ref) => pbds.some(({ host, SR }) => host === ref && SR === repository);
    let most: { readonly ref: Ref; readonly free: number } | null = null;
    for (const ref of hosts) {
      const host = members.get(ref);
      if (!host || !sees(ref) || !(await this.takesGuests(host))) continue;
      const free = wholeNumber(await this.xapi.call('host.compute_free_memory', ref));
      if (!most || free > most.free) most = { ref, free };
    }
    if (!most) throw new HypervisorError('unavailable', 'no member that takes guests has the storage repository');
    if (most.free < memory * MIB)
      throw new HypervisorError('noResources', `no member has ${memory} MiB of memory left`);
    return most.ref;
  }

  /** As its record says. */
  private async takesGuests(host: HostRecord): Promise<boolean> {
    return host.enabled && this.lives(host);
  }

  private async lives({ metrics }: HostRecord): Promise<boolean> {
    try {
      return await this.xapi.call('host_metrics.get_live', metrics);
    } catch (error) {
      // It has left the pool since it was looked for.
      if (xapiCode(error) === 'HANDLE_INVALID') return false;
      throw error;
    }
  }

  /** @throws HypervisorError `unavailable` when no member takes guests; XapiFault when the pool does not answer */
  async check(): Promise<void> {
    const closed = await this.maintenance();
    if (closed !== null) throw new HypervisorError('unavailable', closed);
  }

  /**
   * Why it takes no guests although it lives: its operators say so. Null when it takes them.
   * @throws HypervisorError `unavailable` when no member lives; XapiFault when the pool does not answer
   */
  async maintenance(): Promise<string | null> {
    const { hosts, member, members } = await this.place();
    let living = 0;
    for (const ref of hosts) {
      const host = members.get(ref);
      if (!host || !(await this.lives(host))) continue;
      if (await this.xapi.call<boolean>('host.get_enabled', ref)) return null;
      living += 1;
    }
    if (living > 0) return member ? 'the member is in maintenance mode' : 'every member is in maintenance mode';
    throw new HypervisorError(
      'unavailable',
      member ? 'the member of the pool does not live' : 'no member of the pool lives',
    );
  }

  /** @throws HypervisorError `unavailable` while the pool empties this member: it moves what runs there by itself */
  async refuseEmptying(member: Ref): Promise<void> {
    if (member === NULL_REF) return;
    const current = await this.xapi.call<XapiMap>('host.get_current_operations', member);
    if (Object.values(current).includes('evacuate'))
      throw new HypervisorError('unavailable', 'the pool is emptying the host, and moves the guest itself');
  }

  async enterMaintenance(signal: AbortSignal): Promise<void> {
    const member = await this.ownMember();
    await this.stopEvacuating(member);
    await this.xapi.call('host.disable', member);
    await this.xapi.run('host.evacuate', [member], { signal, limit: LONG_TASK_LIMIT });
  }

  async leaveMaintenance(): Promise<void> {
    const member = await this.ownMember();
    await this.stopEvacuating(member);
    await this.xapi.call('host.enable', member);
  }

  /** One that an agent has left behind, or another tool has begun. */
  private async stopEvacuating(member: Ref): Promise<void> {
    const current = await this.xapi.call<XapiMap>('host.get_current_operations', member);
    for (const [task, operation] of Object.entries(current)) if (operation === 'evacuate') await this.xapi.end(task);
  }

  private async ownMember(): Promise<Ref> {
    const { member } = await this.place();
    if (!member) throw new HypervisorError('unsupported', 'a whole pool cannot be emptied');
    return member.ref;
  }
}

export const productVersion = ({ software_version }: HostRecord): number =>
  versionNumber(software_version.product_version ?? '0');
