import { Gauge, type Registry } from 'prom-client';
import type { Evidence } from './evidence.js';

/** How far the seals are, read when it is asked. */
export const evidenceMetrics = (registry: Registry, evidence: Evidence): void => {
  new Gauge({
    name: 'omnivisor_sealed_events',
    help: 'Events that a signed checkpoint covers',
    registers: [registry],
    async collect() {
      this.set((await evidence.seals.latest())?.size ?? 0);
    },
  });
  new Gauge({
    name: 'omnivisor_sealing_failed',
    help: '1 when the log is no longer what was sealed; sealing has stopped',
    registers: [registry],
    collect() {
      this.set(evidence.failure === null ? 0 : 1);
    },
  });
  new Gauge({
    name: 'omnivisor_checkpoint_sent_events',
    help: 'Events that the newest checkpoint covers which has arrived at a place; only in the replica that seals',
    labelNames: ['place'],
    registers: [registry],
    collect() {
      for (const { name, sent } of evidence.outlets) this.set({ place: name }, sent);
    },
  });
};
