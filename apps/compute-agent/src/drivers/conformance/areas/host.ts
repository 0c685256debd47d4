import { describe, expect } from 'vitest';
import { DISK_FORMATS, featuresOf } from '../../hypervisor-driver.js';
import { never, refusal, type Stage } from '../stage.js';

export const describeHost = (stage: Stage) =>
  describe('the host', () => {
    const { under } = stage;

    stage.behaviour('host', 'probes healthy, with a reason, a version and traits', async () => {
      const report = await stage.driver.probe(never);
      expect(report).toMatchObject({ health: 'healthy' });
      expect(report.reason).not.toBe('');
      expect(report.version).toMatch(/\d/);
      expect(report.hypervisorVersion).toBeGreaterThan(0);
      expect(report.traits).toContain('COMPUTE_NODE');
      for (const trait of report.traits) expect(trait).toMatch(/^[A-Z0-9_]{1,255}$/);
    });

    stage.behaviour('host', 'ends a probe that is aborted, without rejecting', async () => {
      expect(['healthy', 'unhealthy', 'undetected']).toContain((await stage.driver.probe(AbortSignal.abort())).health);
    });

    stage.behaviour('host', 'counts what it has', async () => {
      const { vcpus, memoryMib, diskGib } = await stage.driver.inventory();
      for (const amount of [vcpus, memoryMib, diskGib]) expect(Number.isInteger(amount) && amount > 0).toBe(true);
    });

    stage.behaviour('host', 'has an optional member exactly when it is supported', async () => {
      expect(featuresOf(stage.driver).sort()).toEqual([...under.supports].sort());
    });

    stage.behaviour('host', 'says which formats it takes disks in, best first', async () => {
      const { imageFormats } = stage.driver;
      expect(imageFormats.length).toBeGreaterThan(0);
      expect(new Set(imageFormats).size).toBe(imageFormats.length);
      for (const format of imageFormats) expect(DISK_FORMATS).toContain(format);
    });

    stage.behaviour('host', 'answers a check quickly', async () => {
      const asked = performance.now();
      await stage.driver.check();
      expect(performance.now() - asked).toBeLessThan(5_000);
    });

    stage.behaviour(
      'host',
      'fails a check while the hypervisor does not answer, and passes it again',
      async () => {
        const recover = await under.stopHypervisor!();
        expect(await refusal(stage.driver.check())).toBe('unavailable');
        await recover();
        await expect.poll(() => stage.driver.check(), { timeout: stage.patience }).toBeUndefined();
      },
      { 'a hypervisor that can be stopped': under.stopHypervisor },
    );
  });
