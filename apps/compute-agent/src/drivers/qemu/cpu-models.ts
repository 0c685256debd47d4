import { execFile } from 'node:child_process';
import { HypervisorError } from '../hypervisor-driver.js';

/** What QEMU says of one of its CPU models on this host. */
export interface CpuModel {
  readonly name: string;
  /** Features that a guest would lack here; null when there is no such model. */
  readonly missing: readonly string[] | null;
  /** Flags that a guest sees, as Linux names them. */
  readonly flags: readonly string[];
}

interface Definition {
  readonly name: string;
  readonly 'unavailable-features'?: readonly string[];
}

interface Expansion {
  readonly model: { readonly props: Readonly<Record<string, unknown>> };
}

/** Switches of QEMU's own among the properties of a CPU. */
const SWITCHES =
  /^(x_.*|hv_.*|kvm.*|check|enforce|cpuid_0xb|fill_mtrr_mask|full_cpuid_auto_level|l3_cache|legacy_cache|host_cache_info|tcg_cpuid|vmware_cpuid_freq|migratable|pmu|lmce|realized|start_powered_off|hotplugged|hotpluggable|host_phys_bits)$/;
/** Names that QEMU has beside those of Linux. */
const LINUX: Readonly<Record<string, string>> = {
  i64: 'lm',
  xd: 'nx',
  sse3: 'pni',
  ffxsr: 'fxsr_opt',
  pclmuldq: 'pclmulqdq',
};

/** Properties that are on, each once, by the names that Linux has for them. */
export const flagsOf = (properties: Readonly<Record<string, unknown>>): string[] => {
  const names = Object.entries(properties).flatMap(([name, value]) => (value === true ? [name] : []));
  const flags = names.map((name) => name.replaceAll(/[-.]/g, '_')).filter((name) => !SWITCHES.test(name));
  return [...new Set(flags.map((flag) => LINUX[flag] ?? flag))].sort();
};

/**
 * Asks QEMU which of these models it can give to guests, each feature of them.
 * @param timeout milliseconds
 * @throws HypervisorError `unavailable` when it does not answer under this accelerator
 */
export const askModels = async (
  qemu: string,
  accel: 'kvm' | 'tcg',
  names: readonly string[],
  timeout: number,
  signal: AbortSignal,
): Promise<CpuModel[]> => {
  const answers = await converse(
    qemu,
    accel,
    [
      { execute: 'query-cpu-definitions' },
      ...names.map((name) => ({ execute: 'query-cpu-model-expansion', arguments: { type: 'full', model: { name } } })),
    ],
    timeout,
    signal,
  );
  const definitions = answers[0]?.return as readonly Definition[];
  return names.map((name, i) => ({
    name,
    missing: definitions.find((definition) => definition.name === name)?.['unavailable-features'] ?? null,
    flags: flagsOf((answers[i + 1]?.return as Expansion | undefined)?.model.props ?? {}),
  }));
};

interface Answer {
  readonly return?: unknown;
}

/** What QEMU without a machine answers, in turn. */
const converse = (
  qemu: string,
  accel: string,
  commands: readonly object[],
  timeout: number,
  signal: AbortSignal,
): Promise<Answer[]> =>
  new Promise((resolve, reject) => {
    const args = ['-machine', 'none', '-accel', accel, '-nodefaults', '-no-user-config', '-display', 'none', '-S'];
    const settings = { signal, timeout, killSignal: 'SIGKILL' as const, maxBuffer: 1 << 24 };
    const child = execFile(qemu, [...args, '-qmp', 'stdio'], settings, (error, stdout, stderr) => {
      const said = stdout.split('\n').flatMap((line) => (line.trim() ? [JSON.parse(line) as Answer] : []));
      // The greeting and what ends it are none of them, nor are events.
      const answers = said.filter((line) => 'return' in line || 'error' in line).slice(1, 1 + commands.length);
      if (!error && answers.length === commands.length && answers[0]?.return) return resolve(answers);
      const words = stderr.trim().split('\n')[0]?.slice(0, 200);
      return reject(
        new HypervisorError('unavailable', `QEMU does not tell its CPU models under ${accel}`, words, { cause: error }),
      );
    });
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(
      [{ execute: 'qmp_capabilities' }, ...commands, { execute: 'quit' }]
        .map((command) => `${JSON.stringify(command)}\n`)
        .join(''),
    );
  });
