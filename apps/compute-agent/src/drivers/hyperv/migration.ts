import { HardwareWishes, hardwareWishesOf, type ServerId } from '@omnivisor/contracts';
import { z } from 'zod';
import { told } from '../common/migration/told.js';
import {
  type GuestNic,
  type GuestSpec,
  HypervisorError,
  type ImageSource,
  type LiveMigration,
  type MigrationReach,
  type ReceiveOptions,
} from '../hypervisor-driver.js';
import type { BuildOptions } from './build.js';
import { plan, refuseAborted, writeIso } from './build.js';
import { basedDrives, same, settledDrives } from './checkpoints.js';
import { plugAll } from './devices.js';
import type { Guest, Guests } from './guests.js';
import { plainMac } from './hardware.js';
import { machine } from './host-call.js';
import { MIGRATION_SERVICE, VmHost } from './host-facts.js';
import { guestMark } from './mark.js';
import { isIncoming, isLeaving, isShared } from './mark-files.js';
import type { HyperVNode, ReadyNode } from './node.js';
import { joinConsole } from './power.js';
import { reachOf, storageOf } from './reach.js';

const MIB = 1024 ** 2;
const SERVICE = `${MIGRATION_SERVICE}/`.toLowerCase();

const Offer = z.object({
  generation: z.number(),
  memory: z.number(),
  switches: z.array(z.string()),
  /** What its disks lie on, where other hosts have that too. */
  storage: z.string().nullable().default(null),
  /** Disks that its own stand on. */
  parents: z.array(z.string()).default([]),
});
const Ticket = z.object({
  host: z.string(),
  folder: z.string(),
  /** The disks go with the guest; false: both hosts have them in the same place. */
  includeStorage: z.boolean(),
});
/** What was ordered here: the host that sends may say otherwise of the guest, and is not believed. */
const Expected = z.object({
  attempt: z.number(),
  build: z.number(),
  vcpus: z.number(),
  memory: z.number(),
  configDrive: z.string().nullable(),
  nics: z.array(z.custom<GuestNic>()),
  attached: z.record(z.string(), z.string()),
  wishes: HardwareWishes.nullable().default(null),
  parents: z.array(z.string()).default([]),
});
const Progress = z.object({ PercentComplete: z.number() });
const PROGRESS_EVERY = 1_000;
const LOOK_AGAIN = 100;
/** Milliseconds that a migration may take to end once it was told to. */
const ENDS_WITHIN = 60_000;

export const isPreparedToMigrate = (host: VmHost): boolean =>
  host.VirtualMachineMigrationEnabled && host.VirtualMachineMigrationAuthenticationType === 'Kerberos';

/**
 * Whether this host may send its guests to others in the name of an agent that came in without a password: it needs
 * Kerberos, and the right to delegate to the migration service of some other host.
 */
export const mayMigrate = (host: VmHost, delegation: readonly string[] | null): boolean =>
  isPreparedToMigrate(host) && (delegation ?? []).some((spn) => spn.toLowerCase().startsWith(SERVICE));

/** Whether it may do so to this one; the directory names hosts with and without their domain. */
const delegatesTo = (spns: readonly string[], host: string): boolean => {
  const named = [host, host.split('.')[0]].map((name) => `${SERVICE}${name!.toLowerCase()}`);
  return spns.some((spn) => named.includes(spn.toLowerCase()));
};

const parentsOf = async ({ on, mark }: Guest): Promise<string[]> => {
  const parents = new Set<string>();
  for (const disk of [mark.root, mark.ephemeral])
    for await (const path of disk ? on.disks.chain(disk) : []) if (path !== disk) parents.add(path);
  return [...parents];
};

const NO_TICKET = 'this is no ticket of Hyper-V';

/** Migration between two hosts, each with an agent of its own; Hyper-V itself moves memory and disks. */
export class Migration {
  constructor(
    private readonly nodes: readonly HyperVNode[],
    private readonly guests: Guests,
    private readonly options: BuildOptions & { readonly migrationEndsWithin?: number },
  ) {}

  async reach(): Promise<MigrationReach> {
    return reachOf(await this.nodes[0]!.ready());
  }

  async offer(guest: Guest): Promise<string> {
    if (guest.vm.State !== 'Running') throw new HypervisorError('fault', 'a guest is migrated while it runs');
    await settledDrives(guest);
    const adapters = await guest.on.adapters.list(guest.vm.Id);
    return JSON.stringify({
      generation: guest.vm.Generation,
      memory: guest.vm.MemoryStartup,
      switches: [...new Set(adapters.flatMap(({ SwitchName }) => SwitchName ?? []))],
      storage: await storageOf(guest.on),
      parents: await parentsOf(guest),
    } satisfies z.output<typeof Offer>);
  }

  async receive(
    spec: GuestSpec,
    text: string,
    { disks: how, attached }: ReceiveOptions,
    signal: AbortSignal,
  ): Promise<string> {
    const offer = told(Offer, text, NO_TICKET);
    const { serverId: id } = spec.mark;
    if (await this.guests.find(id)) throw new HypervisorError('fault', `server ${id} is on this host already`);
    const on = await this.nodes[0]!.ready();
    const isShared =
      how === 'shared' || (how === 'auto' && offer.storage !== null && offer.storage === (await storageOf(on)));
    const { hardware, wires } = plan(spec, this.options);
    if (offer.generation !== hardware.generation || offer.memory > Math.ceil(spec.flavor.memory / 2) * 2 * MIB)
      throw new HypervisorError('fault', 'what is offered is not what was ordered');
    // The adapters come connected, so both hosts have to call the switches the same.
    const here = new Set(wires.map((wire) => wire.switch));
    if (offer.switches.some((name) => !here.has(name)))
      throw new HypervisorError('unsupported', 'the other host calls its virtual switches by other names');
    const places = attached.map(({ diskId, connection }) => {
      if (connection.kind !== 'file')
        throw new HypervisorError('unsupported', `Hyper-V cannot serve a disk by ${connection.kind}`);
      return [diskId, connection.path] as const;
    });
    if (places.length > 0 && !isShared)
      throw new HypervisorError('unsupported', 'Hyper-V would take the attached disks along with the copied ones');
    const [host] = await on.host.get('Get-VMHost', {}, VmHost);
    if (!host?.VirtualMachineMigrationEnabled)
      throw new HypervisorError('unsupported', 'live migration is not enabled on this host');
    refuseAborted(signal);
    const stage = isShared ? 'incomingShared' : 'incoming';
    if (!isShared) {
      await this.fetchParents(on, spec, offer.parents, signal);
      await on.files.remove(on.paths.guest(id));
    }
    await on.files.makeFolder(on.paths.guest(id));
    await on.marks.write(spec.mark, stage, {
      vcpus: spec.flavor.vcpus,
      memory: spec.flavor.memory,
      // The config drive does not travel: each host has its own.
      configDrive: await writeIso(on, spec),
      nics: [...spec.nics],
      attached: Object.fromEntries(places),
      wishes: hardwareWishesOf(spec.image, spec.flavor),
      parents: isShared ? [] : offer.parents,
    } satisfies Omit<z.output<typeof Expected>, 'attempt' | 'build'>);
    return JSON.stringify({
      host: [on.facts.ComputerName, on.facts.DomainName].filter(Boolean).join('.'),
      folder: on.paths.guest(id),
      includeStorage: !isShared,
    } satisfies z.output<typeof Ticket>);
  }

  /**
   * Hyper-V takes a disk along, and not what that stands on: it has to be in the same place here.
   * @throws HypervisorError `unsupported` when it cannot come there
   */
  private async fetchParents(
    on: ReadyNode,
    { disks }: GuestSpec,
    parents: readonly string[],
    signal: AbortSignal,
  ): Promise<void> {
    const there = (await on.files.items(on.paths.images)).map(({ Name }) => `${on.paths.images}\\${Name}`);
    const missing = parents.filter((parent) => !there.some((path) => same(path, parent)));
    if (missing.length === 0) return;
    const images = new Map<string, ImageSource>();
    for (const source of [disks.root.source, disks.ephemeral?.source])
      if (source && !source.isPrivate) images.set((await on.disks.imagePath(source)).toLowerCase(), source);
    const unknown = missing.filter((path) => !images.has(path.toLowerCase()));
    if (unknown.length > 0)
      throw new HypervisorError(
        'unsupported',
        'its disks stand on others that do not come along, and that this host cannot fetch to the same place',
        unknown.join(', '),
      );
    for (const path of missing) await on.disks.image(images.get(path.toLowerCase())!, signal);
  }

  /** @param id of a guest that is here, or was until an earlier call sent it */
  async send(id: ServerId, text: string, { onProgress, signal }: Parameters<LiveMigration['send']>[2]): Promise<void> {
    const ticket = told(Ticket, text, NO_TICKET);
    const guest = await this.guests.find(id);
    if (!guest) return this.sentBefore(id);
    const { on, vm, mark } = guest;
    refuseAborted(signal);
    await settledDrives(guest);
    const delegation = on.node.delegationOf(await on.node.facts());
    if (!delegation)
      throw new HypervisorError('unsupported', "the Kerberos delegation of the guest's host could not be read");
    if (!delegatesTo(delegation, ticket.host))
      throw new HypervisorError('unsupported', 'its host may not speak to the other one by Kerberos delegation');
    await on.marks.write(guestMark(mark), ticket.includeStorage ? 'sending' : 'sendingShared');
    const cancel = () => void on.host.run('Stop-HostMigration', { VMId: vm.Id }).catch(() => undefined);
    signal.addEventListener('abort', cancel, { once: true });
    const watching = onProgress ? setInterval(() => void this.tell(guest, onProgress), PROGRESS_EVERY) : undefined;
    try {
      await on.disks.insert(vm.Id, vm.Generation, null);
      await on.host.run('Move-VM', {
        VM: machine(vm.Id),
        DestinationHost: ticket.host,
        // Said either way: it is what tells the parameter sets apart.
        IncludeStorage: ticket.includeStorage,
        ...(ticket.includeStorage ? { DestinationStoragePath: ticket.folder } : {}),
        Confirm: false,
      });
    } catch (error) {
      // A call that got no answer may still have moved it; the mark stays until that is known.
      if (await on.machines.byId(vm.Id)) await this.stays(guest);
      throw error;
    } finally {
      clearInterval(watching);
      signal.removeEventListener('abort', cancel);
    }
    this.guests.forget(id);
    await this.moved(on, id);
  }

  async accept(id: ServerId): Promise<void> {
    const guest = await this.guests.find(id);
    if (!guest) {
      for (const node of this.nodes)
        if (isIncoming(await (await node.ready()).marks.stageOf(id)))
          throw new HypervisorError('fault', 'the guest has not come yet');
      throw new HypervisorError('serverNotOnHost', `server ${id} is not on this host`);
    }
    const { on, vm, mark } = guest;
    const stage = await on.marks.stageOf(id);
    if (!stage || !isIncoming(stage)) return;
    const expected = Expected.parse(await on.marks.content(id, stage));
    const { attempt, build, configDrive, nics, attached: disks } = expected;
    if (vm.ProcessorCount !== expected.vcpus || mark.build !== build)
      throw new HypervisorError('fault', 'what has come is not what was ordered');
    // Its own disks may lie elsewhere now, each under its old name.
    const paths = (await basedDrives(guest, mark)).flatMap(({ Path, base }) => base ?? Path ?? []);
    const here = (path: string) => paths.find((p) => p.split('\\').at(-1) === path.split('\\').at(-1)) ?? path;
    const own = { root: here(mark.root), ephemeral: mark.ephemeral && here(mark.ephemeral) };
    const ports = Object.fromEntries(nics.map((nic) => [nic.portId, plainMac(nic.mac)]));
    if (paths.length !== 1 + (own.ephemeral ? 1 : 0) + Object.keys(disks).length)
      throw new HypervisorError('fault', 'the guest has come with disks that were not ordered');
    // What of its hardware nobody knew there is not known here either.
    const wishes = mark.wishes && expected.wishes;
    await this.guests.write(guest, { ...mark, ...own, attempt, disks, ports, configDrive, wishes });
    for (const { MacAddress } of await on.adapters.list(vm.Id))
      if (!Object.values(ports).includes(MacAddress)) await on.adapters.unplug(vm.Id, MacAddress);
    await plugAll(guest, nics, this.options);
    await on.disks.insert(vm.Id, vm.Generation, configDrive);
    await on.marks.move(id, stage, 'settled');
    await joinConsole(guest);
  }

  async cancel(id: ServerId): Promise<void> {
    for (const node of this.nodes) {
      const on = await node.ready();
      const stage = await on.marks.stageOf(id);
      if (await this.guests.find(id)) throw new HypervisorError('fault', 'the guest is here already');
      if (!isIncoming(stage)) continue;
      if (!isShared(stage)) await on.files.remove(on.paths.guest(id));
      await on.marks.remove(id);
    }
  }

  async recover(id: ServerId): Promise<void> {
    let guest = await this.guests.find(id);
    if (guest) {
      const { on, vm } = guest;
      // What an agent began that is gone may still go on.
      const deadline = Date.now() + (this.options.migrationEndsWithin ?? ENDS_WITHIN);
      while ((await this.jobs(guest)).length > 0) {
        if (Date.now() > deadline)
          throw new HypervisorError('unavailable', 'an earlier migration of the guest does not end');
        await on.host.run('Stop-HostMigration', { VMId: vm.Id });
        await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN));
      }
      guest = await this.guests.find(id);
    }
    if (!guest) {
      await this.sentBefore(id);
      throw new HypervisorError('fault', 'the guest has moved');
    }
    await this.stays(guest);
  }

  private async stays({ on, vm, mark }: Guest): Promise<void> {
    await on.disks.insert(vm.Id, vm.Generation, mark.configDrive);
    await on.marks.write(guestMark(mark), 'settled');
  }

  /** The machine is gone after a send that was cut off: Hyper-V has finished it. */
  private async sentBefore(id: ServerId): Promise<void> {
    for (const node of this.nodes) {
      const on = await node.ready();
      if (!isLeaving(await on.marks.stageOf(id))) continue;
      return this.moved(on, id);
    }
    throw new HypervisorError('serverNotOnHost', `server ${id} is not on this host`);
  }

  private async moved(on: ReadyNode, id: ServerId): Promise<void> {
    const stage = await on.marks.stageOf(id);
    if (stage === 'sending') await on.marks.move(id, stage, 'moved');
    if (stage === 'sendingShared') await on.marks.move(id, stage, 'movedShared');
  }

  private jobs({ on, vm }: Guest) {
    return on.host.get('Get-HostMigration', { VMId: vm.Id }, Progress);
  }

  private async tell(guest: Guest, onProgress: NonNullable<Parameters<LiveMigration['send']>[2]['onProgress']>) {
    const [job] = await this.jobs(guest).catch(() => []);
    if (!job) return;
    const total = guest.vm.MemoryStartup;
    onProgress({
      memory: { total, remaining: Math.round(total * (1 - job.PercentComplete / 100)) },
      disk: { total: 0, remaining: 0 },
    });
  }
}
