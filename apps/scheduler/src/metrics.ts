import { Gauge, type Registry } from 'prom-client';
import type { Scheduler } from './scheduler.js';

/** What an operator asks of a scheduler, read when it is asked. */
export const schedulerMetrics = (registry: Registry, { core, watch }: Scheduler): void => {
  const gauge = (name: string, help: string, value: () => number) =>
    new Gauge({
      name: `omnivisor_scheduler_${name}`,
      help,
      registers: [registry],
      collect() {
        this.set(value());
      },
    });
  const hosts = () => [...core.world.hosts.values()].filter((h) => !h.retired);
  gauge('active', '1 while this scheduler holds the lead', () => Number(core.active));
  gauge('log_position', 'Position of the newest event it knows', () => core.world.position);
  gauge('hosts', 'Hosts that are enrolled', () => hosts().length);
  gauge('hosts_up', 'Hosts that are up', () => hosts().filter((h) => h.up).length);
  gauge('hosts_suspicious', 'Hosts that went silent together, too many to believe it', () => watch.suspicious);
  gauge('claims', 'Servers that hold a claim', () => core.world.claims.size);
  gauge('releases_due', 'Claims that have to end and have not yet', () => core.world.releases.size);
  gauge('stopped', '1 when it met an event it does not know and decides nothing', () =>
    Number(core.failure !== undefined),
  );
};
