import { z } from 'zod';
import { cpuTraits } from '../common/cpu-traits.js';
import { HypervisorError } from '../hypervisor-driver.js';

/** How this host runs guests now, whatever the guest is made of. */
export interface Execution {
  readonly accel: 'kvm' | 'tcg';
  readonly cpuModel: string;
  /** The model was chosen by an operator: a guest that would lack one of its features does not start. */
  readonly isWhole?: boolean;
  /** User and group of the process once it holds its devices; null: it stays who started it. */
  readonly runAs: number | null;
}

const word = z.string().max(64);

/** What a guest's memory has to find again: state of one CPU makes no sense to another. */
export const GuestCpu = z.strictObject({
  accel: z.enum(['kvm', 'tcg']),
  model: word,
  /** Of the machine, where guests have its own CPU, or a chosen model by KVM, which has the machine's vendor; else empty. */
  vendor: word,
  /** Names of os-traits. */
  traits: z.array(word).max(200),
});
export type GuestCpu = z.infer<typeof GuestCpu>;

/** @param machine the machine's own CPU, as Linux tells it */
export const guestCpu = (
  { accel, cpuModel, isWhole }: Omit<Execution, 'runAs'>,
  machine: { readonly vendor: string; readonly flags: readonly string[] },
): GuestCpu => {
  const isOwn = cpuModel === 'host' || (accel === 'kvm' && cpuModel === 'max');
  return {
    accel,
    model: cpuModel,
    vendor: isOwn || (isWhole && accel === 'kvm') ? machine.vendor : '',
    traits: isOwn ? cpuTraits(machine.flags) : [],
  };
};

/** How a process was started, which may be otherwise than this agent would start it. */
export const executionOf = (command: readonly string[]): Omit<Execution, 'runAs'> => {
  const values = (option: string) => command[command.indexOf(option) + 1]?.split(',') ?? [];
  const [cpuModel = '', ...features] = values('-cpu');
  return {
    accel: values('-accel')[0] === 'kvm' ? 'kvm' : 'tcg',
    cpuModel,
    ...(features.includes(WHOLE) ? { isWhole: true } : {}),
  };
};

/** QEMU's word for a CPU that has every feature of its model, or is none. */
const WHOLE = 'enforce';

/** The argument of `-cpu`, with what else a guest needs of its CPU. */
export const cpuArgument = ({ cpuModel, isWhole }: Omit<Execution, 'runAs'>, more: readonly string[] = []): string =>
  [cpuModel, ...(isWhole ? [WHOLE] : []), ...more].join();

const named = ({ accel, model }: GuestCpu) => `${accel === 'kvm' ? 'KVM' : 'emulation'} with the CPU ${model}`;

/** @throws HypervisorError `unsupported` when a guest that runs, or was saved, on one CPU cannot go on with the other */
export const refuseOtherCpu = (before: GuestCpu, here: GuestCpu): void => {
  if (before.accel !== here.accel || before.model !== here.model)
    throw new HypervisorError('unsupported', `the guest ran by ${named(before)}, and this host has ${named(here)}`);
  // Older agents do not tell it of every model.
  if (before.vendor && here.vendor && before.vendor !== here.vendor)
    throw new HypervisorError('unsupported', `the guest ran on ${before.vendor}, and this host is ${here.vendor}`);
  const missing = before.traits.filter((trait) => !here.traits.includes(trait));
  if (missing.length > 0)
    throw new HypervisorError('unsupported', `the CPU of this host lacks what the guest has: ${missing.join(', ')}`);
};
