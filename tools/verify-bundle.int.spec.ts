import { execFile } from 'node:child_process';
import { appendFileSync, cpSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { CommandId } from '@omnivisor/contracts';
import { MemoryLeadership } from '@omnivisor/eventsourcing/memory';
import { MemorySealStore, newSeed, signCheckpoint, signerOf } from '@omnivisor/eventsourcing/seal';
import { MemoryVault } from '@omnivisor/eventsourcing/vault';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Evidence } from '../apps/api-gateway/src/audit/evidence/evidence.js';
import { EvidenceDesk } from '../apps/api-gateway/src/audit/evidence/evidence-desk.js';
import { memoryCore, userContext } from '../apps/api-gateway/src/core/gateway-core.fixtures.js';
import { BusClient } from '../apps/cli/src/client.js';
import { run } from '../apps/cli/src/program.js';

const program = fileURLToPath(new URL('./verify-bundle.mjs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'bundle-'));
const at = (name: string) => join(folder, name);
const lines: string[] = [];
let stop: () => Promise<void>;

/** A small cloud whose log is sealed, asked by the command line. */
beforeAll(async () => {
  const { core, world } = memoryCore([]);
  const sealing = { seals: new MemorySealStore(), leadership: new MemoryLeadership(), origin: 'omnivisor/spec' };
  const evidence = new Evidence(core, new MemoryVault(), { ...sealing, keyDays: 90, places: [] }, (where, error) => {
    throw new Error(where, { cause: error });
  });
  const desk = new EvidenceDesk(core, evidence);
  await evidence.start();
  await desk.start();
  stop = async () => {
    await desk.stop();
    await evidence.stop();
  };
  const omnivisor = async (...argv: string[]) => {
    lines.length = 0;
    const output = { line: (text: string) => void lines.push(text), error: (text: string) => void lines.push(text) };
    const code = await run(argv, output, async () => ({
      ask: new BusClient(world.bus).ask.bind(new BusClient(world.bus)),
      close: async () => {},
    }));
    if (code !== 0) throw new Error(lines.join('\n'));
    return lines.join('\n');
  };
  const grow = async (count: number) => {
    for (let n = 0; n < count; n++) {
      const context = userContext(`c${n}-${world.store.head}`);
      await world.store.append(`flavor-${world.ids.uuid()}`, -1, [
        {
          type: 'Happened',
          data: { n, text: 'two\u2028lines\r' },
          schemaVersion: 1,
          context: { ...context, commandId: world.ids.uuid() as CommandId },
        },
      ]);
    }
    await world.clock.advance(2_000 as never);
  };
  await grow(20);
  writeFileSync(at('old.note'), `${await omnivisor('audit', 'checkpoint')}\n`);
  await omnivisor('audit', 'export', '--out', at('old'));
  await omnivisor('audit', 'key', '--rotate');
  await grow(30);
  writeFileSync(at('keys'), `# trusted\n${await omnivisor('audit', 'key')}\n`);
  writeFileSync(at('latest.note'), `${await omnivisor('audit', 'checkpoint')}\n`);
  await omnivisor('audit', 'export', '--out', at('whole'));
  expect(await omnivisor('audit', 'verify', '--key', at('keys'), '--checkpoint', at('old.note'))).toMatch(
    /^ok: 52 events/,
  );
  expect(await omnivisor('audit', 'verify', '--consistent', at('old.note'), at('latest.note'))).toMatch(/^ok/);
  expect(await omnivisor('audit', 'verify', '--event', '7')).toMatch(/^event 6 is in the sealed log/);
  expect(await omnivisor('audit', 'verify', '--from', '10', '--count', '5')).toMatch(/^ok: 5 events/);
  await expect(omnivisor('audit', 'export', '--out', at('whole'))).rejects.toThrow('is there already');
});
afterAll(async () => {
  await stop();
  rmSync(folder, { recursive: true });
});

const check = (bundle: string, ...options: string[]) =>
  new Promise<{ code: number; said: string }>((resolve) => {
    const args = [program, at(bundle), '--key', at('keys'), ...options];
    execFile(process.execPath, args, (error, stdout, stderr) =>
      resolve({ code: (error?.code as unknown as number) ?? 0, said: `${stdout}${stderr}`.trim() }),
    );
  });

/** A copy of the whole bundle whose events somebody edited. */
const edited = (name: string, edit: (events: string[]) => void): string => {
  cpSync(at('whole'), at(name), { recursive: true });
  const file = join(at(name), 'events-000000000000.jsonl');
  const events = readFileSync(file, 'utf8').split('\n').slice(0, -1);
  edit(events);
  writeFileSync(file, events.map((line) => `${line}\n`).join(''));
  return name;
};

describe('an exported log', () => {
  it('is found whole, also against checkpoints that had left', async () => {
    expect(await check('whole', '--checkpoint', at('old.note'))).toEqual({
      code: 0,
      said: 'ok: 52 events of omnivisor/spec are those that were sealed',
    });
  });

  it('is found changed, dropped, swapped, put into or cut, at the first event', async () => {
    const edits: Record<string, [number, (events: string[]) => void]> = {
      flipped: [21, (e) => void e.splice(30, 1, e[30]!.replace('Happened', 'happened'))],
      'flipped within the older checkpoint': [0, (e) => void e.splice(3, 1, e[3]!.replace('lines', 'Lines'))],
      dropped: [12, (e) => void e.splice(12, 1)],
      swapped: [40, (e) => void e.splice(40, 2, e[41]!, e[40]!)],
      'put in': [8, (e) => void e.splice(7, 0, e[7]!)],
      truncated: [50, (e) => void e.splice(50)],
      lengthened: [52, (e) => void e.push(e[51]!.replace('"ordinal":51', '"ordinal":52'))],
      emptied: [0, (e) => void e.splice(0)],
    };
    for (const [name, [ordinal, edit]] of Object.entries(edits)) {
      const { code, said } = await check(edited(name, edit), '--checkpoint', at('old.note'));
      expect([name, code, said]).toEqual([
        name,
        1,
        expect.stringMatching(new RegExp(`^NOT AS SEALED: .*event.* ${ordinal} `)),
      ]);
    }
  });

  it('is found cut at an older checkpoint by a later one', async () => {
    expect(await check('old')).toMatchObject({ code: 0 });
    expect(await check('old', '--checkpoint', at('latest.note'))).toEqual({
      code: 1,
      said: expect.stringContaining('event 21 is missing'),
    });
  });

  it('is compared with all checkpoints of a day', async () => {
    const day = (...notes: string[]) =>
      writeFileSync(at('day.jsonl'), notes.map((note) => `${JSON.stringify({ size: 1, note })}\n`).join(''));
    const [old, latest] = ['old.note', 'latest.note'].map((name) => readFileSync(at(name), 'utf8').trimEnd()) as [
      string,
      string,
    ];
    day(`${old}\n`, `${latest}\n`);
    expect(await check('whole', '--checkpoint', at('day.jsonl'))).toMatchObject({ code: 0 });
    expect(await check('old', '--checkpoint', at('day.jsonl'))).toMatchObject({ code: 1 });
    day();
    expect(await check('whole', '--checkpoint', at('day.jsonl'))).toMatchObject({ code: 1 });
    day(`${old}\n`, 'cut off');
    expect(await check('whole', '--checkpoint', at('day.jsonl'))).toEqual({
      code: 1,
      said: expect.stringContaining('line 2 of'),
    });
  });

  it('is compared with no checkpoint that a key of another log signed in its name', async () => {
    const thief = signerOf('omnivisor/other', newSeed());
    const head = {
      origin: 'omnivisor/spec',
      size: 3,
      root: Buffer.alloc(32),
      position: 3,
      recordedAt: '2026-01-01T00:00:00.000Z',
    };
    writeFileSync(at('forged.note'), signCheckpoint(head as never, [thief]).note);
    writeFileSync(at('other.note'), signCheckpoint({ ...head, origin: 'omnivisor/other' } as never, [thief]).note);
    const own = readFileSync(at('keys'), 'utf8');
    writeFileSync(at('keys'), `${own}${thief.verifier.text}\n`);
    const said = async (name: string) => (await check('whole', '--checkpoint', at(name))).said;
    expect(await said('forged.note')).toContain('not signed by a key you trust');
    expect(await said('other.note')).toContain('is of another log, omnivisor/other');
    writeFileSync(at('keys'), own);
  });

  it('is refused with a changed checkpoint, a foreign key, or half a line', async () => {
    const forged = edited('forged', () => {});
    const note = join(at(forged), 'checkpoint.note');
    writeFileSync(note, readFileSync(note, 'utf8').replace(/^52$/m, '51'));
    expect(await check(forged)).toMatchObject({ code: 1, said: expect.stringContaining('wrong signature') });
    writeFileSync(at('other'), 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\n');
    renameSync(at('keys'), at('keys.kept'));
    renameSync(at('other'), at('keys'));
    expect(await check('whole')).toMatchObject({
      code: 1,
      said: expect.stringContaining('not signed by a key you trust'),
    });
    renameSync(at('keys.kept'), at('keys'));
    appendFileSync(join(at(edited('half', () => {})), 'events-000000000000.jsonl'), '{');
    expect(await check('half')).toMatchObject({ code: 1, said: expect.stringContaining('in the middle of a line') });
    expect(await check('nowhere')).toMatchObject({ code: 2 });
  });
});
