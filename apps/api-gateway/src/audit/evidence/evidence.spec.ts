import { ms } from '@omnivisor/contracts';
import { MemoryLeadership, MemorySeat } from '@omnivisor/eventsourcing/memory';
import { type Checkpoint, MemorySealStore, openCheckpoint, verifyLog } from '@omnivisor/eventsourcing/seal';
import { MemoryVault } from '@omnivisor/eventsourcing/vault';
import { beforeEach, describe, expect, it } from 'vitest';
import { memoryWorld, userContext } from '../../core/gateway-core.fixtures.js';
import { GatewayCore } from '../../core/gateway-core.js';
import { Evidence } from './evidence.js';

let world: ReturnType<typeof memoryWorld>;
let seals: MemorySealStore;
let vault: MemoryVault;
let seat: MemorySeat;
let left: Checkpoint[];
let errors: unknown[];
beforeEach(() => {
  world = memoryWorld();
  [seals, vault, seat, left, errors] = [new MemorySealStore(), new MemoryVault(), new MemorySeat(), [], []];
});

const replica = async (keyDays = 90) => {
  const core = new GatewayCore(world, [], () => {});
  const place = { name: 'place', every: ms(0), put: async (c: Checkpoint) => void left.push(c) };
  const ports = { seals, leadership: new MemoryLeadership(seat), origin: 'omnivisor/spec', keyDays, places: [place] };
  const evidence = new Evidence(core, vault, ports, (_, error) => errors.push(error));
  await evidence.start();
  return evidence;
};
const append = (stream: string) =>
  world.store.append(stream, -1, [{ type: 'Happened', data: {}, schemaVersion: 1, context: userContext() }]);

describe('evidence', () => {
  it('is sealed within a second of the change, and leaves', async () => {
    const evidence = await replica();
    await append('flavor-1');
    await world.clock.advance(ms(2_100));
    const keys = await evidence.keys();
    expect(await verifyLog({ store: world.store, seals, keys })).toMatchObject({ ok: true, events: 2, unsealed: 0 });
    expect(openCheckpoint(left.at(-1)!.note, keys)).toMatchObject({ origin: 'omnivisor/spec', size: 2 });
    expect(errors).toEqual([]);
    await evidence.stop();
  });

  it('is sealed by one replica, and by the next when that one ends', async () => {
    const [first, second] = [await replica(), await replica()];
    await append('flavor-1');
    await world.clock.advance(ms(5_000));
    const before = left.length;
    await first.stop();
    await append('flavor-2');
    await world.clock.advance(ms(15_000));
    expect(left.length).toBeGreaterThan(before);
    const keys = await second.keys();
    expect(keys).toHaveLength(1);
    expect(await verifyLog({ store: world.store, seals, keys })).toMatchObject({ ok: true, unsealed: 0 });
    await second.stop();
  });

  it('goes over to a new key when one is old; either of the two opens a checkpoint', async () => {
    const evidence = await replica(1);
    await append('flavor-1');
    await world.clock.advance(ms(5_000));
    await world.clock.advance(ms(25 * 3_600_000));
    await append('flavor-2');
    await world.clock.advance(ms(5_000));
    const keys = await evidence.keys();
    expect(keys).toHaveLength(2);
    for (const key of keys) expect(openCheckpoint(left.at(-1)!.note, [key]).size).toBe(4);
    await evidence.rotate();
    await append('flavor-3');
    await world.clock.advance(ms(5_000));
    expect(() => openCheckpoint(left.at(-1)!.note, [keys[1]!])).toThrow('no key that is known');
    expect(openCheckpoint(left.at(-1)!.note, [keys[0]!]).size).toBe(6);
    expect(await verifyLog({ store: world.store, seals, keys: await evidence.keys() })).toMatchObject({ ok: true });
    await evidence.stop();
  });

  it('keeps private keys in the vault, and none of them in the log', async () => {
    const evidence = await replica();
    await append('flavor-1');
    await world.clock.advance(ms(5_000));
    const log = JSON.stringify(await world.store.readAll(0, 100));
    const [added] = (await world.store.readStream('sealing-keys')) as unknown as [
      { data: { secret: { ref: string } } },
    ];
    const seed = await vault.get(added.data.secret.ref);
    for (const encoding of ['hex', 'base64', 'base64url'] as const) expect(log).not.toContain(seed.toString(encoding));
    await evidence.stop();
  });
});
