import { describe, expect, it } from 'vitest';
import { answerHealth, Health, healthMetrics, metricsRegistry } from './health.js';

const metrics = metricsRegistry('spec');
const health = () =>
  new Health('spec', [
    { name: 'nats', probe: () => false },
    {
      name: 'store',
      probe: async () => {
        throw new Error('refused');
      },
    },
  ]);

describe('health', () => {
  it('is ready once caught up, whatever its dependencies, until it stops', async () => {
    const h = health();
    expect((await answerHealth('/health/ready', h, metrics))?.status).toBe(503);
    h.markReady();
    expect((await answerHealth('/health/ready', h, metrics))?.status).toBe(200);
    h.markStopping();
    expect((await answerHealth('/health/ready', h, metrics))?.status).toBe(503);
    expect((await answerHealth('/health/live', h, metrics))?.status).toBe(200);
  });
  it('is not ready while something failed for good', async () => {
    let failure: Error | undefined;
    const probe = () => {
      if (failure) throw failure;
      return undefined;
    };
    const h = new Health('spec', [{ name: 'read model', probe, lasting: true }]);
    h.markReady();
    expect((await answerHealth('/health/ready', h, metrics))?.status).toBe(200);
    failure = new Error('event FlavorPainted version 1 at position 2 is not known');
    expect((await answerHealth('/health/ready', h, metrics))?.status).toBe(503);
    expect((await answerHealth('/health/live', h, metrics))?.status).toBe(200);
    expect((await h.detail()).dependencies[0]).toMatchObject({ ok: false, reason: failure.message });
  });
  it('tells each dependency in the detail', async () => {
    expect((await health().detail()).dependencies).toEqual([
      { name: 'nats', ok: false, reason: 'not connected' },
      { name: 'store', ok: false, reason: 'refused' },
    ]);
  });
  it('tells each dependency to Prometheus', async () => {
    const own = metricsRegistry('spec');
    healthMetrics(own, health());
    expect((await answerHealth('/metrics', health(), own))?.body).toContain(
      'omnivisor_dependency_ok{dependency="store",service="spec"} 0',
    );
  });
  it('speaks Prometheus', async () => {
    expect((await answerHealth('/metrics', health(), metrics))?.body).toContain('process_cpu_user_seconds_total');
  });
});
