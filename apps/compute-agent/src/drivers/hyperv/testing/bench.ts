import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mib, ServerId } from '@omnivisor/contracts';
import { HyperVHost } from '../../../../../../tools/doubles/hyperv/host.mjs';
import { rootFrom, testGuest } from '../../common/test-guest.js';
import type { GuestSpec } from '../../hypervisor-driver.js';
import { HyperVDriver } from '../hyperv.driver.js';
import type { NodeOptions } from '../node.js';
import { Images, InProcess } from './double.js';

const cloudId = 'test-cloud';
export const never = new AbortController().signal;

/** Prepared to send guests to these hosts. */
export const migratesTo = (...hosts: readonly string[]) => ({
  enabled: true,
  authentication: 'Kerberos',
  delegatesTo: hosts.map((host) => `Microsoft Virtual System Migration Service/${host}`),
});

/** Hosts and drivers that go when a test ends. */
export class Bench {
  readonly dir = mkdtempSync(join(tmpdir(), 'hyperv-bench-'));
  readonly images = new Images();
  private readonly hosts: HyperVHost[] = [];
  private readonly drivers: HyperVDriver[] = [];

  static async open(): Promise<Bench> {
    const bench = new Bench();
    await bench.images.open();
    return bench;
  }

  /** A host, a driver of it, and a guest that is still to be made. */
  static async guestOn(facts: object = {}, node: Partial<NodeOptions> = {}) {
    const bench = await Bench.open();
    const host = await bench.host(facts);
    return { bench, host, driver: bench.driver(host, node), spec: bench.guest() };
  }

  async host(facts: object = {}): Promise<HyperVHost> {
    const host = await new HyperVHost(join(this.dir, `host-${this.hosts.length}`), { facts }).open();
    for (const other of this.hosts) {
      host.peers.set(other.facts.name.toUpperCase(), other);
      other.peers.set(host.facts.name.toUpperCase(), host);
    }
    this.hosts.push(host);
    return host;
  }

  driver(host: HyperVHost, node: Partial<NodeOptions> = {}): HyperVDriver {
    const driver = new HyperVDriver({
      cloudId,
      nodes: [{ name: host.facts.name, open: new InProcess(host).open, answerTimeout: 2_000, ...node }],
      ...{ switches: { physnet1: 'External' }, generation: 2, dynamicMemoryRatio: 1 },
    });
    this.drivers.push(driver);
    return driver;
  }

  guest(change: Partial<GuestSpec> = {}): GuestSpec & { id: ServerId } {
    const id = ServerId.parse(randomUUID());
    const spec = testGuest(id, cloudId, { disks: rootFrom(this.images.record(64 << 20)), ...change });
    return { ...spec, id, flavor: { ...spec.flavor, memory: mib(64) } };
  }

  async close(): Promise<void> {
    for (const driver of this.drivers) await driver.close();
    for (const host of this.hosts) await host.close();
    this.images.close();
    rmSync(this.dir, { recursive: true });
  }
}
