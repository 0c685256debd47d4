import { eventually, family } from '../e2e/running-cloud.js';
import { beganAt } from '../start/processes.mjs';
import type { Disks } from './chaos-cloud.js';
import { fill } from './disk.js';
import { FAR } from './far-host.js';
import type { Fault } from './fault.js';
import { FAKETIME } from './needs.mjs';
import { Replica } from './replica.js';

const isThere = (pid: number) => beganAt(pid) !== null;

/** A file system that holds `what` has no room left. */
const full = (what: string, folderOf: (disks: Disks) => string): Fault => ({
  name: `full disk of ${what}`,
  lasts: true,
  privileged: true,
  inflict: async ({ disks }) => {
    const free = await fill(folderOf(disks!));
    return async () => free();
  },
});

/** The machine of the store is gone from one moment to the next, and what its disk had not been told to keep. */
const powerLoss: Fault = {
  name: 'power loss of the store',
  lasts: false,
  privileged: true,
  inflict: async (chaos) => {
    const { disk } = chaos.disks!.store;
    const [supervisor, pid] = [await chaos.pidOf('supervisor'), await chaos.pidOf('postgres')];
    const processes = family(pid);
    process.kill(supervisor, 'SIGSTOP');
    await disk.losePower();
    for (const one of processes.filter(isThere)) process.kill(one, 'SIGKILL');
    return async () => {
      await eventually(
        'nothing of the store runs',
        async () => processes.filter(isThere),
        (left) => left.length === 0,
      );
      await disk.unmount();
      await disk.powerOn();
      process.kill(supervisor, 'SIGCONT');
      await chaos.startedAgain(pid);
    };
  },
};

const cutOff: Fault = {
  name: 'network of a host cut',
  lasts: true,
  privileged: true,
  prepare: async (chaos) => {
    await chaos.far();
    return async () => {};
  },
  inflict: async (chaos) => {
    const far = await chaos.far();
    await eventually(
      'the host has servers',
      async () => new Map(chaos.guests.byAgent()).get(FAR) ?? 0,
      (guests) => guests > 0,
    );
    await far.cut();
    return () => far.join();
  },
};

/** A gateway and a scheduler more, whose clocks are wrong, and that take part in everything. */
const skewed = (seconds: number): Fault => {
  let wrong: Replica[];
  return {
    name: `clocks ${Math.abs(seconds)} s ${seconds > 0 ? 'ahead' : 'behind'}`,
    lasts: true,
    privileged: true,
    prepare: async (chaos) => {
      const env = {
        LD_PRELOAD: FAKETIME,
        FAKETIME: `${seconds > 0 ? '+' : ''}${seconds}s`,
        FAKETIME_DONT_FAKE_MONOTONIC: '1',
      };
      wrong = [];
      for (const service of ['scheduler', 'api-gateway-1'])
        wrong.push(await Replica.beside(chaos.cloud, service, { env }));
      return async () => {
        for (const replica of wrong) await replica.stop();
      };
    },
    inflict: async (chaos) => {
      const before = chaos.load.target;
      chaos.load.target = { ...before, origins: [...before.origins, `http://127.0.0.1:${wrong[1]!.port}`] };
      await chaos.restart('scheduler'); // the other one leads from now on
      return async () => {
        chaos.load.target = before;
      };
    },
  };
};

/** For root only: disks, networks and clocks. */
export const FAULTS_OF_MACHINES: readonly Fault[] = [
  full('the store', ({ store }) => store.folder),
  full('the bus', ({ bus }) => bus),
  powerLoss,
  cutOff,
  skewed(30),
  skewed(-30),
];
