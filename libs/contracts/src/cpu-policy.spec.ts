import { describe, expect, it } from 'vitest';
import { cpuPolicyOf } from './cpu-policy.js';

const of = (extraSpecs: Record<string, string>, properties: Record<string, string> = {}) =>
  cpuPolicyOf({ vcpus: 2, extraSpecs }, { properties });
const flavor = (policy: string) => ({ 'hw:cpu_policy': policy });
const image = (policy: string) => ({ hw_cpu_policy: policy });

describe('the CPU policy of a server', () => {
  it.each([
    [{}, {}, 'shared'],
    [flavor('dedicated'), {}, 'dedicated'],
    [flavor('dedicated'), image('shared'), 'dedicated'],
    [{}, image('dedicated'), 'dedicated'],
    [{ 'resources:PCPU': '2' }, {}, 'dedicated'],
    [{ 'resources:VCPU': '1' }, {}, 'shared'],
    [flavor('mixed'), {}, 'mixed'],
  ])('of flavor %j and image %j is %s', (extraSpecs, properties, policy) => {
    expect(of(extraSpecs as never, properties as never)).toEqual({ policy, threads: 'prefer', conflict: null });
  });

  it('lets the image choose threads where the flavor leaves it open', () => {
    const specs = { ...flavor('dedicated'), 'hw:cpu_thread_policy': 'prefer' };
    expect(of(specs, { hw_cpu_thread_policy: 'isolate' })).toMatchObject({ threads: 'isolate', conflict: null });
    expect(of(specs)).toMatchObject({ threads: 'prefer', conflict: null });
  });

  it.each([
    [flavor('shared'), image('dedicated'), /not permitted to override CPU pinning/],
    [flavor('mixed'), image('dedicated'), /not permitted to override CPU pinning/],
    [flavor('own'), {}, /cannot be 'own'/],
    [{}, image('own'), /cannot be 'own'/],
    [{ 'resources:PCPU': '1' }, {}, /2 vCPUs, and resources:PCPU is 1/],
    [{ 'resources:PCPU': '2', 'resources:VCPU': '1' }, {}, /beside/],
    [{ 'resources:PCPU': '2', ...flavor('dedicated') }, {}, /beside/],
    [{ 'resources:VCPU': '2', ...flavor('dedicated') }, {}, /has resources:VCPU/],
    [{ 'hw:cpu_thread_policy': 'isolate' }, {}, /non dedicated/],
    [
      { ...flavor('dedicated'), 'hw:cpu_thread_policy': 'isolate' },
      { hw_cpu_thread_policy: 'require' },
      /not permitted to override CPU thread/,
    ],
  ])('of flavor %j and image %j is none', (extraSpecs, properties, conflict) => {
    expect(of(extraSpecs as never, properties as never).conflict).toMatch(conflict);
  });
});
