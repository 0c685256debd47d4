import { createWriteStream, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { ms, type ServerId } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { fileSource, rootFrom } from '../../common/test-guest.js';
import type { DiskExport } from '../../hypervisor-driver.js';
import { never, refusal, type Stage } from '../stage.js';

export const describeSnapshots = (stage: Stage) =>
  describe('snapshots', () => {
    const { under } = stage;
    const letters = { 'a way to read an exported disk': under.letterOf && under.inside?.disk };
    let folder: string;
    beforeAll(() => {
      folder = mkdtempSync(join(tmpdir(), 'omnivisor-export-'));
    });
    afterAll(() => rmSync(folder, { recursive: true }));

    const formats = () => stage.driver.snapshots!.formats;
    const exported = (id: ServerId, format = formats()[0]!, signal = never) =>
      stage.driver.snapshots!.exportDisk(id, 'root', format, signal);
    const save = async ({ format, stream }: DiskExport): Promise<string> => {
      const file = join(folder, `disk-${performance.now()}.${format}`);
      await pipeline(stream, createWriteStream(file));
      return file;
    };

    stage.behaviour('snapshots', 'gives the bytes of the root disk, while the guest goes on', async () => {
      const { id } = await stage.running();
      const disk = await exported(id);
      expect(disk).toMatchObject({ format: formats()[0], quiesced: false });
      expect(disk.virtualSize).toBeGreaterThan(0);
      expect(statSync(await save(disk)).size).toBeGreaterThan(0);
      expect(await stage.power(id)).toBe('running');
      await stage.discard(id);
      await stage.leavesNothing(id);
    });

    stage.behaviour(
      'snapshots',
      'shows the disk as it was at one moment, in every format',
      async () => {
        const { id } = await stage.up();
        for (const [i, format] of formats().entries()) {
          const [then, later] = [String.fromCharCode(65 + i), 'Z'];
          await under.inside!.disk!.write(id, 0, then);
          const disk = await exported(id, format);
          await under.inside!.disk!.write(id, 0, later);
          expect([format, await under.letterOf!(await save(disk), format)]).toEqual([format, then]);
        }
        await stage.discard(id);
      },
      letters,
    );

    stage.behaviour(
      'snapshots',
      'can be had of a guest that is off, suspended or rescued, which stays so',
      async () => {
        const spec = await stage.up();
        await under.inside!.disk!.write(spec.id, 0, 'A');
        const letter = () => stage.rootLetter(spec.id);
        if (stage.driver.suspending) {
          await stage.driver.suspending.suspend(spec.id);
          expect(await letter()).toBe('A');
          expect(await stage.power(spec.id)).toBe('suspended');
        }
        await stage.driver.powerOff(spec.id, ms(0));
        expect(await letter()).toBe('A');
        expect(await stage.power(spec.id)).toBe('shutdown');
        if (stage.driver.rescuing) {
          await stage.driver.rescuing.rescue(spec, never);
          expect(await letter()).toBe('A');
          expect(await stage.stage(spec.id)).toBe('rescued');
        }
        await stage.discard(spec.id);
      },
      letters,
    );

    stage.behaviour(
      'snapshots',
      'boot again as an image, with what was written',
      async () => {
        const { id } = await stage.up();
        await under.inside!.disk!.write(id, 0, 'Q');
        const format = formats().find((known) => stage.driver.imageFormats.includes(known))!;
        const file = await save(await exported(id, format));
        await stage.discard(id);
        const copy = await stage.up({ disks: rootFrom((under.sourceOf ?? fileSource)(file, format)) });
        expect(await under.inside!.disk!.read(copy.id, 0)).toBe('Q');
        await stage.discard(copy.id);
      },
      { ...letters, 'a backend that takes bytes': under.backend !== 'fake' },
    );

    stage.behaviour('snapshots', 'leave nothing when they are aborted or not read to the end', async () => {
      const { id } = await stage.running();
      await refusal(exported(id, formats()[0], AbortSignal.abort()));
      const late = new AbortController();
      const running = exported(id, formats()[0], late.signal).catch(() => null);
      late.abort();
      (await running)?.stream.destroy();
      const disk = await exported(id);
      disk.stream.destroy();
      expect(statSync(await save(await exported(id))).size).toBeGreaterThan(0);
      expect(await stage.power(id)).toBe('running');
      await stage.discard(id);
      await stage.leavesNothing(id);
    });

    stage.behaviour('snapshots', 'are refused for a format or a disk that is not there', async () => {
      const { id } = await stage.off();
      const other = (['raw', 'qcow2', 'vhd', 'vhdx', 'vmdk', 'vdi', 'iso'] as const).find(
        (f) => !formats().includes(f),
      );
      if (other) expect(await refusal(exported(id, other))).toBe('unsupported');
      const ephemeral = stage.driver.snapshots!.exportDisk(id, 'ephemeral', formats()[0]!, never);
      expect(await refusal(ephemeral)).toBe('unsupported');
      await stage.discard(id);
    });
  });
