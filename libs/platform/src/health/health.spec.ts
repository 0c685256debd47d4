import { describe, expect, it } from 'vitest';
import { answerHealth, Health, metricsRegistry } from './health.js';

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
  it('tells each dependency in the detail', async () => {
    expect((await health().detail()).dependencies).toEqual([
      { name: 'nats', ok: false, reason: 'not connected' },
      { name: 'store', ok: false, reason: 'refused' },
    ]);
  });
  it('speaks Prometheus', async () => {
    expect((await answerHealth('/metrics', health(), metrics))?.body).toContain('process_cpu_user_seconds_total');
  });
});
