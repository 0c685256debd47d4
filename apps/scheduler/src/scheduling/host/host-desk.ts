import {
  type CommandContext,
  type CommandId,
  conflict,
  HostId,
  hostBus,
  hostOf,
  type RequestId,
} from '@omnivisor/contracts';
import type { Subscription } from '@omnivisor/platform/ports';
import type { z } from 'zod';
import type { ActivePart, SchedulerCore } from '../../core/scheduler-core.js';
import type { Host } from './host.js';
import { type HostCommand, hostAggregate } from './host-lifecycle.js';
import type { HostWatch } from './host-watch.js';
import { inventoriesOf } from './inventory.js';

/** Where agents report for duty. The subject proves who speaks; the host's decider judges what it says. */
export class HostDesk implements ActivePart {
  readonly name = 'host desk';
  private subscriptions: Subscription[] = [];

  constructor(
    private readonly core: SchedulerCore,
    private readonly watch: HostWatch,
    private readonly cloudId: string,
  ) {}

  async start(): Promise<void> {
    for (const host of this.core.world.hosts.values()) if (!host.retired) await this.offer(host);
    const { bus } = this.core;
    this.subscriptions = [
      await bus.respond(hostBus.hello, (q, s) => this.hello(hostIdOf(s), q)),
      await bus.respond(hostBus.beat, (q, s) => this.beat(hostIdOf(s), q.session)),
      await bus.respond(hostBus.probed, (q, s) => this.probed(hostIdOf(s), q)),
      await bus.respond(hostBus.maintained, (q, s) => this.maintained(hostIdOf(s), q)),
      await bus.respond(hostBus.quarantine, (q, s) => this.quarantine(hostIdOf(s), q)),
    ];
  }

  async stop(): Promise<void> {
    for (const subscription of this.subscriptions.splice(0)) await subscription.close();
  }

  private async hello(
    hostId: HostId,
    { facts, call, after }: z.output<typeof hostBus.hello.request>,
  ): Promise<z.input<typeof hostBus.hello.reply>> {
    const context = this.context(hostId);
    // A hello that comes twice, or to two schedulers, is one command: its first result holds.
    const once = call === undefined ? context : { ...context, commandId: `hello:${hostId}:${call}` as CommandId };
    const { commands } = this.core;
    const { state: host, events } = await commands.execute(
      hostAggregate,
      hostId,
      { type: 'hello', hostId, facts, after },
      once,
    );
    await this.offer(host);
    this.watch.heard(hostId);
    const { session } = events[0]!.data as { session: number };
    return { session, cloudId: this.cloudId, hostName: host.name };
  }

  private async beat(hostId: HostId, session: number): Promise<z.input<typeof hostBus.beat.reply>> {
    let host = this.core.world.hosts.get(hostId);
    if (!host || session > host.session) host = (await this.core.fresh()).hosts.get(hostId);
    if (!host?.exists || host.retired || session !== host.session)
      throw hostBus.sessionEnded(session, host?.session ?? 0);
    this.watch.heard(hostId);
    if (!host.up && !host.fenced) await this.send(hostId, { type: 'up', hostId, session });
    const { maintenance, providerId } = host;
    return {
      changedAt: this.core.world.changedAt(providerId ?? ''),
      ...(maintenance?.state === 'asked'
        ? { maintenance: { generation: maintenance.generation, on: maintenance.on } }
        : {}),
    };
  }

  private async probed(
    hostId: HostId,
    report: z.output<typeof hostBus.probed.request>,
  ): Promise<z.input<typeof hostBus.probed.reply>> {
    const host = await this.send(hostId, { type: 'probed', hostId, ...report });
    if (report.facts) await this.offer(host);
    return {};
  }

  private async maintained(
    hostId: HostId,
    told: z.output<typeof hostBus.maintained.request>,
  ): Promise<z.input<typeof hostBus.maintained.reply>> {
    await this.send(hostId, { type: 'maintained', hostId, ...told });
    return {};
  }

  private async quarantine(
    hostId: HostId,
    { session, guests }: z.output<typeof hostBus.quarantine.request>,
  ): Promise<z.input<typeof hostBus.quarantine.reply>> {
    await this.send(hostId, { type: 'reportQuarantine', hostId, session, guests });
    return {};
  }

  /** Brings the host's resource provider in line with what its agent found. */
  private async offer(host: Host): Promise<void> {
    const { id: hostId, providerId, facts } = host;
    if (!hostId || !providerId || !facts) return;
    const { providers, settings } = this.core;
    await providers.execute({ type: 'create', providerId, hostId, name: facts.node }, this.context(hostId));
    const inventories = inventoriesOf(facts, settings);
    await providers.execute({ type: 'setInventory', providerId, inventories }, this.context(hostId));
    await providers.execute({ type: 'setTraits', providerId, traits: facts.traits }, this.context(hostId));
  }

  private async send(hostId: HostId, command: HostCommand): Promise<Host> {
    const context = this.context(hostId);
    return (await this.core.commands.execute(hostAggregate, hostId, command, context)).state;
  }

  private context(hostId: HostId): CommandContext {
    const requestId = `req-${this.core.ids.uuid()}` as RequestId;
    return {
      actor: { kind: 'service', service: `host-${hostId}` },
      requestId,
      correlationId: requestId,
      causationId: null,
      commandId: this.core.ids.uuid() as CommandId,
    };
  }
}

const hostIdOf = (subject: string): HostId => {
  const parsed = HostId.safeParse(hostOf(subject));
  if (!parsed.success) throw conflict('this is no host');
  return parsed.data;
};
