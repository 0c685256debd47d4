import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type MigrationId, ms, type ServerId, signImageUrl } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HyperVDriver } from '../../apps/compute-agent/src/drivers/hyperv/hyperv.driver.js';
import { Images, InProcess, leftovers } from '../../apps/compute-agent/src/drivers/hyperv/testing/double.js';
import type { HypervisorDriver } from '../../apps/compute-agent/src/drivers/hypervisor-driver.js';
import { noSimulator } from '../../apps/compute-agent/src/drivers/vsphere/testing/simulator.js';
import { VcenterUnderTest } from '../../apps/compute-agent/src/drivers/vsphere/testing/vcenter-under-test.js';
import { PoolUnderTest } from '../../apps/compute-agent/src/drivers/xenserver/testing/pool-under-test.js';
import { HyperVHost } from '../doubles/hyperv/host.mjs';
import { SimulatedCloud, type SimulatedHost } from './cloud.js';

/** Real milliseconds that a hypervisor takes to move a guest. */
const MOVE_TIME = 400;

/** Two hosts of one kind. */
interface Kind {
  readonly backend: string;
  readonly image: { readonly path: string; readonly url: string; readonly format: 'raw' | 'vhdx' };
  open(which: 0 | 1, cloudId: string): HypervisorDriver;
  /** What a host still has of a server. */
  leftovers(id: ServerId, which: 0 | 1): Promise<string[]> | string[];
  /** A guest is on its way right now. */
  isMoving(): Promise<boolean> | boolean;
  stop(): Promise<void>;
}

const xenserver = async (): Promise<Kind> => {
  const pool = await PoolUnderTest.start({ shutdownPatience: 500, latencies: { pool_migrate: MOVE_TIME } });
  return {
    backend: 'xenserver',
    image: { path: pool.image, url: 'file:', format: 'raw' },
    open: (which, cloudId) => pool.open({ member: ['xs1', 'xs2'][which]!, cloudId }),
    leftovers: (id, which) => pool.leftovers(id, which),
    isMoving: () =>
      pool.double.db
        .all('VM')
        .some(([, vm]: [string, { current_operations: object }]) =>
          Object.values(vm.current_operations).includes('pool_migrate'),
        ),
    stop: () => pool.stop(),
  };
};

const vsphere = async (): Promise<Kind> => {
  const vcenter = await VcenterUnderTest.start('-relocation', `${MOVE_TIME}`);
  return {
    backend: 'vsphere',
    image: { path: vcenter.image, url: 'file:', format: 'raw' },
    open: (which, cloudId) => vcenter.open({ member: ['DC0_C0_H0', 'DC0_C0_H1'][which]!, cloudId }),
    leftovers: (id, which) => vcenter.leftovers(id, which),
    isMoving: async () => ((await (await fetch(`${vcenter.simulator.url}/moving`)).json()) as string[]).length > 0,
    stop: () => vcenter.stop(),
  };
};

const hyperv = async (): Promise<Kind> => {
  const dir = mkdtempSync(join(tmpdir(), 'ov-live-moves-'));
  const migration = (other: string) => ({
    ...{ enabled: true, authentication: 'Kerberos' },
    delegatesTo: [`Microsoft Virtual System Migration Service/${other}.corp.example`],
  });
  const facts = (name: string, other: string) => ({ name, domain: 'corp.example', migration: migration(other) });
  const hosts = [
    new HyperVHost(join(dir, 'one'), { facts: facts('HV1', 'HV2') }),
    new HyperVHost(join(dir, 'two'), { facts: facts('HV2', 'HV1') }),
  ] as const;
  hosts[0].peers.set('HV2', hosts[1]);
  hosts[1].peers.set('HV1', hosts[0]);
  for (const host of hosts) {
    host.moveTime = MOVE_TIME;
    await host.open();
  }
  const images = await new Images().open();
  const source = images.record(64 << 20);
  return {
    backend: 'hyperv',
    image: { path: await source.path(new AbortController().signal), url: source.url!, format: 'vhdx' },
    open: (which, cloudId) =>
      new HyperVDriver({
        ...{ cloudId, switches: { physnet1: 'External' }, generation: 2, dynamicMemoryRatio: 1 },
        nodes: [{ name: `HV${which + 1}`, open: new InProcess(hosts[which]).open, answerTimeout: 5_000 }],
      }),
    leftovers: (id, which) => leftovers(hosts[which], id),
    isMoving: () => hosts.some((host) => host.migrations.size > 0),
    stop: async () => {
      images.close();
      for (const host of hosts) await host.close();
      rmSync(dir, { recursive: true });
    },
  };
};

const kinds = [xenserver, hyperv, ...(noSimulator === null ? [vsphere] : [])];
if (noSimulator !== null) console.log(`vsphere is left out: ${noSimulator}`);

describe.each(kinds.map((start) => [start.name, start] as const))('a running server of %s', (_, start) => {
  let kind: Kind;
  let cloud: SimulatedCloud;
  let hosts: [SimulatedHost, SimulatedHost];
  let id: ServerId;
  let moves = 0;

  /** Real and simulated time pass together, until it holds. */
  const until = async (what: string, holds: () => Promise<boolean> | boolean, limit = 20_000): Promise<void> => {
    for (const end = Date.now() + limit; !(await holds()); await sleep(2)) {
      if (Date.now() > end) {
        const errors = cloud.errors.map(
          ({ where, error }) => `${where}: ${error} ${(error as { native?: string }).native ?? ''}`,
        );
        throw new Error([`not reached: ${what}`, JSON.stringify((await cloud.server(id)).fault), ...errors].join('\n'));
      }
      await cloud.clock.advance(ms(20));
    }
  };
  const over = async (work: Promise<unknown>) => {
    let isOver = false;
    const done = () => {
      isOver = true;
    };
    work.then(done, done);
    await until('it is over', () => isOver);
    await work;
  };

  beforeAll(async () => {
    kind = await start();
    cloud = await SimulatedCloud.start({ hosts: 0, gateways: 1, signsImages: false });
    const { path, url, format } = kind.image;
    await cloud.bus.respond(signImageUrl, async () => ({ url, format }));
    cloud.giveDisk = async () => path;
    const enrolled = [];
    for (const which of [0, 1] as const) {
      const open = (cloudId: string) => kind.open(which, cloudId);
      const host = await cloud.enroll(`${kind.backend}-${which + 1}`, { open });
      await over(cloud.newAgent(host).start());
      enrolled.push(host);
    }
    hosts = enrolled as [SimulatedHost, SimulatedHost];
    id = await cloud.create({ memory: 64 });
    await until('it runs', async () => (await cloud.server(id)).vmState === 'active');
  }, 60_000);
  afterAll(async () => {
    for (const host of cloud?.hosts ?? []) await over(host.agent.stop());
    cloud?.hosts.splice(0);
    await cloud?.stop();
    await kind?.stop();
  }, 60_000);

  const row = () => cloud.server(id);
  const here = async () => ((await row()).host === hosts[0].name ? 0 : 1) as 0 | 1;
  const types = async (after: number) =>
    (await cloud.store.readAll(after, 10_000)).filter((e) => e.stream === `server-${id}`).map((e) => e.type);
  const migrate = async (disks: 'copied' | 'shared' = 'copied') => {
    const migrationId = `0c2c7a4e-52a3-4b8e-8f4d-${`${++moves}`.padStart(12, '0')}` as MigrationId;
    const wanted = { serverId: id, migrationId, requestedHost: null, asAdmin: true, disks };
    await cloud.send({ type: 'liveMigrate', ...wanted, ...(disks === 'copied' ? { mayShare: true } : {}) });
    return migrationId;
  };
  /** Nothing of it is anywhere but where it runs. */
  const restsOn = async (which: 0 | 1) => {
    await until(`it rests on ${hosts[which].name}`, async () => {
      const { host, vmState, taskState, remains } = await row();
      return host === hosts[which].name && vmState === 'active' && taskState === null && !remains?.length;
    });
    const [{ placement }, guest] = [await row(), await hosts[which].driver.inspect(id)];
    expect(guest).toMatchObject({ stage: 'settled', power: 'running', mark: { attempt: placement!.attempt } });
    expect(await kind.leftovers(id, (1 - which) as 0 | 1)).toEqual([]);
    expect((await hosts[1 - which]!.driver.list()).map(({ mark }) => mark.serverId)).not.toContain(id);
    expect(await cloud.claims()).toBe(1);
  };
  /** An agent ends in the middle of whatever it does, and another takes its place. */
  const crash = async (host: SimulatedHost) => {
    await host.driver.close();
    await over(cloud.newAgent(host).start());
  };

  it('moves to the other host, by the events of every other backend', async () => {
    const from = await here();
    const [before] = (await cloud.store.readAll(0, 1_000_000)).slice(-1);
    await migrate();
    await until('it is on its way', () => kind.isMoving());
    expect((await row()).migration?.status).toBe('running');
    await restsOn((1 - from) as 0 | 1);
    expect((await row()).migration?.status).toBe('completed');
    expect(await types(before!.position)).toEqual([
      ...['ServerLiveMigrateRequested', 'ServerMigrationScheduled', 'ServerMigrationSent'],
      ...['ServerMigrationLanded', 'ServerSpawned', 'ServerMigrated', 'ServerGuestAbsent'],
    ]);
  }, 30_000);

  it.each(['source', 'target'] as const)(
    'arrives although the agent of its %s ends in the middle',
    async (who) => {
      const from = await here();
      await migrate();
      await until('it is on its way', () => kind.isMoving());
      await crash(hosts[who === 'source' ? from : 1 - from]!);
      await restsOn((1 - from) as 0 | 1);
      expect((await row()).migration?.status).toBe('completed');
    },
    30_000,
  );

  it('stays when its move is aborted', async () => {
    const from = await here();
    const migrationId = await migrate();
    await until('it is on its way', () => kind.isMoving());
    await cloud.send({ type: 'abortMigration', serverId: id, migrationId, asAdmin: true });
    await restsOn(from);
    expect((await row()).migration?.status).toBe('cancelled');
    await until('nothing moves any more', async () => !(await kind.isMoving()));
    await restsOn(from);
  }, 30_000);

  it('leaves nothing when it is deleted in the middle', async () => {
    await migrate();
    // What was aborted too late is on the other host already, and has nowhere to go.
    const hasGone = async () => (await row()).migration?.status === 'completed';
    await until('it is on its way', async () => (await kind.isMoving()) || hasGone());
    await cloud.delete(id);
    await until('it is gone', async () => {
      const { onHost, remains, released } = await row();
      return released && onHost === null && !remains?.length;
    });
    for (const which of [0, 1] as const) {
      expect(await kind.leftovers(id, which)).toEqual([]);
      expect((await hosts[which].driver.list()).map(({ mark }) => mark.serverId)).not.toContain(id);
    }
    expect(await cloud.claims()).toBe(0);
  }, 30_000);
});
