import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SystemClock } from '@omnivisor/platform/ports';
import { MemoryBus } from '@omnivisor/platform/testing';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { AgentConfig } from '../config.js';
import { never } from '../drivers/conformance/stage.js';
import { openBest } from '../drivers/open-best.js';
import { PoolUnderTest } from '../drivers/xenserver/testing/pool-under-test.js';
import { hostFacts } from '../host/host-facts.js';
import { noImageBytes } from '../images/image-cache.js';
import { FakeNetworkPlug } from '../network/index.js';
import { cloudId, Desk, id } from './agent.fixtures.js';
import { Agent } from './agent.js';

const folder = mkdtempSync(join(tmpdir(), 'kept-backend-'));
const clock = new SystemClock();
const bus = new MemoryBus(clock);
const desk = new Desk();
let pool: PoolUnderTest;

beforeEach(async () => {
  pool = await PoolUnderTest.start();
  writeFileSync(join(folder, 'password'), 'secret');
  await desk.open(bus);
  const driver = pool.open({ cloudId });
  const mark = { cloudId, serverId: id(1), attempt: 1, build: 0 };
  await driver.spawn(pool.guest(id(1), { mark }), never);
  await driver.close();
  desk.want(1, { spawned: true });
});
afterEach(async () => {
  await pool.stop();
  rmSync(folder, { recursive: true });
});

/** Starts the agent and ends it once it has looked at the server. @returns what it drives; null when it has found nothing */
const session = async (): Promise<string | null> => {
  const opened = await openBest(
    AgentConfig.parse({
      OMNIVISOR_NATS_URL: 'nats://127.0.0.1:1',
      OMNIVISOR_HOST_CREDS: '/nonexistent',
      OMNIVISOR_HOST_ID: id(8),
      OMNIVISOR_CLOUD_ID: cloudId,
      OMNIVISOR_STATE_DIR: folder,
      OMNIVISOR_BACKENDS: 'xenserver,fake',
      OMNIVISOR_XENSERVER_URLS: pool.double.url(),
      OMNIVISOR_XENSERVER_MEMBER: 'xs1',
      OMNIVISOR_XENSERVER_USER: 'root',
      OMNIVISOR_XENSERVER_PASSWORD_FILE: join(folder, 'password'),
    }),
  );
  const { driver, probes } = opened;
  if (!driver) return null;
  const network = new FakeNetworkPlug();
  const told = { node: 'h', hostIp: '', machineId: 'm', bootId: 'b' };
  const agent = new Agent({
    ...{ hostId: 'h', cloudId, clock, bus, driver, network, images: noImageBytes },
    facts: (report = opened.report) => hostFacts(driver, report, probes, told),
    onError: () => {},
    random: Math.random,
  });
  await agent.start();
  // Its ports come after the guest.
  await vi.waitFor(async () => expect([...desk.facts, ...(await network.list())]).not.toEqual([]));
  await agent.stop();
  return driver.backend;
};

it('does not call its guests missing when its agent starts while their hypervisor is away', async () => {
  expect(await session()).toBe('xenserver');
  pool.double.cutMember(0, 'refuse');
  expect(await session()).toBeNull();
  expect(desk.facts).toEqual([]);
  pool.double.cutMember(0, null);
  expect(await session()).toBe('xenserver');
  expect(desk.facts).toEqual([]);
});
