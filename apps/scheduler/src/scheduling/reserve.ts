import {
  conflict,
  DomainError,
  notFound,
  type PlacementEvent,
  placementEvents,
  type ReserveReply,
  type ReserveRequest,
  reserve,
  unavailable,
} from '@omnivisor/contracts';
import { type Aggregate, EventStoreUnavailable } from '@omnivisor/eventsourcing';
import type { Subscription } from '@omnivisor/platform/ports';
import type { ActivePart, SchedulerCore } from '../core/scheduler-core.js';
import type { World } from '../core/world.js';
import { type Decision, decidePlacement, refusalMessage } from './decision.js';
import { claimKey } from './provider/provider.js';
import { NO_ROOM } from './provider/provider-lifecycle.js';
import { wantedOf } from './wanted.js';

type Refused = Extract<PlacementEvent, { type: 'PlacementRefused' }>['data'];

/** Refusals of one server: each attempt is refused once. */
const refusals: Aggregate<ReadonlySet<number>, Refused, PlacementEvent> = {
  events: placementEvents,
  initial: new Set(),
  decide: (data, seen) => (seen.has(data.attempt) ? [] : [{ type: 'PlacementRefused', data }]),
  evolve: (seen, event) => new Set([...seen, event.data.attempt]),
};

const MAX_RACES = 10;
/** Decisions that may be on their way to the log at one time. */
export const MAX_WAITING = 5_000;

/** Finds a host for an attempt of a server and claims it there, durably, before it answers. */
export class Reserve implements ActivePart {
  readonly name = 'reserve';
  private readonly running = new Map<string, Promise<ReserveReply>>();
  /** Claims whose append failed without an answer. */
  private readonly unsure = new Set<string>();
  private subscription: Subscription | undefined;
  private decisions = 0;

  constructor(private readonly core: SchedulerCore) {}

  async start(): Promise<void> {
    this.subscription = await this.core.bus.respond(reserve, (request) => this.reserve(request));
  }

  async stop(): Promise<void> {
    await this.subscription?.close();
    await Promise.allSettled(this.running.values());
  }

  /** Asking again for the same attempt gives the same answer; both of two calls at once get it. */
  reserve(request: ReserveRequest): Promise<ReserveReply> {
    const key = claimKey(request.serverId, request.attempt);
    const known = this.running.get(key);
    if (known) return known;
    if (this.running.size >= MAX_WAITING) return Promise.reject(unavailable('too many servers wait for a place'));
    const run = this.attempt(request, key).finally(() => {
      this.running.delete(key);
    });
    this.running.set(key, run);
    return run;
  }

  private async attempt(request: ReserveRequest, key: string): Promise<ReserveReply> {
    for (let race = 0; race < MAX_RACES; race++) {
      // Whether an append that failed has made its claim after all, only the log can say.
      const sure = race === 0 && !this.unsure.delete(key);
      const world = await (sure ? this.core.upTo(request.position) : this.core.fresh());
      const existing = world.claimOf(request.serverId, request.attempt) ?? world.heldOf(key);
      if (existing) return this.claimed(world, existing);
      if (!world.wants(request.serverId, request.attempt))
        throw conflict('the server does not want this attempt any more');
      const { context: _, ...plain } = request;
      const wanted = wantedOf(plain, {
        hostsOf: (id) => world.hostsOf(id),
        groupOf: (id) => world.groups.get(id),
        machineOf: (id) => world.hosts.get(id)?.facts?.machineId,
      });
      const made = decidePlacement(world.index, wanted, this.core.settings, world.position);
      const order = `${this.core.run}/${this.decisions++}`;
      const decision = { ...made, explanation: { ...made.explanation, order } };
      if (!decision.chosen) return this.refuse(request, decision);
      const { hostId, providerId } = decision.chosen;
      world.hold(hostId, request.serverId, request.attempt, wanted.resources);
      try {
        const provider = await this.core.providers.execute(
          {
            type: 'claim',
            providerId,
            claim: {
              serverId: request.serverId,
              attempt: request.attempt,
              projectId: request.projectId,
              userId: request.userId,
              resources: wanted.resources,
            },
            explanation: decision.explanation,
          },
          request.context,
        );
        if (!provider.claims.has(key)) throw conflict('this claim was made before and has ended');
        return this.claimed(world, providerId);
      } catch (error) {
        world.unhold(key);
        if (!(error instanceof DomainError) || error instanceof EventStoreUnavailable) this.unsure.add(key);
        // Another scheduler was faster: look again at what is left.
        if (!(error instanceof DomainError && error.name === NO_ROOM)) throw error;
      }
    }
    throw unavailable('others were faster on each host that fitted');
  }

  private async refuse(request: ReserveRequest, { explanation }: Decision): Promise<ReserveReply> {
    const { serverId, attempt, context } = request;
    const message = refusalMessage(explanation);
    await this.core.commands.execute(refusals, serverId, { serverId, attempt, message, explanation }, context);
    return { kind: 'refused', message, explanation };
  }

  private claimed(world: World, providerId: string): ReserveReply {
    const provider = world.providers.get(providerId);
    const host = world.hostOf(providerId);
    if (!provider || !host) throw notFound('the claimed host is not known any more');
    return {
      kind: 'claimed',
      hostId: host.id!,
      hostName: host.name,
      node: host.facts?.node ?? provider.name,
      providerId: provider.id!,
      availabilityZone: host.availabilityZone,
    };
  }
}
