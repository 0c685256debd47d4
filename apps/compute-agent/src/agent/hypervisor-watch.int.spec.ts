import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { hostBus } from '@omnivisor/contracts';
import { SystemClock } from '@omnivisor/platform/ports';
import { MemoryBus } from '@omnivisor/platform/testing';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { XenServerDriver } from '../drivers/xenserver/xenserver.driver.js';
import { hostFacts } from '../host/host-facts.js';
import { noImageBytes } from '../images/image-cache.js';
import { SwitchNetworkPlug } from '../network/switch-network-plug.js';
import { Agent } from './agent.js';

const PROGRAM = fileURLToPath(new URL('../../../../tools/doubles/xapi/main.mjs', import.meta.url));

/** A pool that is a process of its own, and can be killed. */
class KillablePool {
  readonly folder = mkdtempSync(join(tmpdir(), 'dying-pool-'));
  private child: ChildProcess | undefined;
  url = '';

  async start(): Promise<void> {
    const settings = join(this.folder, 'settings.json');
    const port = this.url === '' ? 0 : Number(new URL(this.url).port);
    writeFileSync(settings, JSON.stringify({ stateDir: join(this.folder, 'pool'), durable: true, port }));
    this.child = spawn(process.execPath, [PROGRAM, settings], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = await once(createInterface(this.child.stdout!), 'line');
    this.url = JSON.parse(line).url;
  }

  async kill(): Promise<void> {
    const { child } = this;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
}

const bus = new MemoryBus(new SystemClock());
let pool: KillablePool;
let agent: Agent;
const told: { health: string; reason: string; facts: boolean }[] = [];

beforeEach(async () => {
  pool = new KillablePool();
  await pool.start();
  const driver = new XenServerDriver({
    cloudId: 'c',
    access: { urls: [pool.url], user: 'root', password: 'secret', trust: { kind: 'authorities', pem: null } },
    stateDir: join(pool.folder, 'agent'),
    ...{ member: null, repository: null, template: null, physicalNetworks: {}, createVlans: false },
  });
  const first = await driver.probe(AbortSignal.timeout(20_000));
  expect(first).toMatchObject({ health: 'healthy' });
  await bus.respond(hostBus.hello, async () => ({ session: 1, cloudId: 'c', hostName: 'h' }));
  await bus.respond(hostBus.beat, async () => ({ changedAt: 0 }));
  await bus.respond(hostBus.quarantine, async () => ({}));
  await bus.respond(hostBus.desired, async () => ({
    ...{ version: 1, whole: true, servers: [], networks: [], groups: [], discard: [] },
  }));
  await bus.respond(hostBus.probed, async ({ probes: [probe], facts }) => {
    told.push({ health: probe!.health, reason: probe!.reason, facts: facts !== undefined });
    return {};
  });
  agent = new Agent({
    ...{ hostId: 'h', cloudId: 'c', clock: new SystemClock(), bus, driver },
    network: new SwitchNetworkPlug(),
    images: noImageBytes,
    facts: async (report = first) => {
      const { health, reason, version } = report;
      const probes = [{ backend: 'xenserver' as const, health, reason, version }];
      return hostFacts(driver, report, probes, { node: 'h', hostIp: '', machineId: 'm', bootId: 'b' });
    },
    onError: () => {},
    random: () => 0.5,
  });
  await agent.start();
}, 30_000);
afterEach(async () => {
  await agent?.stop();
  await pool?.kill();
  rmSync(pool.folder, { recursive: true, force: true });
});

/** Seconds until it holds. */
const secondsUntil = async (holds: () => boolean, limit: number): Promise<number> => {
  const from = Date.now();
  while (!holds()) {
    if (Date.now() - from > limit * 1_000) throw new Error(`not within ${limit} s: ${JSON.stringify(told)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return (Date.now() - from) / 1_000;
};

it('sees within 10 s that its pool has died, and by itself that it is back', async () => {
  await pool.kill();
  expect(await secondsUntil(() => told.at(-1)?.health === 'unhealthy', 12)).toBeLessThan(10);
  expect(told.at(-1)?.reason).toMatch(/answer/);
  await pool.start();
  await secondsUntil(() => told.at(-1)?.health === 'healthy', 40);
  expect(told.at(-1)).toMatchObject({ facts: true });
}, 60_000);
