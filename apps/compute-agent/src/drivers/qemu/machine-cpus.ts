import { readdirSync, readFileSync } from 'node:fs';
import { cpuList, parseCpuSet } from '../common/cpu-set.js';
import { run } from '../common/native-command.js';

const CPUS = '/sys/devices/system/cpu';

/** A processor as Linux counts them: a thread of a core. */
export interface MachineCpu {
  readonly cpu: number;
  /** All threads of its core, itself included. */
  readonly siblings: readonly number[];
  readonly node: number;
}

const setIn = (path: string): number[] => {
  try {
    return parseCpuSet(readFileSync(path, 'utf8')) ?? [];
  } catch {
    return [];
  }
};

/** Processors that are on, also those that Linux keeps processes off which do not ask for them (`isolcpus`). */
export const machineCpus = (): MachineCpu[] =>
  setIn(`${CPUS}/online`).map((cpu) => {
    const siblings = setIn(`${CPUS}/cpu${cpu}/topology/thread_siblings_list`);
    return { cpu, siblings: siblings.includes(cpu) ? siblings : [cpu], node: nodeOf(cpu) };
  });

/** Those that a process runs on which does not ask. @param status of a process, as in /proc */
export const usualCpus = (status = readFileSync('/proc/self/status', 'utf8')): number[] =>
  parseCpuSet(/^Cpus_allowed_list:\s*(\S+)/m.exec(status)?.[1] ?? '') ?? [];

/** Those of them that a process of this host gets when it asks for them: a control group may keep others away. */
export const grantedCpus = async (cpus: readonly number[], signal: AbortSignal): Promise<number[]> =>
  cpus.length === 0
    ? []
    : usualCpus(await run('taskset', ['-c', cpuList(cpus), 'cat', '/proc/self/status'], { signal }));

const nodeOf = (cpu: number): number => {
  try {
    const node = readdirSync(`${CPUS}/cpu${cpu}`).find((name) => /^node\d+$/.test(name));
    return Number(node?.slice('node'.length) ?? 0);
  } catch {
    return 0;
  }
};

/** Whether some core has several threads. */
export const hasThreads = (cpus: readonly MachineCpu[]): boolean => cpus.some(({ siblings }) => siblings.length > 1);
