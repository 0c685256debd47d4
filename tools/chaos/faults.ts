import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { family } from '../e2e/running-cloud.js';
import { type ChaosCloud, SERVICES, type Service } from './chaos-cloud.js';
import type { Fault } from './fault.js';
import { FAULTS_OF_MACHINES } from './faults-of-machines.js';
import { Replicated } from './replicated.js';

const killed = (name: Service): Fault => ({
  name: `kill ${name}`,
  lasts: false,
  inflict: async (chaos) => {
    const pid = await chaos.pidOf(name);
    process.kill(pid, 'SIGKILL');
    return () => chaos.startedAgain(pid);
  },
});

/** PostgreSQL is stopped with its children. */
const stopped = (name: Service): Fault => ({
  name: `stop ${name}`,
  lasts: true,
  inflict: async (chaos) => {
    const pids = family(await chaos.pidOf(name));
    for (const pid of pids) process.kill(pid, 'SIGSTOP');
    return async () => {
      for (const pid of pids.reverse()) process.kill(pid, 'SIGCONT');
    };
  },
});

/** Ended, and not started again before it is mended; `meanwhile` happens to what it left. */
const away = (name: Service, signal: NodeJS.Signals, meanwhile?: (chaos: ChaosCloud) => void): Fault => ({
  name: meanwhile ? `wipe ${name}` : `away ${name}`,
  lasts: true,
  inflict: async (chaos) => {
    const [supervisor, pid] = [await chaos.pidOf('supervisor'), await chaos.pidOf(name)];
    process.kill(supervisor, 'SIGSTOP');
    process.kill(pid, signal);
    return async () => {
      meanwhile?.(chaos);
      process.kill(supervisor, 'SIGCONT');
      await chaos.startedAgain(pid);
    };
  },
});

const wiped = away('nats', 'SIGTERM', ({ cloud }) =>
  rmSync(join(cloud.home, 'data', 'nats', 'jetstream'), { recursive: true }),
);

/** Two replicas of each service behind one address, of which clients notice nothing. */
const unnoticed = (name: string, change: (replicated: Replicated) => Promise<void>): Fault => {
  let replicated: Replicated;
  return {
    name,
    lasts: false,
    unnoticed: true,
    prepare: async (chaos) => {
      replicated = await Replicated.beside(chaos);
      const before = chaos.load.target;
      chaos.load.target = replicated.target(before);
      return async () => {
        chaos.load.target = before;
        await replicated.close();
      };
    },
    inflict: async () => {
      await change(replicated);
      return async () => {};
    },
  };
};

export const FAULTS: readonly Fault[] = [
  ...SERVICES.map(killed),
  ...SERVICES.map(stopped),
  away('postgres', 'SIGKILL'),
  away('nats', 'SIGTERM'),
  wiped,
  ...FAULTS_OF_MACHINES,
  unnoticed('rolling restart', (replicated) => replicated.roll()),
  unnoticed('rolling upgrade', (replicated) => replicated.upgrade()),
];
