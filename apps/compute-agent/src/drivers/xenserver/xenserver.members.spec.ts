import { describe, expect, it } from 'vitest';
import type { PoolUnderTest } from './testing/pool-under-test.js';
import { never, Pools } from './testing/pools.js';

const pools = new Pools();
const copied = { disks: 'copied', attached: [] } as const;
const MIB = 2 ** 20;

const setHost = ({ double }: PoolUnderTest, n: number, change: Record<string, unknown>) =>
  double.db.set('host', double.host(n), change);
const setMetrics = ({ double }: PoolUnderTest, n: number, change: Record<string, unknown>) =>
  double.db.set('host_metrics', double.db.get('host', double.host(n)).metrics, change);
const setPlugged = ({ double: { db } }: PoolUnderTest, ref: string, on: boolean) => {
  for (const [pbd, { host: at }] of db.all('PBD')) if (at === ref) db.set('PBD', pbd, { currently_attached: on });
};

describe('a member that does not live', () => {
  it('leaves open what its guests do', async () => {
    const own = await pools.start();
    const whole = pools.drive({ member: null }, own);
    const [lost, other] = [await pools.running(whole, {}, own), await pools.running(whole, {}, own)];
    for (const [n, { id }] of [lost, other].entries()) own.double.moveVm(pools.recordOf(id, own).uuid, n);
    setMetrics(own, 0, { live: false });
    const { counts } = own.double.faults;
    counts.clear();
    const powers = Object.fromEntries((await whole.list()).map(({ mark, power }) => [mark.serverId, power]));
    expect(powers).toEqual({ [lost.id]: 'noState', [other.id]: 'running' });
    expect([...counts.values()]).toEqual([1, 1]);
    expect(await whole.inspect(lost.id)).toMatchObject({ power: 'noState', stage: 'settled', mark: lost.mark });
    setMetrics(own, 0, { live: true });
    expect(await whole.inspect(lost.id)).toMatchObject({ power: 'running' });
  });
});

describe('a pool that a guest comes to', () => {
  it('lets it in by a member that lives, takes guests, sees the storage and has the memory', async () => {
    const own = await pools.start();
    const [source, whole] = [pools.drive(), pools.drive({ member: null }, own)];
    const spec = await pools.running(source);
    const offer = await source.liveMigration.offer(spec.id);
    const member = async () => {
      const ticket = JSON.parse(await whole.liveMigration.receive(spec, offer, copied, never));
      return ticket.dest.host;
    };
    const faults = [
      ['unavailable', (n: number, is: boolean) => setHost(own, n, { enabled: !is })],
      ['unavailable', (n: number, is: boolean) => setMetrics(own, n, { live: !is })],
      ['unavailable', (n: number, is: boolean) => setPlugged(own, own.double.host(n), !is)],
      ['noResources', (n: number, is: boolean) => setMetrics(own, n, { memory_total: (is ? 1_550 : 16_384) * MIB })],
    ] as const;
    for (const [code, set] of faults) {
      for (const n of [0, 1]) {
        set(n, true);
        expect(await member()).toBe(own.double.host(1 - n));
        set(n, false);
      }
      await whole.liveMigration.cancel(spec.id);
      for (const n of [0, 1]) set(n, true);
      await expect(member()).rejects.toMatchObject({ code });
      for (const n of [0, 1]) set(n, false);
      expect(await own.leftovers(spec.id, 0)).toEqual([]);
    }
    await source.destroy(spec.id);
  });
});
