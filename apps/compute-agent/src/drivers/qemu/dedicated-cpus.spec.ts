import { describe, expect, it } from 'vitest';
import { HypervisorError } from '../hypervisor-driver.js';
import { chooseCpus, refuseSets, sharedCpus } from './dedicated-cpus.js';
import type { MachineCpu } from './machine-cpus.js';

/** Two memory nodes of two cores with two threads each: core 0 is CPUs 0 and 4, of node 0. */
const threaded: MachineCpu[] = [0, 1, 2, 3, 4, 5, 6, 7].map((cpu) => ({
  cpu,
  siblings: [cpu % 4, (cpu % 4) + 4],
  node: cpu % 4 < 2 ? 0 : 1,
}));
const plain: MachineCpu[] = [0, 1, 2, 3].map((cpu) => ({ cpu, siblings: [cpu], node: 0 }));
const spec = (
  vcpus: number,
  extraSpecs: Record<string, string> = { 'hw:cpu_policy': 'dedicated' },
  properties = {},
) => ({
  flavor: { vcpus, extraSpecs },
  image: { properties },
});
const threads = (vcpus: number, policy: string) =>
  spec(vcpus, { 'hw:cpu_policy': 'dedicated', 'hw:cpu_thread_policy': policy });
const all = threaded.map(({ cpu }) => cpu);
const choose = (wanted: ReturnType<typeof spec>, taken: number[] = [], dedicated = all, machine = threaded) =>
  chooseCpus(wanted, dedicated, new Set(taken), machine);
const noResources = expect.objectContaining({ code: 'noResources' });
const unsupported = expect.objectContaining({ code: 'unsupported' });

describe('CPUs for a guest', () => {
  it('are its own only where it wants them', () => {
    expect(choose(spec(2, {}))).toBeNull();
    expect(choose(spec(2, {}, { hw_cpu_policy: 'dedicated' }))).toHaveLength(2);
    expect(choose(spec(2, { 'resources:PCPU': '2' }))).toHaveLength(2);
    for (const wanted of [
      spec(2, { 'hw:cpu_policy': 'mixed' }),
      spec(2, { 'resources:PCPU': '1' }),
      spec(2, { 'hw:cpu_policy': 'shared' }, { hw_cpu_policy: 'dedicated' }),
    ])
      expect(() => choose(wanted)).toThrow(unsupported);
    const none = new HypervisorError('unsupported', 'this host has no dedicated CPUs', 'OMNIVISOR_CPU_DEDICATED_SET');
    expect(() => choose(spec(1), [], [])).toThrow(none);
  });

  it('are whole cores of one memory node as far as can be, and of the node with the least room', () => {
    expect(choose(spec(2))).toEqual([0, 4]);
    expect(choose(spec(4))).toEqual([0, 4, 1, 5]);
    expect(choose(spec(1), [0, 2, 3, 6, 7])).toEqual([4]);
    expect(choose(spec(2), [2])).toEqual([3, 7]);
    expect(choose(spec(3), [2])).toEqual([3, 7, 6]);
  });

  it('are never those of others, nor of two nodes', () => {
    expect(() => choose(spec(5))).toThrow(noResources);
    expect(() => choose(spec(3), [0, 1, 2, 3])).toThrow(noResources);
    expect(choose(spec(2), [0, 1, 2, 3])).toEqual([4, 5]);
  });

  it('are threads of one core, or of none, where the flavor says so and the machine has such', () => {
    expect(choose(threads(2, 'require'), [0, 1, 2])).toEqual([3, 7]);
    expect(() => choose(threads(2, 'require'), [0, 1, 2, 3])).toThrow(noResources);
    expect(() => choose(threads(3, 'require'))).toThrow(unsupported);
    expect(() => choose(threads(2, 'isolate'))).toThrow(unsupported);
    expect(choose(threads(2, 'isolate'), [0], [0, 1, 2], plain)).toEqual([1, 2]);
    expect(() => choose(threads(2, 'require'), [], [0, 1, 2], plain)).toThrow(unsupported);
  });
});

describe('sets of CPUs', () => {
  it('leave the others what is not dedicated, or what they are given', () => {
    expect(sharedCpus(undefined, [0, 1])).toBeNull();
    expect(sharedCpus({ dedicated: [1, 2] }, [0, 1, 2, 3])).toEqual([0, 3]);
    expect(sharedCpus({ dedicated: [1, 2], shared: [3] }, [0])).toEqual([3]);
  });

  it('have to be there, and apart', () => {
    const refused = (message: RegExp) =>
      expect.objectContaining({ code: 'unavailable', message: expect.stringMatching(message) });
    expect(() => refuseSets({ dedicated: [3, 4] }, [3])).toThrow(refused(/no CPUs 4 here/));
    expect(() => refuseSets({ dedicated: [1], shared: [0, 1] }, [0, 1])).toThrow(refused(/CPUs 1 are dedicated and/));
  });
});
