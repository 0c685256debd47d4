import { Gauge, type Registry } from 'prom-client';
import type { Refusals } from './refusals.js';

/** What became of refused requests on their way to the log, read when it is asked. */
export const refusalMetrics = (registry: Registry, refusals: Refusals): void => {
  const gauge = (name: string, help: string, value: () => number) =>
    new Gauge({
      name: `omnivisor_gateway_refusals_${name}`,
      help,
      registers: [registry],
      collect() {
        this.set(value());
      },
    });
  gauge('recorded', 'Events about refused requests written since the start', () => refusals.totals.recorded);
  gauge('flooded', 'Refusals that were only counted, since the start', () => refusals.totals.counted);
  gauge('dropped', 'Refusals lost for a full queue or an unreachable log', () => refusals.totals.dropped);
  gauge('waiting', 'Refusals on their way to the log', () => refusals.waiting);
};
