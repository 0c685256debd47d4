import { describe, expect, it } from 'vitest';
import { cpuArgument, executionOf, guestCpu, refuseOtherCpu } from './guest-cpu.js';

const kvm = (flags: string[], vendor = 'GenuineIntel') =>
  guestCpu({ accel: 'kvm', cpuModel: 'host' }, { vendor, flags });
const tcg = guestCpu({ accel: 'tcg', cpuModel: 'max' }, { vendor: 'GenuineIntel', flags: ['avx2'] });
const refusal = (message: RegExp) =>
  expect.objectContaining({ code: 'unsupported', message: expect.stringMatching(message) });

describe('a guest that goes on elsewhere', () => {
  it('finds its CPU again on one that can do as much, and under emulation on any machine', () => {
    const amd = guestCpu({ accel: 'tcg', cpuModel: 'max' }, { vendor: 'AuthenticAMD', flags: [] });
    expect(() => refuseOtherCpu(kvm(['avx']), kvm(['avx', 'avx2']))).not.toThrow();
    expect(() => refuseOtherCpu(tcg, amd)).not.toThrow();
  });

  it('is refused by another accelerator or model, another vendor, and a CPU that lacks something', () => {
    expect(() => refuseOtherCpu(kvm([]), tcg)).toThrow(refusal(/KVM with the CPU host.*emulation with the CPU max/));
    const qemu64 = guestCpu({ accel: 'kvm', cpuModel: 'qemu64' }, { vendor: 'x', flags: [] });
    expect(() => refuseOtherCpu(kvm([]), qemu64)).toThrow(refusal(/CPU qemu64/));
    expect(() => refuseOtherCpu(kvm([]), kvm([], 'AuthenticAMD'))).toThrow(refusal(/AuthenticAMD/));
    expect(() => refuseOtherCpu(kvm(['avx', 'avx2']), kvm(['avx']))).toThrow(refusal(/lacks.*HW_CPU_X86_AVX2$/));
  });

  it('is refused by another model of the operator, and, by KVM, on another vendor, which it sees with any model', () => {
    const chosen = (cpuModel: string, vendor: string) =>
      guestCpu({ accel: 'kvm', cpuModel, isWhole: true }, { vendor, flags: ['avx2'] });
    refuseOtherCpu(chosen('Nehalem', 'GenuineIntel'), chosen('Nehalem', 'GenuineIntel'));
    const nehalem = chosen('Nehalem', 'GenuineIntel');
    expect(() => refuseOtherCpu(nehalem, chosen('Westmere', 'GenuineIntel'))).toThrow(refusal(/CPU Westmere/));
    expect(() => refuseOtherCpu(nehalem, chosen('Nehalem', 'AuthenticAMD'))).toThrow(refusal(/AuthenticAMD/));
    refuseOtherCpu({ ...nehalem, vendor: '' }, nehalem);
  });

  it('is known by how its process was started, whatever this agent would do', () => {
    const command = 'qemu -name x -accel tcg,thread=multi,tb-size=64 -cpu max -m 16'.split(' ');
    expect(executionOf(command)).toEqual({ accel: 'tcg', cpuModel: 'max' });
    expect(executionOf('qemu -accel kvm -cpu host,hv_time=on'.split(' '))).toEqual({ accel: 'kvm', cpuModel: 'host' });
    const whole = { accel: 'kvm', cpuModel: 'Nehalem', isWhole: true } as const;
    expect(executionOf(['qemu', '-accel', 'kvm', '-cpu', cpuArgument(whole, ['hv_time=on'])])).toEqual(whole);
  });
});
