import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { cpuTraits } from '../common/cpu-traits.js';
import { run } from '../common/native-command.js';
import { PROBE_EXIT_CODE, probeGuest } from '../common/tiny-guest.js';
import { HypervisorError, type ProbeReport } from '../hypervisor-driver.js';
import { limitsHere } from './cgroups.js';
import { FIRMWARE } from './command-line.js';
import { askModels, type CpuModel } from './cpu-models.js';
import type { MachineTypes } from './devices.js';
import { cpuArgument, type Execution } from './guest-cpu.js';
import { hasThreads, machineCpus } from './machine-cpus.js';
import { hasTpm } from './tpm.js';

/** What QEMU can do on this host, found out by running guests. */
export interface Capabilities {
  readonly execution: Execution;
  readonly machines: MachineTypes;
  readonly version: string;
  /** Flags of the CPU that guests get, as far as QEMU tells them. */
  readonly cpuFlags?: readonly string[];
  /** A guest can have an emulated TPM. */
  readonly hasTpm: boolean;
  /** What was tried and what came back, one clause each. */
  readonly tried: readonly string[];
}

export interface ProbeOptions {
  readonly qemu: string;
  /** Nothing else is tried than this one. */
  readonly accel?: 'kvm' | 'tcg';
  /** Guests get the first of these models of QEMU that can be run whole, or none. */
  readonly cpuModels?: readonly string[];
  /** User id for the processes of guests; null keeps the agent's. */
  readonly runAs: number | null;
}

/**
 * Milliseconds; what cannot run a guest of nine bytes in this time cannot run guests. Some hosts have a /dev/kvm where
 * guests never run, or one that aborts QEMU with one CPU model and hangs with another.
 */
const PATIENCE = { kvm: 2_000, tcg: 10_000 };
const DEFAULT_MODELS = { kvm: ['host', 'qemu64'], tcg: ['max'] } as const;

/** @throws HypervisorError `unsupported` when QEMU is missing, `unavailable` when no guest runs; `message` says what was tried */
export const findCapabilities = async (options: ProbeOptions, signal: AbortSignal): Promise<Capabilities> => {
  const version = /version (\S+)/.exec(await run(options.qemu, ['--version'], { signal }))?.[1] ?? 'unknown';
  const machines = machineTypes(await run(options.qemu, ['-machine', 'help'], { signal }));
  await run('qemu-img', ['--version'], { signal });
  const canEmulateTpm = await hasTpm();
  const tried: string[] = [];
  for (const accel of ['kvm', 'tcg'] as const) {
    if (options.accel && options.accel !== accel) continue;
    if (accel === 'kvm' && !existsSync('/dev/kvm')) {
      tried.push('kvm: no /dev/kvm');
      continue;
    }
    const candidates = await candidatesOf(options, accel, signal);
    for (const { cpuModel, isWhole, flags, lack } of candidates) {
      if (lack) {
        tried.push(`${accel} with CPU ${cpuModel}: ${lack}`);
        continue;
      }
      const execution: Execution = { accel, cpuModel, ...(isWhole ? { isWhole } : {}), runAs: options.runAs };
      const failure = await tryGuest(options, execution, signal);
      tried.push(`${accel} with CPU ${cpuModel}: ${failure ?? 'a guest ran'}`);
      if (failure !== null) continue;
      const cpuFlags = flags.length > 0 ? { cpuFlags: flags } : {};
      return { execution, machines, version, tried: [...tried, limitsHere()], hasTpm: canEmulateTpm, ...cpuFlags };
    }
    // An emulated CPU would have the model that was asked for, and not be what was asked for.
    if (candidates.every(({ lack }) => lack)) break;
  }
  throw new HypervisorError('unavailable', tried.join('; '));
};

interface Candidate {
  readonly cpuModel: string;
  readonly isWhole: boolean;
  readonly flags: readonly string[];
  /** Why guests cannot have it here; empty when they can. */
  readonly lack: string;
}

/** As good as the machine, or the accelerator, has it: the kernel, or this release, knows what that is. */
const WHATEVER_THERE_IS = ['host', 'max'];

/** Models in the order in which they are tried. */
const candidatesOf = async (
  { qemu, cpuModels }: ProbeOptions,
  accel: 'kvm' | 'tcg',
  signal: AbortSignal,
): Promise<Candidate[]> => {
  const names = cpuModels ?? DEFAULT_MODELS[accel];
  const asked = names.filter((name) => !WHATEVER_THERE_IS.includes(name));
  // Where QEMU does not run by this accelerator, no guest will either, and that is what is told.
  const told = asked.length > 0 ? await askModels(qemu, accel, asked, PATIENCE[accel], signal).catch(() => []) : [];
  return names.map((cpuModel) => {
    const model = told.find(({ name }) => name === cpuModel);
    const isWhole = cpuModels !== undefined;
    return { cpuModel, isWhole, flags: model?.flags ?? [], lack: isWhole ? lackOf(model) : '' };
  });
};

const lackOf = (model: CpuModel | undefined): string => {
  if (!model) return '';
  if (model.missing === null) return 'QEMU knows no such model (OMNIVISOR_CPU_MODEL)';
  return model.missing.length === 0 ? '' : `this host lacks ${model.missing.join(', ')}`;
};

/** @returns null when the guest ran, else what happened */
const tryGuest = (options: ProbeOptions, execution: Execution, signal: AbortSignal): Promise<string | null> => {
  const dir = mkdtempSync(join(tmpdir(), 'omnivisor-probe-'));
  const disk = join(dir, 'probe.img');
  writeFileSync(disk, probeGuest());
  const args = [
    ...['-machine', 'pc', '-accel', execution.accel, '-cpu', cpuArgument(execution), '-m', '16'],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-sandbox', 'on,obsolete=deny,spawn=deny,resourcecontrol=deny'],
    ...(execution.runAs === null ? [] : ['-runas', `${execution.runAs}:${execution.runAs}`]),
    ...['-drive', `file=${disk},format=raw,if=ide`, '-device', 'isa-debug-exit,iobase=0x501,iosize=1'],
  ];
  return new Promise((resolve) => {
    const timeout = PATIENCE[execution.accel];
    const settings = { signal, timeout, killSignal: 'SIGKILL' as const };
    execFile(options.qemu, args, settings, (error, _stdout, stderr) => {
      rmSync(dir, { recursive: true, force: true });
      const code = error ? error.code : 0;
      if (code === PROBE_EXIT_CODE) return resolve(null);
      if (error?.name === 'AbortError') return resolve('aborted');
      if (error?.killed) return resolve(`the guest did not run in ${timeout} ms`);
      const words = stderr.trim().split('\n')[0]?.slice(0, 200);
      resolve(`QEMU ended with ${error?.signal ?? `code ${code}`}${words ? ` (${words})` : ''}`);
    });
  });
};

const machineTypes = (help: string): MachineTypes => {
  const all = new Set<string>();
  const alias = (name: string) => new RegExp(`^${name} .*alias of (\\S+?)\\)`, 'm').exec(help)?.[1] ?? name;
  for (const line of help.split('\n').slice(1)) if (line) all.add(line.split(' ')[0]!);
  return { pc: alias('pc'), q35: alias('q35'), all };
};

/** `7.2.22` is 7002022, as Nova counts. */
const versionNumber = (version: string): number => {
  const [major = 0, minor = 0, micro = 0] = version.split('.').map((part) => Number.parseInt(part, 10) || 0);
  return major * 1_000_000 + minor * 1_000 + micro;
};

/** The machine's own CPU. */
export const cpuInfo = () => {
  const text = readFileSync('/proc/cpuinfo', 'utf8');
  const field = (name: string) => new RegExp(`^${name}\\s*:\\s*(.*)$`, 'm').exec(text)?.[1] ?? '';
  return { model: field('model name'), vendor: field('vendor_id'), flags: field('flags').split(' ').filter(Boolean) };
};

/** The report of `HypervisorDriver.probe`, from capabilities or from why there are none. */
export const reportOf = (found: Capabilities | HypervisorError): ProbeReport => {
  const { model, vendor, flags } = cpuInfo();
  const facts = { hypervisorType: 'QEMU', hypervisorVersion: 0, version: null, traits: [], cpuInfo: {} };
  if (found instanceof HypervisorError)
    return {
      ...facts,
      health: found.code === 'unsupported' ? 'undetected' : 'unhealthy',
      reason: found.native ? `${found.message}: ${found.native.split('\n')[0]}` : found.message,
    };
  const { accel, cpuModel, isWhole } = found.execution;
  const kvm = accel === 'kvm';
  const cores = availableParallelism();
  return {
    health: 'healthy',
    reason: found.tried.join('; '),
    version: `QEMU ${found.version}`,
    hypervisorType: 'QEMU',
    hypervisorVersion: versionNumber(found.version),
    // Under TCG the guest's CPU is QEMU's own, and the flags of the host's say nothing about it.
    traits: [
      'CUSTOM_HYPERVISOR_QEMU',
      ...COMPUTE_TRAITS,
      ...firmwareTraits(),
      ...(found.hasTpm ? TPM_TRAITS : []),
      `CUSTOM_ACCEL_${accel.toUpperCase()}`,
      ...(found.cpuFlags ? cpuTraits(found.cpuFlags) : kvm ? cpuTraits(flags) : TCG_TRAITS),
      ...(isWhole ? [cpuModelTrait(cpuModel)] : []),
      ...(hasThreads(machineCpus()) ? ['HW_CPU_HYPERTHREADING'] : []),
    ],
    cpuInfo: {
      arch: 'x86_64',
      model: kvm && !isWhole ? model : cpuModel,
      vendor,
      topology: { sockets: 1, cores, threads: 1 },
      features: found.cpuFlags ?? (kvm ? flags : []),
    },
  };
};

const COMPUTE_TRAITS = [
  'COMPUTE_NODE',
  'COMPUTE_ARCH_X86_64',
  ...['RAW', 'QCOW2', 'VHD', 'VHDX', 'VMDK', 'VDI', 'ISO', 'AMI', 'AKI', 'ARI'].map(
    (format) => `COMPUTE_IMAGE_TYPE_${format}`,
  ),
  ...['VIRTIO', 'SCSI', 'IDE', 'SATA'].map((bus) => `COMPUTE_STORAGE_BUS_${bus}`),
  ...['VIRTIO', 'E1000', 'E1000E', 'RTL8139', 'NE2K_PCI', 'PCNET', 'VMXNET3'].map(
    (nic) => `COMPUTE_NET_VIF_MODEL_${nic}`,
  ),
  ...['VGA', 'CIRRUS', 'VMVGA', 'VIRTIO', 'BOCHS', 'NONE'].map((video) => `COMPUTE_GRAPHICS_MODEL_${video}`),
  'COMPUTE_FIRMWARE_BIOS',
  'CUSTOM_VM_MODE_HVM',
];

/** Of hosts whose guests have this model of QEMU, all of it. */
export const cpuModelTrait = (model: string): string =>
  `CUSTOM_CPU_MODEL_${model.toUpperCase().replace(/[^A-Z0-9]/g, '_')}`;

const TPM_TRAITS = ['2_0', 'TIS', 'CRB'].map((kind) => `COMPUTE_SECURITY_TPM_${kind}`);

const firmwareTraits = (): string[] => [
  ...(existsSync(FIRMWARE.uefi.code) ? ['COMPUTE_FIRMWARE_UEFI'] : []),
  ...(existsSync(FIRMWARE.secureBoot.code) ? ['COMPUTE_SECURITY_UEFI_SECURE_BOOT'] : []),
];

/** What the CPU model `max` has under TCG since QEMU 7.2, the oldest that Debian 12 ships. */
const TCG_TRAITS = cpuTraits(
  'mmx sse sse2 sse3 ssse3 sse4_1 sse4_2 sse4a aes pclmulqdq abm bmi1 bmi2 avx avx2 fma f16c 3dnow svm mpx'.split(' '),
);
