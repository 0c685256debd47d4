import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ServerId } from '@omnivisor/contracts';
import { afterAll, describe, expect, it } from 'vitest';
import { askModels, flagsOf } from './cpu-models.js';
import { commandOf, processes } from './processes.js';
import { QemuDriver } from './qemu.driver.js';
import { CLOUD, TinyGuests } from './testing/tiny-guests.js';

const never = new AbortController().signal;
const dirs = ['here', 'there'].map((name) => mkdtempSync(join(tmpdir(), `omnivisor-cpu-${name}-`))) as [string, string];
const tiny = new TinyGuests(dirs);
const drivers: QemuDriver[] = [];
const open = (stateDir: string, ...cpuModels: string[]) => {
  const driver = new QemuDriver({ stateDir, cloudId: CLOUD, accel: 'tcg', cpuModels });
  drivers.push(driver);
  return driver;
};

afterAll(async () => {
  for (const driver of drivers) await driver.close();
  for (const dir of dirs) rmSync(dir, { recursive: true });
});

describe('CPU models of QEMU', () => {
  it('are told with what a guest would lack, and with the flags that it sees', async () => {
    const names = ['Nehalem', 'Haswell', 'no-such-model'];
    const [nehalem, haswell, none] = await askModels('qemu-system-x86_64', 'tcg', names, 10_000, never);
    expect(nehalem).toMatchObject({ missing: [], flags: expect.arrayContaining(['sse4_2', 'pni', 'lm']) });
    expect(nehalem!.flags).not.toContain('avx');
    expect(haswell!.missing).toContain('pcid');
    expect(none).toEqual({ name: 'no-such-model', missing: null, flags: [] });
  });

  it('have flags by their Linux names, each once, and no switches', () => {
    expect(
      flagsOf({
        'sse4.1': true,
        'sse4-1': true,
        sse4_1: true,
        xd: true,
        sse3: true,
        avx: false,
        enforce: true,
        'x-a': true,
      }),
    ).toEqual(['nx', 'pni', 'sse4_1']);
  });
});

describe('a host whose operator has chosen CPU models', () => {
  it('gives guests the first that it can give whole, and tells which', { timeout: 60_000 }, async () => {
    const driver = open(dirs[0], 'Haswell', 'Nehalem');
    const report = await driver.probe(never);
    expect(report).toMatchObject({ health: 'healthy', cpuInfo: { model: 'Nehalem' } });
    expect(report.reason).toMatch(/tcg with CPU Haswell: this host lacks .*pcid.*; tcg with CPU Nehalem: a guest ran/);
    expect(report.traits).toEqual(expect.arrayContaining(['CUSTOM_CPU_MODEL_NEHALEM', 'HW_CPU_X86_SSE42']));
    expect(report.traits).not.toContain('HW_CPU_X86_AVX');

    const id = ServerId.parse(randomUUID());
    try {
      await driver.spawn(tiny.spec(id), never);
      await tiny.inside.up(id);
      const command = processes()
        .map(commandOf)
        .find((words) => words.some((word) => word.includes(id)));
      expect(command![command!.indexOf('-cpu') + 1]).toBe('Nehalem,enforce');

      const other = open(dirs[1], 'Westmere');
      const offer = await driver.liveMigration.offer(id);
      const receive = (to: QemuDriver) =>
        to.liveMigration.receive(tiny.spec(id), offer, { disks: 'auto', attached: [] }, never);
      await expect(receive(other)).rejects.toMatchObject({
        code: 'unsupported',
        message: expect.stringMatching(/CPU Nehalem, and this host has .*Westmere/),
      });
      const same = open(dirs[1], 'Nehalem');
      await driver.liveMigration.send(id, await receive(same), { signal: never });
      await same.liveMigration.accept(id);
      expect((await same.inspect(id)).power).toBe('running');
      await same.destroy(id);
    } finally {
      await driver.destroy(id);
    }
  });

  it('is unhealthy when it can give none of them, and says what is missing', { timeout: 60_000 }, async () => {
    expect(await open(dirs[0], 'Haswell', 'no-such-model').probe(never)).toMatchObject({
      health: 'unhealthy',
      reason: expect.stringMatching(/Haswell: this host lacks .*pcid.*no-such-model: QEMU knows no such model/),
    });
  });
});
