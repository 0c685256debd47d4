import { argumentsOf, conflict, HostId, notFound, type ProviderId, ServerId } from '@omnivisor/contracts';
import { hostInbox, hostPermissions, signUser, uuidV5 } from '@omnivisor/platform';
import { z } from 'zod';
import type { ActivePart, SchedulerCore } from '../core/scheduler-core.js';
import { type Host, isHealthy } from '../scheduling/host/host.js';
import { type HostCommand, hostAggregate } from '../scheduling/host/host-lifecycle.js';
import { AdminCommands, operatorContext, UserKey } from './admin-commands.js';

/** Parent of host ids: the n-th host of a name always has the same id, so that two of them cannot both be enrolled. */
const HOSTS = '5f2c7f5e-3c37-4f6f-9d6f-2b1a5f0c9a11';

const HostName = z.string().regex(/^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$/, 'is no host name');
const Named = z.object({ host: z.string().min(1) });
const Guest = Named.extend({ serverId: ServerId, attempt: z.number().int().positive().optional() });
const Enroll = z.object({
  name: HostName,
  availabilityZone: z
    .string()
    .regex(/^[^:\s]{1,255}$/)
    .default('nova'),
  publicKey: UserKey,
});

const hostView = (host: Host, quarantined: number) => ({
  id: host.id,
  name: host.name,
  availabilityZone: host.availabilityZone,
  state: host.retired ? 'retired' : host.fenced ? 'fenced' : host.up ? 'up' : 'down',
  enabled: host.enabled,
  disabledReason: host.disabledReason,
  maintenance: host.maintenance && {
    on: host.maintenance.on,
    state: host.maintenance.state,
    error: host.maintenance.error,
  },
  session: host.session,
  hypervisor: host.facts?.hypervisorType ?? null,
  node: host.facts?.node ?? null,
  backend: host.facts?.backend ?? null,
  healthy: isHealthy(host),
  probes: host.probes,
  quarantined,
});

/** What operators ask of the scheduler over NATS: `admin.scheduler.<command>`. */
export class Admin implements ActivePart {
  readonly name = 'admin';
  private readonly commands: AdminCommands;

  constructor(
    private readonly core: SchedulerCore,
    private readonly accountSeed: string | undefined,
    private readonly revokesKeys: boolean,
  ) {
    this.commands = new AdminCommands(core.bus, {
      'host-list': () => this.list(),
      'host-enroll': (args) => this.enroll(argumentsOf(Enroll, args)),
      'host-enable': (args) => this.change(args, (hostId) => ({ type: 'enable', hostId })),
      'host-disable': (args) =>
        this.change(args, (hostId) => ({ type: 'disable', hostId, reason: textOf(args.reason) || null })),
      'host-maintenance-on': (args) =>
        this.change(args, (hostId) => ({ type: 'enterMaintenance', hostId, reason: textOf(args.reason) || null })),
      'host-maintenance-off': (args) => this.change(args, (hostId) => ({ type: 'leaveMaintenance', hostId })),
      'host-fence': (args) =>
        this.change(args, (hostId) => ({
          type: 'fence',
          hostId,
          reason: textOf(args.reason) || 'fenced by an operator',
        })),
      'host-retire': (args) => this.retire(args),
      'host-quarantine-list': () => this.quarantined(),
      'host-quarantine-keep': (args) => this.settle(args, 'keep'),
      'host-quarantine-discard': (args) => this.settle(args, 'discard'),
    });
  }

  start(): Promise<void> {
    return this.commands.start();
  }

  stop(): Promise<void> {
    return this.commands.stop();
  }

  private async list() {
    const { hosts } = await this.core.fresh();
    return [...hosts.values()]
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .map((host) => hostView(host, Object.keys(host.quarantine).length));
  }

  private async enroll({ name, availabilityZone, publicKey }: z.output<typeof Enroll>) {
    const { hosts, readers } = await this.core.fresh();
    if ([...readers.values()].some((reader) => reader.publicKey === publicKey))
      throw conflict('this key is that of a reader of feeds');
    const former = [...hosts.values()].filter((h) => h.name === name);
    if (former.some((h) => h.publicKey === publicKey && h.retired))
      throw conflict('this key belonged to a retired host; make a new one');
    const n = former.filter((h) => h.retired).length;
    const hostId = HostId.parse(uuidV5(HOSTS, `${name}#${n}`));
    const providerId = hostId as string as ProviderId;
    await this.send(hostId, { type: 'enroll', hostId, name, availabilityZone, publicKey, providerId });
    const jwt = this.accountSeed ? await signUser(this.accountSeed, name, publicKey, hostPermissions(hostId)) : null;
    return { hostId, name, availabilityZone, jwt, inboxPrefix: hostInbox(hostId) };
  }

  private async change(args: Record<string, unknown>, command: (hostId: HostId) => HostCommand) {
    const host = await this.find(argumentsOf(Named, args).host);
    const after = await this.send(host.id!, command(host.id!));
    return hostView(after, Object.keys(after.quarantine).length);
  }

  private async retire(args: Record<string, unknown>) {
    const { publicKey } = await this.find(argumentsOf(Named, args).host);
    const view = await this.change(args, (hostId) => ({ type: 'retire', hostId }));
    const note = `nobody listens to its key any more, but NATS lets it connect: revoke ${publicKey} there`;
    return this.revokesKeys ? view : { ...view, note };
  }

  private async quarantined() {
    const { hosts } = await this.core.fresh();
    return [...hosts.values()].flatMap((host) =>
      Object.entries(host.quarantine).map(([serverId, guest]) => ({ host: host.name, serverId, ...guest })),
    );
  }

  private async settle(args: Record<string, unknown>, verdict: 'keep' | 'discard') {
    const { host: name, serverId, attempt } = argumentsOf(Guest, args);
    const host = await this.find(name);
    const after = await this.send(host.id!, { type: 'settleQuarantine', hostId: host.id!, serverId, verdict, attempt });
    return { host: after.name, serverId, ...after.quarantine[serverId] };
  }

  /** By id, or by the name of a host that is not retired. */
  private async find(nameOrId: string): Promise<Host> {
    const world = await this.core.fresh();
    const host = world.hosts.get(nameOrId) ?? world.hostByName(nameOrId);
    if (!host) throw notFound(`no host ${nameOrId}`);
    return host;
  }

  private async send(hostId: HostId, command: HostCommand): Promise<Host> {
    const by = operatorContext(this.core);
    const { state } = await this.core.commands.execute(hostAggregate, hostId, command, by);
    return state;
  }
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');
