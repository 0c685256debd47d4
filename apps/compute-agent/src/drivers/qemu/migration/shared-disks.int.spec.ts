import { randomUUID } from 'node:crypto';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ms, ServerId } from '@omnivisor/contracts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { GuestSpec, ReceiveOptions } from '../../hypervisor-driver.js';
import { QemuDriver } from '../qemu.driver.js';
import { CLOUD, TinyGuests } from '../testing/tiny-guests.js';

const never = new AbortController().signal;

describe('a QEMU guest on storage that its hosts share', () => {
  const [here, there, shared] = ['here', 'there', 'shared'].map((name) => mkdtempSync(join(tmpdir(), `ov-${name}-`)));
  const tiny = new TinyGuests([here!, there!]);
  const open = (stateDir: string) => new QemuDriver({ stateDir, cloudId: CLOUD, accel: 'tcg', sharedDisks: shared! });
  let [source, target]: QemuDriver[] = [];
  let spec: GuestSpec;

  beforeAll(() => {
    [source, target] = [open(here!), open(there!)];
  });
  beforeEach(async () => {
    spec = tiny.spec(ServerId.parse(randomUUID()));
    await source!.spawn(spec, never);
    await tiny.inside.up(spec.mark.serverId);
  });
  afterEach(async () => {
    for (const driver of [source!, target!]) await driver.destroy(spec.mark.serverId);
    expect(existsSync(join(shared!, spec.mark.serverId))).toBe(false);
  });
  afterAll(async () => {
    for (const driver of [source, target]) await driver?.close();
    for (const dir of [here!, there!, shared!]) rmSync(dir, { recursive: true });
  });

  const move = async (from: QemuDriver, to: QemuDriver, disks: ReceiveOptions['disks']) => {
    const { serverId: id } = spec.mark;
    const offer = await from.liveMigration!.offer(id);
    const ticket = await to.liveMigration!.receive(spec, offer, { disks, attached: [] }, never);
    await from.liveMigration!.send(id, ticket, { signal: never });
    await to.liveMigration!.accept(id);
  };

  it('has new disks there after a rebuild, also one that was cut off between two renames, and moves with them', async () => {
    const { serverId: id } = spec.mark;
    const rebuilt = (build: number) => ({ ...spec, mark: { ...spec.mark, build } });
    await tiny.inside.disk!.write(id, 0, 'A');
    await source!.rebuilding!.rebuild(rebuilt(1), never);
    await tiny.inside.up(id);
    expect(await tiny.inside.disk!.read(id, 0)).not.toBe('A');
    expect(readdirSync(shared!)).toEqual([id]);
    await tiny.inside.disk!.write(id, 0, 'B');
    await source!.powerOff(id, ms(0));
    const [place, file] = [join(shared!, id), join(here!, 'guests', id, 'guest.json')];
    renameSync(place, `${place}.next`);
    const definition = JSON.parse(readFileSync(file, 'utf8')) as object;
    writeFileSync(file, JSON.stringify({ ...definition, change: 'rebuild' }));
    await source!.rebuilding!.rebuild(rebuilt(1), never);
    await tiny.inside.up(id);
    expect(await tiny.inside.disk!.read(id, 0)).toBe('B');
    await move(source!, target!, 'shared');
    expect(await tiny.inside.disk!.read(id, 0)).toBe('B');
  });

  it('leaves nothing there when its disks were copied', async () => {
    const { serverId: id } = spec.mark;
    await tiny.inside.disk!.write(id, 0, 'C');
    await move(source!, target!, 'copied');
    await source!.destroy(id);
    expect(existsSync(join(shared!, id))).toBe(false);
    expect(await tiny.inside.disk!.read(id, 0)).toBe('C');
  });

  it('leaves its disks there when both hosts have it and nobody says otherwise', async () => {
    const { serverId: id } = spec.mark;
    await tiny.inside.disk!.write(id, 0, 'A');
    await move(source!, target!, 'auto');
    await source!.destroy(id);
    expect(realpathSync(join(there!, 'guests', id, 'disks'))).toBe(join(shared!, id));
    expect(await tiny.inside.disk!.read(id, 0)).toBe('A');
  });

  it('goes nowhere with older disks that are still there after its own were copied', async () => {
    const { serverId: id } = spec.mark;
    await move(source!, target!, 'copied');
    // As after a crash of the source: what it had lies there until it is destroyed.
    const third = mkdtempSync(join(tmpdir(), 'ov-third-'));
    const other = open(third);
    try {
      await expect(move(target!, other, 'shared')).rejects.toMatchObject({ code: 'fault' });
      expect(await target!.inspect(id)).toMatchObject({ stage: 'settled', power: 'running' });
      await other.liveMigration!.cancel(id);
    } finally {
      await other.close();
      rmSync(third, { recursive: true });
    }
  });
});
