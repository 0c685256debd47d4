import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MemoryEventStore } from '../memory/index.js';
import { migrate, PostgresEventStore } from '../postgres/index.js';
import { contextOf, newEvent } from '../testing/event-store-suite.js';
import { startTestPostgres, type TestPostgres } from '../testing/index.js';
import { newSeed, signerOf } from './note.js';
import { PostgresSealStore } from './postgres-seal-store.js';
import { SealBroken } from './seal-broken.js';
import { Sealer } from './sealer.js';
import { verifyLog, verifyRange } from './verify.js';

const roles = [
  { service: 'api-gateway', role: 'omnivisor_gateway', schema: 'gateway', password: 'g' },
  { service: 'scheduler', role: 'omnivisor_scheduler', schema: 'scheduler', password: 's' },
];
const signer = signerOf('cloud.example/log', newSeed());
const keys = [signer.verifier];
let id = 0;
const ids = { ordered: () => `00000000-0000-7000-8000-${String(id++).padStart(12, '0')}` };
const timer = { after: () => () => {} };

let postgres: TestPostgres;
let url: string;
let owner: pg.Client;
let store: PostgresEventStore;
let seals: PostgresSealStore;

beforeAll(async () => {
  postgres = await startTestPostgres();
  url = await postgres.database();
  await migrate(url, roles);
  owner = new pg.Client({ connectionString: url });
  await owner.connect();
  store = new PostgresEventStore({ url, ids });
  seals = new PostgresSealStore(postgres.as(url, 'omnivisor_gateway', 'g'));
  for (let n = 0; n < 40; n++) await store.append(`quota-${n}`, -1, [newEvent('Happened', { n, text: `№ ${n}` })]);
  await seal();
  for (let n = 0; n < 300; n += 3)
    await store.append(
      `flavor-${n}`,
      -1,
      Array.from({ length: 3 }, () => newEvent('Happened', { n }, contextOf(`c${n}`))),
    );
  await seal();
});
afterAll(async () => {
  await owner?.end();
  await store?.close();
  await seals?.close();
  await postgres?.stop();
});

const seal = async (errors: unknown[] = []) => {
  const sealer = new Sealer({
    store,
    seals,
    origin: 'cloud.example/log',
    signers: async () => [signer],
    clock: timer,
    sealed: () => {},
    onError: (error) => errors.push(error),
  });
  sealer.start();
  await sealer.stop();
  expect(errors).toEqual([]);
};

/** Changes the log behind everybody's back, as its owner can, and puts it back. */
const tampered = async (sql: string, check: () => Promise<void>): Promise<void> => {
  await owner.query('begin');
  await owner.query('alter table log.event disable trigger user');
  await owner.query('create temporary table kept on commit drop as select * from log.event');
  await owner.query(sql);
  await owner.query('alter table log.event enable trigger user');
  // What others see: a copy that is committed, then the truth again.
  const { rows } = await owner.query('select * from kept');
  await owner.query('commit');
  try {
    await check();
  } finally {
    await owner.query('begin');
    await owner.query('alter table log.event disable trigger user');
    await owner.query('delete from log.event');
    await owner.query('insert into log.event select * from json_populate_recordset(null::log.event, $1)', [
      JSON.stringify(rows),
    ]);
    await owner.query('alter table log.event enable trigger user');
    await owner.query('commit');
  }
};

describe('seals in PostgreSQL', () => {
  it('hold what the log is', async () => {
    expect(await verifyLog({ store, seals, keys })).toMatchObject({
      ok: true,
      events: 340,
      checkpoints: 2,
      unsealed: 0,
    });
    let proven = 0;
    for await (const { ok } of verifyRange({ store, seals, keys }, 100, 200)) proven += ok ? 1 : 0;
    expect(proven).toBe(200);
    expect(await seals.upTo('size', 339)).toMatchObject({ size: 40, position: 40 });
    expect(await seals.upTo('position', 39)).toBeUndefined();
  });

  it('find what the owner of the database changed in the table', async () => {
    const cases: readonly (readonly [sql: string, firstBad: number])[] = [
      [`update log.event set payload = replace(payload, '17', '18') where position = 18`, 17],
      [`update log.event set payload = payload || ' ' where position = 200`, 199],
      [`update log.event set meta = replace(meta, 'spec', 'evil') where position = 1`, 0],
      [`update log.event set type = 'Other' where position = 340`, 339],
      [`update log.event set recorded_at = recorded_at - interval '1 millisecond' where position = 5`, 4],
      [`update log.event set id = gen_random_uuid() where position = 7`, 6],
      [`delete from log.event where position = 33`, 32],
      [`delete from log.event where position > 300`, 300],
      [`delete from log.event where position = 1`, 0],
      [
        `delete from log.event where position = 20; update log.event set position = -position where position > 20;
         update log.event set position = -position - 1 where position < 0`,
        19,
      ],
      [
        `update log.event set position = -1 where position = 50; update log.event set position = 50 where position = 51;
         update log.event set position = 51 where position = -1`,
        49,
      ],
      [
        `update log.event set position = -position where position > 60;
         update log.event set position = 1 - position where position < 0;
         insert into log.event values (61, 'quota-x', 0, gen_random_uuid(), 'Happened', 'x', 1, '{}', '{}', '2026-01-01')`,
        60,
      ],
    ];
    for (const [sql, firstBad] of cases)
      await tampered(sql, async () => {
        expect([sql, await verifyLog({ store, seals, keys })]).toMatchObject([sql, { ok: false, firstBad }]);
      });
    expect(await verifyLog({ store, seals, keys })).toMatchObject({ ok: true });
  });

  it('are added to by the one who seals, and taken back by nobody', async () => {
    const other = new PostgresSealStore(postgres.as(url, 'omnivisor_scheduler', 's'));
    const latest = (await seals.latest())!;
    await expect(other.seal({ ...latest, size: 999 }, [])).rejects.toThrow('may not seal');
    expect(await other.latest()).toEqual(latest);
    await other.close();
    const gateway = new pg.Client({ connectionString: postgres.as(url, 'omnivisor_gateway', 'g') });
    await gateway.connect();
    for (const sql of ['delete from log.tile', 'update log.checkpoint set note = note', 'truncate log.checkpoint'])
      await expect(gateway.query(sql)).rejects.toThrow(/permission denied/);
    await gateway.end();
    for (const sql of ['delete from log.tile', 'update log.checkpoint set note = note', 'truncate log.checkpoint'])
      await expect(owner.query(sql)).rejects.toThrow('append-only');
  });

  it('only grow', async () => {
    const latest = (await seals.latest())!;
    const tile = (await seals.tile(0, 1))!;
    const broken = Buffer.concat([Buffer.alloc(32), tile.subarray(32), Buffer.alloc(32)]);
    await expect(seals.seal(latest, [{ level: 0, index: 1, hashes: broken }])).rejects.toBeInstanceOf(SealBroken);
    // A slower sealer has less of the same.
    await seals.seal(latest, [{ level: 0, index: 1, hashes: tile.subarray(0, 64) }]);
    expect(await seals.tile(0, 1)).toEqual(tile);
  });

  it('are the same from two sealers at once, and over another store', async () => {
    const before = (await seals.latest())!.size;
    const appending = Promise.all(
      Array.from({ length: 60 }, (_, n) => store.append(`project-${n}`, -1, [newEvent('Happened', { n })])),
    );
    await Promise.all([seal(), seal(), appending]);
    await Promise.all([seal(), seal()]);
    expect((await seals.latest())!.size).toBe(before + 60);
    expect(await verifyLog({ store, seals, keys })).toMatchObject({ ok: true, unsealed: 0 });
    const empty = new MemoryEventStore({ now: () => '2026-01-01T00:00:00.000Z' as never }, ids);
    expect(await verifyLog({ store: empty, seals, keys })).toMatchObject({ ok: false, firstBad: 0 });
  });
});
