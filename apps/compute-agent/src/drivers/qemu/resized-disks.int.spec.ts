import { randomUUID } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gib, mib, ms, ServerId } from '@omnivisor/contracts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { GuestSpec } from '../hypervisor-driver.js';
import type { GuestDefinition } from './definition.js';
import { QemuDriver } from './qemu.driver.js';
import { CLOUD, TinyGuests } from './testing/tiny-guests.js';

const never = new AbortController().signal;
const ADDED = ['ephemeral.img', 'ephemeral.qcow2', 'swap.img'];

describe('disks of a flavor that a guest did not have before', () => {
  let stateDir: string;
  let driver: QemuDriver;
  let tiny: TinyGuests;
  let spec: GuestSpec;
  let id: ServerId;
  const definition = () => join(stateDir, 'guests', id, 'guest.json');
  const defined = (): GuestDefinition => JSON.parse(readFileSync(definition(), 'utf8'));
  const names = () => defined().disks.map(({ name }) => name);
  const files = () => readdirSync(join(stateDir, 'guests', id, 'disks')).filter((file) => /^(eph|swap)/.test(file));
  const resize = (ephemeral: number, swap: number) =>
    driver.resizing.resize(id, { ...spec.flavor, ephemeral: gib(ephemeral), swap: mib(swap) }, never);
  /** By the serial numbers that the process was given, in the order of their slots. */
  const plugged = () => {
    const pid = readFileSync(join(stateDir, 'guests', id, 'qemu.pid'), 'utf8').trim();
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
    return [...command.matchAll(/(root|eph|swap)-[0-9a-f]{8}/g)].map(([, kind]) => kind);
  };
  const off = () => driver.powerOff(id, ms(0));
  const runs = async () => {
    await driver.powerOn(id, []);
    await tiny.inside.up(id);
  };

  beforeEach(async () => {
    stateDir = mkdtempSync(join(tmpdir(), 'omnivisor-resized-'));
    tiny = new TinyGuests([stateDir]);
    id = ServerId.parse(randomUUID());
    spec = tiny.spec(id);
    driver = new QemuDriver({ stateDir, cloudId: CLOUD, accel: 'tcg', answerTimeout: 2_000 });
    await driver.spawn({ ...spec, powerOn: false }, never);
  });
  afterEach(async () => {
    await driver.destroy(id);
    await driver.close();
    rmSync(stateDir, { recursive: true });
  });

  it('are there after the resize, stay when it is confirmed, and go when the next one is reverted', async () => {
    for (let i = 0; i < 2; i++) await resize(1, 0);
    await runs();
    expect(plugged()).toEqual(['root', 'eph']);
    await off();
    await driver.resizing.confirmResize(id);
    const { ino } = statSync(join(stateDir, 'guests', id, 'disks', 'ephemeral.qcow2'));
    await resize(1, 8);
    expect(names()).toEqual(['root', 'ephemeral', 'swap']);
    await runs();
    expect(plugged()).toEqual(['root', 'eph', 'swap']);
    await off();
    await driver.resizing.revertResize(id);
    expect([names(), files()]).toEqual([['root', 'ephemeral'], ADDED.slice(0, 2)]);
    expect(statSync(join(stateDir, 'guests', id, 'disks', 'ephemeral.qcow2')).ino).toBe(ino);
    await runs();
    expect(plugged()).toEqual(['root', 'eph']);
  });

  it('lose swap when a flavor without it is confirmed, and not before', async () => {
    await resize(0, 8);
    await driver.resizing.confirmResize(id);
    await resize(1, 0);
    expect([names(), files()]).toEqual([['root', 'ephemeral'], ADDED]);
    await runs();
    await off();
    await driver.resizing.revertResize(id);
    expect([names(), files()]).toEqual([['root', 'swap'], ['swap.img']]);
    await runs();
    await off();
    for (let i = 0; i < 2; i++) await resize(0, 0);
    await driver.resizing.confirmResize(id);
    expect([names(), files()]).toEqual([['root'], []]);
    await runs();
  });

  it('are not there when an agent ended in the middle of their making', async () => {
    await resize(1, 8);
    writeFileSync(definition(), JSON.stringify({ ...defined(), change: 'resize' }));
    await runs();
    expect([names(), files()]).toEqual([['root'], []]);
    await off();
    await resize(1, 8);
    expect([names(), files()]).toEqual([['root', 'ephemeral', 'swap'], ADDED]);
  });

  it('are gone when another flavor is asked for after that', async () => {
    await resize(1, 8);
    writeFileSync(definition(), JSON.stringify({ ...defined(), change: 'resize' }));
    await resize(0, 0);
    await driver.resizing.confirmResize(id);
    expect([names(), files()]).toEqual([['root'], []]);
  });

  it('are refused where there is no place for them, and the guest stays as it was', async () => {
    const volume = (n: number) => {
      const path = join(stateDir, `volume-${n}`);
      writeFileSync(path, Buffer.alloc(1 << 20));
      return {
        ...{ diskId: `volume-${n}`, connection: { kind: 'file', path }, format: 'raw', readOnly: false, bus: 'ide' },
        ...{ serial: `v${n}`, bootIndex: null, slot: 3 + n },
      };
    };
    writeFileSync(definition(), JSON.stringify({ ...defined(), attached: [1, 2].map(volume), diskBus: 'ide' }));
    const wanted = { ...spec.flavor, ephemeral: gib(1), swap: mib(8) };
    const refusal = { code: 'unsupported', message: 'the guest has as many disks on IDE as it can take' };
    await expect(driver.resizing.checkResize(id, wanted)).rejects.toMatchObject(refusal);
    await expect(resize(1, 8)).rejects.toMatchObject(refusal);
    expect([names(), files()]).toEqual([['root'], []]);
    await runs();
  });

  it('are an ephemeral disk that no flavor takes away', async () => {
    await resize(1, 0);
    await driver.resizing.confirmResize(id);
    await expect(resize(0, 0)).rejects.toMatchObject({ code: 'unsupported', message: 'a disk cannot be made smaller' });
  });
});
