import {
  at,
  type Endpoint,
  type HostId,
  hostBus,
  hostOf,
  type ImageId,
  type ServerEvent,
  type ServerId,
  seconds,
} from '@omnivisor/contracts';
import { type EventStore, type ReadModel, WrongExpectedRevision } from '@omnivisor/eventsourcing';
import type { Bus } from '@omnivisor/platform/ports';
import type { z } from 'zod';
import { quotaAggregate } from '../../../apps/api-gateway/src/compute/quota/quota.js';
import { serverReservation } from '../../../apps/api-gateway/src/compute/server/create/server.reservation.js';
import { serverAggregate } from '../../../apps/api-gateway/src/compute/server/lifecycle/server-lifecycle.js';
import { serverTable } from '../../../apps/api-gateway/src/compute/server/view/server.projection.js';
import type { Gateway } from '../../../apps/api-gateway/src/gateway.js';
import { addressPool } from '../../../apps/api-gateway/src/network/address-pool/address-pool.js';
import { type HypervisorDriver, HypervisorError } from '../../../apps/compute-agent/src/drivers/hypervisor-driver.js';
import type { Scheduler } from '../../../apps/scheduler/src/scheduler.js';
import { providerAggregate } from '../../../apps/scheduler/src/scheduling/provider/provider-lifecycle.js';

/** What a bug of an agent may know of the cloud. */
export interface BuggyAgent {
  readonly hostId: HostId;
  readonly driver: HypervisorDriver;
  /** All hosts. */
  readonly hosts: () => readonly HostId[];
  readonly newestSession: (hostId: string) => number;
}

/** A bug that is planted from outside: ports that cheat, parts that are replaced while they run. */
export interface PlantedBug {
  readonly name: string;
  readonly store?: (store: EventStore) => EventStore;
  readonly readModel?: (rows: ReadModel) => ReadModel;
  readonly agentBus?: (bus: Bus, agent: BuggyAgent) => Bus;
  readonly driver?: (driver: HypervisorDriver, clock: { sleep(duration: number): Promise<void> }) => HypervisorDriver;
  readonly gateway?: (gateway: Gateway) => void;
  readonly scheduler?: (scheduler: Scheduler) => void;
  /** The API says that a request is accepted, and writes it down then. */
  readonly answersEarly?: boolean;
  /** Replaces what all processes share; the result puts it back. */
  readonly plant?: () => () => void;
}

type Asked = Endpoint<z.ZodType, z.ZodType>;
type Ask = (endpoint: Asked, request: unknown, subject?: string) => Promise<unknown>;

/** A bus whose questions go through `change`. */
const asking = (bus: Bus, change: (ask: Ask) => Ask): Bus => ({
  ...bus,
  request: change(bus.request as Ask) as Bus['request'],
});

/** Puts something in the place of a member, and back. */
const replaced = <T extends object, K extends keyof T>(object: T, key: K, change: (before: T[K]) => T[K]) => {
  const before = object[key];
  object[key] = change(before);
  return () => {
    object[key] = before;
  };
};

/** A driver with some members changed. */
const driving = (driver: HypervisorDriver, changes: Partial<HypervisorDriver>): HypervisorDriver =>
  new Proxy(driver, { get: (object, key) => Reflect.get(changes, key) ?? Reflect.get(object, key) });

/** A gateway that does not carry out a command. */
const ignoring =
  (aggregate: object, isIgnored: (command: { readonly type: string }) => boolean) =>
  ({ core: { commands } }: Gateway): void => {
    const execute = commands.execute.bind(commands) as (...args: unknown[]) => Promise<unknown>;
    Object.assign(commands, {
      execute: async (...args: unknown[]) =>
        args[0] === aggregate && isIgnored(args[2] as { type: string })
          ? { state: await commands.load(args[0] as never, args[1] as string), revision: 0, position: 0, events: [] }
          : execute(...args),
    });
  };

/** `world` of a scheduler, with the members that only it uses. */
const worldOf = (scheduler: Scheduler) =>
  scheduler.core.world as unknown as {
    readonly claims: Map<string, Map<string, { providerId: string; attempt: number }>>;
    apply(event: ServerEvent): void;
    hold(): void;
    release(providerId: string, serverId: string, attempt: number, reason: string, cause: unknown): void;
  };

const boot = { imageUrl: 'memory:', imageId: 'b9a2e9b4-8a3c-4f8e-8a35-2f8c0f0c0b01' as ImageId, configDrive: null };

export const bugs: readonly PlantedBug[] = [
  {
    name: 'the revision of a stream is not checked',
    store: (store) => {
      const anyhow = async <T>(expected: number, append: (expected: number) => Promise<T>): Promise<T> => {
        try {
          return await append(expected);
        } catch (error) {
          if (error instanceof WrongExpectedRevision) return anyhow(error.actual, append);
          throw error;
        }
      };
      return {
        ...store,
        append: (stream, expected, events) => anyhow(expected, (e) => store.append(stream, e, events)),
        appendEach: (stream, expected, commands) => anyhow(expected, (e) => store.appendEach(stream, e, commands)),
      };
    },
  },
  {
    name: 'claims are never released',
    scheduler: (scheduler) => {
      replaced(worldOf(scheduler), 'release', () => () => {});
    },
  },
  {
    name: 'a release that fails is tried again at once',
    scheduler: ({ core }) => {
      const { execute } = core.providers;
      core.providers.execute = async (command, context) =>
        command.type === 'release' ? core.world.providers.get(command.providerId)! : execute(command, context);
    },
  },
  {
    name: 'claims of abandoned attempts are never released',
    scheduler: (scheduler) => {
      const world = worldOf(scheduler);
      replaced(world, 'release', (release) => (...args) => {
        if (args[3] !== 'abandoned') release.apply(world, args);
      });
    },
  },
  {
    name: 'a claim is released as soon as a deletion is asked for',
    scheduler: (scheduler) => {
      const world = worldOf(scheduler);
      replaced(world, 'apply', (apply) => (event) => {
        apply.call(world, event);
        if (event.type !== 'ServerDeleteRequested') return;
        const { serverId } = event.data;
        for (const { providerId, attempt } of world.claims.get(serverId)?.values() ?? [])
          world.release(providerId, serverId, attempt, 'absent', event);
      });
    },
  },
  {
    name: 'a decision holds no room, and a claim does not look at what is left',
    scheduler: (scheduler) => {
      replaced(worldOf(scheduler), 'hold', () => () => {});
    },
    plant: () =>
      replaced(
        providerAggregate,
        'decide',
        (decide) => (command, provider) =>
          decide(command, command.type === 'claim' ? { ...provider, used: {} } : provider),
      ),
  },
  { name: 'a request is acknowledged before it is appended', answersEarly: true },
  {
    name: 'a guest that is gone is made again',
    agentBus: (bus) =>
      asking(bus, (ask) => async (endpoint, request, subject) => {
        const reply = await ask(endpoint, request, subject);
        if ((endpoint as unknown) === hostBus.serverBoot) return reply ?? boot;
        if ((endpoint as unknown) === hostBus.confirm) {
          const { changes } = request as { changes: { kind: string }[] };
          const { confirmed } = reply as { confirmed: boolean[] };
          return { confirmed: confirmed.map((c, i) => c || changes[i]!.kind === 'spawn') };
        }
        if ((endpoint as unknown) !== hostBus.desired) return reply;
        const desired = reply as { servers: { spawned: boolean }[] };
        return { ...desired, servers: desired.servers.map((s) => ({ ...s, spawned: false })) };
      }),
  },
  {
    name: 'a guest that nobody asks for is destroyed',
    agentBus: (bus, { driver }) =>
      asking(bus, (ask) => async (endpoint, request, subject) => {
        if ((endpoint as unknown) === hostBus.quarantine)
          for (const { serverId } of (request as { guests: { serverId: ServerId }[] }).guests)
            await driver.destroy(serverId);
        return ask(endpoint, request, subject);
      }),
  },
  {
    name: 'a host that is silent loses its server to the next one',
    gateway: ({ core }) => {
      const look = async () => {
        const now = core.clock.now();
        const building = await core.readModel.find(serverTable, { where: { taskState: 'spawning' } });
        for (const { id: serverId, placement, updatedAt } of building)
          if (placement && Date.parse(now) - Date.parse(updatedAt) > 8_000)
            await core.commands.execute(
              serverAggregate,
              serverId,
              {
                type: 'report',
                serverId,
                host: placement.host,
                attempt: placement.attempt,
                fact: { kind: 'spawnFailed', reason: 'the host is silent' },
                now,
              },
              {
                actor: { kind: 'service', service: 'api-gateway' },
                requestId: 'req-bug' as never,
                correlationId: 'req-bug' as never,
                causationId: null,
                commandId: core.ids.uuid() as never,
              },
            );
      };
      const again = () =>
        core.clock.after(seconds(5), () => {
          look().catch(() => {});
          again();
        });
      again();
    },
  },
  {
    name: 'a spawn that takes long is taken for a failure',
    driver: (driver, clock) =>
      driving(driver, {
        spawn: (spec, signal) => {
          const late = clock.sleep(3_000).then(() => {
            throw new HypervisorError('fault', 'it takes too long');
          });
          return Promise.race([driver.spawn(spec, signal), late]);
        },
      }),
  },
  {
    name: 'a guest is told of before it is there',
    driver: (driver) =>
      driving(driver, {
        spawn: async (spec, signal) => {
          driver.spawn(spec, signal).catch(() => {});
        },
      }),
  },
  {
    name: 'a destroyed guest stays where it is',
    driver: (driver) => {
      const unseen = new Set<ServerId>();
      return driving(driver, {
        destroy: async (id) => void unseen.add(id),
        inspect: async (id) => {
          if (unseen.has(id)) throw new HypervisorError('serverNotOnHost', 'it was to go');
          return driver.inspect(id);
        },
        list: async () => (await driver.list()).filter(({ mark }) => !unseen.has(mark.serverId)),
      });
    },
  },
  {
    name: 'what a server that moved left on its source is destroyed at once',
    agentBus: (bus) =>
      asking(bus, (ask) => async (endpoint, request, subject) => {
        const reply = await ask(endpoint, request, subject);
        if ((endpoint as unknown) === hostBus.confirm)
          return { confirmed: (reply as { confirmed: boolean[] }).confirmed.map(() => true) };
        if ((endpoint as unknown) !== hostBus.desired) return reply;
        const desired = reply as { servers: { part?: string; tombstone: boolean }[] };
        const gone = (s: (typeof desired.servers)[number]) => (s.part === 'kept' ? { ...s, tombstone: true } : s);
        return { ...desired, servers: desired.servers.map(gone) };
      }),
  },
  {
    name: 'the source of a move goes on while the target makes the guest',
    driver: (driver) => driving(driver, { powerOff: async () => {} }),
  },
  {
    name: 'the session of an agent is not checked',
    agentBus: (bus, { hostId, newestSession }) =>
      asking(bus, (ask) => (endpoint, request, subject) => {
        const given = request as { session?: number };
        return ask(endpoint, 'session' in given ? { ...given, session: newestSession(hostId) } : given, subject);
      }),
  },
  {
    name: 'a host may speak for another one',
    agentBus: (bus, { hosts, newestSession }) =>
      asking(bus, (ask) => (endpoint, request, subject = endpoint.subject) => {
        const first = hosts()[0]!;
        const own = [hostBus.hello, hostBus.beat, hostBus.quarantine].includes(endpoint as never);
        if (own || !subject.startsWith('host.') || hostOf(subject) === first) return ask(endpoint, request, subject);
        return ask(endpoint, { ...(request as object), session: newestSession(first) }, at(endpoint, first));
      }),
  },
  {
    name: 'quota is never given back',
    gateway: ignoring(quotaAggregate, ({ type }) => type === 'release'),
  },
  {
    name: 'quota of a request that never came is kept',
    plant: () => replaced(serverReservation, 'giveBack', () => async () => {}),
  },
  {
    name: 'the limit of a quota is not looked at',
    plant: () =>
      replaced(
        quotaAggregate,
        'decide',
        (decide) => (command, quota) => decide(command, command.type === 'reserve' ? { ...quota, limits: {} } : quota),
      ),
  },
  {
    name: 'an address is handed out twice',
    plant: () =>
      replaced(addressPool, 'evolve', (evolve) => (pool, event) => {
        const after = evolve(pool, event);
        return event.type === 'AddressesAllocated' ? { ...pool, holdings: after.holdings, macs: after.macs } : after;
      }),
  },
  {
    name: 'the projector passes over an event',
    readModel: (rows) => {
      let seen = 0;
      return {
        ...rows,
        advance: (work) =>
          rows.advance(async (from, reader) => {
            const { to, changes } = await work(from, reader);
            seen += changes.length;
            return { to, changes: seen % 20 === 0 ? changes.slice(1) : changes };
          }),
      };
    },
  },
  {
    name: 'nobody takes up the work of a replica that died',
    readModel: (rows) => ({ ...rows, lease: async () => [] }),
  },
  {
    name: 'a hello that comes twice makes two sessions',
    agentBus: (bus) =>
      asking(bus, (ask) => (endpoint, request, subject) => {
        const { call: _, after: __, ...unnamed } = request as { call?: string; after?: number };
        return ask(endpoint, (endpoint as unknown) === hostBus.hello ? unnamed : request, subject);
      }),
  },
  {
    name: 'what a server left on its source takes all of its claims along',
    scheduler: (scheduler) => {
      const world = worldOf(scheduler);
      replaced(world, 'apply', (apply) => (event) => {
        apply.call(world, event);
        if (event.type !== 'ServerGuestAbsent') return;
        const { serverId } = event.data;
        for (const { providerId, attempt } of world.claims.get(serverId)?.values() ?? [])
          world.release(providerId, serverId, attempt, 'absent', event);
      });
    },
  },
  {
    name: 'a guest that is off is started whoever asked for that',
    driver: (driver) =>
      driving(driver, {
        inspect: async (id) => {
          const { stage, power } = await driver.inspect(id);
          if (stage === 'settled' && power === 'shutdown') await driver.powerOn(id, []).catch(() => {});
          return driver.inspect(id);
        },
      }),
  },
  {
    name: 'a guest that crashed is told to be shut down',
    agentBus: (bus) =>
      asking(bus, (ask) => (endpoint, request, subject) => {
        const { fact } = request as { fact?: { kind: string; power?: string } };
        const isCrash = (endpoint as unknown) === hostBus.report && fact?.power === 'crashed';
        return ask(
          endpoint,
          isCrash ? { ...(request as object), fact: { ...fact, power: 'shutdown' } } : request,
          subject,
        );
      }),
  },
  {
    name: 'what an operator has given up stays',
    agentBus: (bus) =>
      asking(bus, (ask) => async (endpoint, request, subject) => {
        const reply = await ask(endpoint, request, subject);
        return (endpoint as unknown) === hostBus.desired ? { ...(reply as object), discard: [] } : reply;
      }),
  },
  {
    name: 'quota is taken for one core, whatever the flavor has',
    plant: () =>
      replaced(quotaAggregate, 'decide', (decide) => (command, quota) => {
        if (command.type !== 'reserve') return decide(command, quota);
        const reservations = command.reservations.map((r) => ({ ...r, amounts: { ...r.amounts, cores: 1 } }));
        return decide({ ...command, reservations }, quota);
      }),
  },
  {
    name: 'addresses of a port that is gone are kept',
    gateway: ignoring(addressPool, ({ type }) => type === 'release'),
  },
];
