import { ServerId } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { cpuTraits } from '../common/cpu-traits.js';
import { asHypervisorError } from '../common/native-command.js';
import { HypervisorError } from '../hypervisor-driver.js';
import { guestUser, hasUsers } from './guest-user.js';
import { reportOf } from './probe.js';

describe('traits of a CPU', () => {
  it('are the os-traits names of its flags, each once', () => {
    expect(cpuTraits(['avx2', 'pni', 'sse3', 'vmx', 'fpu', 'toString'])).toEqual([
      'HW_CPU_X86_AVX2',
      'HW_CPU_X86_SSE3',
      'HW_CPU_X86_VMX',
    ]);
  });
});

describe('the report of a probe', () => {
  const machines = { pc: 'pc', q35: 'q35', all: new Set<string>() };
  it('counts versions as Nova does', () => {
    const execution = { accel: 'tcg', cpuModel: 'max', runAs: null } as const;
    const report = reportOf({
      execution,
      machines,
      version: '7.2.22',
      tried: ['tcg with CPU max: a guest ran'],
      hasTpm: true,
    });
    expect(report).toMatchObject({ health: 'healthy', version: 'QEMU 7.2.22', hypervisorVersion: 7_002_022 });
    expect(report.traits).toContain('CUSTOM_ACCEL_TCG');
  });

  it('tells a host without QEMU from one where no guest runs', () => {
    expect(reportOf(new HypervisorError('unsupported', 'not installed')).health).toBe('undetected');
    expect(reportOf(new HypervisorError('unavailable', 'nothing ran')).health).toBe('unhealthy');
  });
});

describe('errors of tools', () => {
  it.each([
    [Object.assign(new Error('x'), { code: 'ENOSPC' }), '', 'noResources'],
    [new Error('x'), 'qemu-img: No space left on device', 'noResources'],
    [new Error('x'), 'cannot set up guest memory: Cannot allocate memory', 'noResources'],
    [Object.assign(new Error('x'), { code: 'ENOENT', syscall: 'spawn qemu-img' }), '', 'unsupported'],
    [Object.assign(new Error('x'), { code: 'ENOENT', syscall: 'link' }), '', 'fault'],
    [new Error('x'), 'anything', 'fault'],
  ])('%o with %j', (error, words, code) => {
    const made = asHypervisorError(error, 'a tool', words);
    expect(made.code).toBe(code);
    expect(made.message).not.toContain('x:');
  });
});

it.runIf(process.getuid?.() === 0)('gives each guest a user of its own, always the same', () => {
  const [a, b] = ['1', '2'].map((n) => ServerId.parse(`0c2c7a4e-52a3-4b8e-8f4d-00000000000${n}`));
  expect(guestUser(a!)).toBe(guestUser(a!));
  expect(guestUser(a!)).not.toBe(guestUser(b!));
  expect(guestUser(a!)).toBeLessThan(2 ** 31);
});

it('knows from the user namespace whether there are users for guests', () => {
  expect(hasUsers('         0          0 4294967295\n')).toBe(true);
  expect(hasUsers('0 1000 1\n1 100000 65536\n')).toBe(false);
  expect(hasUsers('')).toBe(false);
});
