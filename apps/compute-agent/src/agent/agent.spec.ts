import {
  hostBus,
  type ImageId,
  type NetworkId,
  type PortId,
  type ProjectId,
  type ServerId,
  seconds,
  unavailable,
} from '@omnivisor/contracts';
import { MemoryBus, VirtualClock } from '@omnivisor/platform/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { testGuest } from '../drivers/common/test-guest.js';
import { FakeDriver, FakeHypervisor } from '../drivers/fake/index.js';
import { hostFacts } from '../host/host-facts.js';
import { noImageBytes } from '../images/image-cache.js';
import { FakeNetworkPlug } from '../network/index.js';
import { Agent } from './agent.js';

const cloudId = 'c';
const id = (n: number) => `0c2c7a4e-52a3-4b8e-8f4d-00000000000${n}` as ServerId;
type Desired = z.input<typeof hostBus.DesiredServer>;

/** The control plane as one host hears it: what it wants is set, what it is told is kept. */
class Desk {
  readonly servers = new Map<string, Desired>();
  readonly networks = new Map<string, hostBus.NetworkPlan>();
  readonly facts: { serverId: string; kind: string }[] = [];
  readonly quarantined: string[] = [];
  /** Nobody hears of guests that the log does not ask for. */
  deaf = false;

  async open(bus: MemoryBus): Promise<void> {
    const boot = { imageUrl: 'memory:', imageId: id(9) as string as ImageId, configDrive: null };
    await bus.respond(hostBus.hello, async () => ({ session: 1, cloudId, hostName: 'h' }));
    await bus.respond(hostBus.beat, async () => ({ changedAt: 0 }));
    await bus.respond(hostBus.quarantine, async ({ guests }) => {
      if (this.deaf) throw unavailable('no scheduler');
      this.quarantined.splice(0, this.quarantined.length, ...guests.map((g) => g.serverId));
      return {};
    });
    await bus.respond(hostBus.confirm, async ({ changes }) => ({ confirmed: changes.map(() => true) }));
    await bus.respond(hostBus.serverBoot, async () => boot);
    await bus.respond(hostBus.desired, async () => ({
      version: 1,
      whole: true,
      servers: [...this.servers.values()],
      networks: [...this.networks.values()],
      groups: [],
      discard: [],
    }));
    await bus.respond(hostBus.report, async ({ serverId, fact }) => {
      this.facts.push({ serverId, kind: fact.kind });
      return { accepted: true, reason: null };
    });
  }

  /** Wants server `n` with port `n` on network `n`. */
  want(n: number, change: Partial<Desired> = {}): void {
    const { flavor, image, name } = testGuest(id(n), cloudId);
    const networkId = id(n) as string as NetworkId;
    const portId = id(n) as string as PortId;
    const projectId = 'p' as ProjectId;
    this.servers.set(id(n), {
      serverId: id(n),
      projectId,
      attempt: 1,
      tombstone: false,
      spawned: false,
      power: 'running',
      operation: null,
      name,
      flavor,
      image,
      configDrive: false,
      portIds: [portId],
      ports: [
        {
          portId,
          networkId,
          mac: 'fa:16:3e:00:00:01',
          mtu: 1500,
          adminUp: true,
          portSecurity: true,
          hostname: name,
          fixedIps: [],
          allowedPairs: [],
          securityGroups: [],
          rules: [],
          tag: null,
        },
      ],
      ...change,
    });
    this.networks.set(id(n), { networkId, projectId, mtu: 1500, subnets: [] });
  }
}

describe('an agent', () => {
  let clock: VirtualClock;
  let bus: MemoryBus;
  let desk: Desk;
  let machine: FakeHypervisor;
  let network: FakeNetworkPlug;
  let agent: Agent;
  let errors: string[];

  beforeEach(async () => {
    clock = new VirtualClock();
    bus = new MemoryBus(clock);
    desk = new Desk();
    await desk.open(bus);
    machine = new FakeHypervisor({ clock });
    network = new FakeNetworkPlug();
    errors = [];
    const driver = new FakeDriver(machine, { cloudId });
    agent = new Agent({
      hostId: 'h',
      cloudId,
      clock,
      bus,
      driver,
      network,
      images: noImageBytes,
      facts: async () =>
        hostFacts(driver, await driver.probe(AbortSignal.abort()), [], {
          node: 'h',
          hostIp: '127.0.0.1',
          machineId: 'm',
          bootId: 'b',
        }),
      onError: (where) => errors.push(where),
      random: () => 0.5,
    });
  });
  afterEach(() => agent.stop());

  /** A server that was spawned before, with its guest on the machine. */
  const spawned = async (n: number) => {
    await new FakeDriver(machine, { cloudId }).spawn(testGuest(id(n), cloudId), new AbortController().signal);
    desk.want(n, { spawned: true });
  };

  it('serves the other servers of its host while one port cannot be plugged', async () => {
    await spawned(1);
    await spawned(2);
    desk.want(3);
    network.broken.add(id(1));
    await agent.start();
    await clock.runUntil(() => machine.guest(id(3)) !== undefined, seconds(1));
    expect([...network.ports.keys()].sort()).toEqual([id(2), id(3)]);
    machine.shutDownFromInside(id(1));
    await clock.runUntil(() => desk.facts.some((f) => f.serverId === id(1) && f.kind === 'powerChanged'), seconds(1));
    network.broken.clear();
    await clock.runUntil(() => network.ports.has(id(1)), seconds(30));
  });

  it('serves the other networks of its host while one cannot be built', async () => {
    desk.want(1, { ports: [] });
    desk.want(2);
    network.broken.add(id(1));
    await agent.start();
    await clock.runUntil(() => network.networks.has(id(2)) && machine.all().length === 2, seconds(1));
    network.broken.clear();
    await clock.runUntil(() => network.networks.has(id(1)), seconds(30));
  });

  it('serves its host while nobody hears of a guest that the log does not ask for', async () => {
    await spawned(1);
    desk.servers.delete(id(1));
    desk.want(2);
    desk.deaf = true;
    await agent.start();
    await clock.runUntil(() => machine.all().length === 2, seconds(1));
    expect(errors).toContain('what nobody asks for');
    desk.deaf = false;
    await clock.runUntil(() => desk.quarantined.length === 1, seconds(31));
    expect(desk.quarantined).toEqual([id(1)]);
  });

  it('gives up a spawn that the log does not ask for any more', async () => {
    desk.want(1);
    machine.slow('spawn', seconds(3_600));
    await agent.start();
    await clock.runUntil(() => network.ports.size === 1);
    desk.servers.delete(id(1));
    // Its port goes in the round after.
    await clock.runUntil(() => network.ports.size === 0, seconds(61));
    expect(machine.all()).toEqual([]);
    expect(desk.facts).toEqual([]);
  });

  it('takes out ports that neither the log nor a guest has any use for', async () => {
    await spawned(1);
    await spawned(2);
    desk.want(3);
    await agent.start();
    await clock.runUntil(() => network.ports.size === 3);
    // The log forgets two of them; one of these still has its guest.
    for (const n of [1, 2]) desk.servers.delete(id(n));
    machine.vanish(id(2));
    await clock.runUntil(() => network.ports.size === 2, seconds(31));
    await clock.advance(seconds(60));
    expect([...network.ports.keys()].sort()).toEqual([id(1), id(3)]);
  });

  it('tries what fails again and again, at a slowing pace', async () => {
    await spawned(1);
    network.broken.add(id(1));
    await agent.start();
    await clock.advance(seconds(29));
    expect(errors.filter((where) => where === `server ${id(1)}`)).toHaveLength(6);
  });
});
