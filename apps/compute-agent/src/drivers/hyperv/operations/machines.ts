import { type PowerState, ServerId } from '@omnivisor/contracts';
import { z } from 'zod';
import { HypervisorError } from '../../hypervisor-driver.js';
import { Former } from '../former.js';
import type { Hardware, Memory } from '../hardware.js';
import { hostObject, machine } from '../host-call.js';
import type { HostConnection } from '../host-connection.js';
import { CmdletError } from '../host-errors.js';
import { readMark } from '../mark.js';
import { pipeOf } from '../paths.js';

const MIB = 1024 ** 2;

export const Machine = z.object({
  Id: z.string(),
  Name: z.string(),
  State: z.string(),
  Generation: z.union([z.literal(1), z.literal(2)]),
  Notes: z.string().nullable(),
  Path: z.string(),
  ProcessorCount: z.number(),
  MemoryStartup: z.number(),
  MemoryMaximum: z.number(),
  DynamicMemoryEnabled: z.boolean(),
});
export type Machine = z.output<typeof Machine>;

/** The same, whatever its properties are. */
const Row = z.object(Object.fromEntries(Object.keys(Machine.shape).map((name) => [name, z.unknown()])));

/** By name: numbers of states differ between releases of Windows. A critical state is one whose storage is lost. */
const POWER: Readonly<Record<string, PowerState>> = {
  Running: 'running',
  Off: 'shutdown',
  Saved: 'suspended',
  FastSaved: 'suspended',
  Paused: 'paused',
  Starting: 'running',
  Resuming: 'running',
  Reset: 'running',
  Stopping: 'running',
  Saving: 'running',
  FastSaving: 'running',
  Pausing: 'running',
  ForceShutdown: 'running',
  ForceReboot: 'running',
  Hibernated: 'shutdown',
};
export const powerOf = (state: string): PowerState => POWER[state.replace(/Critical$/, '')] ?? 'noState';

const Nature = z.object({
  ResourceMeteringEnabled: z.boolean(),
  CheckpointType: Former.shape.checkpointType,
  ComPort1: z.object({ Path: z.string().nullable() }).nullable(),
});

/** Virtual machines as the host knows them. */
export class Machines {
  constructor(private readonly host: HostConnection) {}

  async all(): Promise<Machine[]> {
    return (await this.host.get('Get-VM', {}, Row)).flatMap(readable);
  }

  /** @returns all with this name: Hyper-V takes a name twice */
  async named(name: string): Promise<Machine[]> {
    return (await this.host.get('Get-VM', { Name: name }, Row).catch(none)).flatMap(readable);
  }

  async byId(vmId: string): Promise<Machine | null> {
    return (await this.host.get('Get-VM', { Id: vmId }, Machine).catch(none))[0] ?? null;
  }

  async create(name: string, { generation }: Hardware, memory: Memory, folder: string): Promise<string> {
    const made = await this.host.get(
      'New-VM',
      { Name: name, Generation: generation, MemoryStartupBytes: memory.startup * MIB, Path: folder, NoVHD: true },
      z.object({ Id: z.string() }),
    );
    const { Id } = made[0]!;
    // Hyper-V puts one in that no port stands for.
    await this.host.run('Remove-VMNetworkAdapter', { VM: machine(Id) });
    return Id;
  }

  setNotes(vmId: string, notes: string): Promise<void> {
    return this.host.run('Set-VM', { VM: machine(vmId), Notes: notes });
  }

  /** What the log wants decides whether it runs; the host starts and resumes nothing by itself. */
  async settleOnHost(vmId: string, id: ServerId): Promise<void> {
    await this.host.run('Set-VM', {
      VM: machine(vmId),
      AutomaticStartAction: 'Nothing',
      AutomaticStopAction: 'ShutDown',
      CheckpointType: 'Standard',
    });
    await this.setSerialPort(vmId, id);
    for (const service of ['Shutdown', 'Heartbeat', 'Key-Value Pair Exchange', 'Time Synchronization', 'VSS'])
      await this.enableService(vmId, service);
  }

  /** From now on, of the network adapters that it has; again: also of those that have come since. */
  meter(vmId: string): Promise<void> {
    return this.host.run('Enable-VMResourceMetering', { VM: machine(vmId) });
  }

  /** What becomes another in our hands. */
  async natureOf(vmId: string): Promise<Omit<Former, 'adapters'>> {
    const [found] = await this.host.get('Get-VM', { Id: vmId }, Nature);
    return {
      metering: found!.ResourceMeteringEnabled,
      checkpointType: found!.CheckpointType,
      serialPort: found!.ComPort1?.Path || null,
    };
  }

  /** A serial port keeps its pipe while the machine is on. */
  async restoreNature(vmId: string, former: Omit<Former, 'adapters'>, isOff: boolean): Promise<void> {
    const now = await this.natureOf(vmId);
    if (now.checkpointType !== former.checkpointType)
      await this.host.run('Set-VM', { VM: machine(vmId), CheckpointType: former.checkpointType });
    if (now.metering && !former.metering) await this.host.run('Disable-VMResourceMetering', { VM: machine(vmId) });
    if (isOff && now.serialPort !== former.serialPort)
      await this.host.run('Set-VMComPort', { VM: machine(vmId), Number: 1, Path: former.serialPort });
  }

  setSerialPort(vmId: string, id: string): Promise<void> {
    return this.host.run('Set-VMComPort', { VM: machine(vmId), Number: 1, Path: pipeOf(id) });
  }

  /** Their names are translated, so a service that is not found by its English name keeps what it is: enabled. */
  private async enableService(vmId: string, name: string): Promise<void> {
    const service = hostObject('Get-VMIntegrationService', { VM: machine(vmId) }, { Name: name });
    await this.host.run('Enable-VMIntegrationService', { VMIntegrationService: service }).catch((error: unknown) => {
      if (!(error instanceof CmdletError && error.notFound)) throw error;
    });
  }

  async setSize(vmId: string, vcpus: number, { startup, dynamic }: Memory): Promise<void> {
    await this.host.run('Set-VMProcessor', { VM: machine(vmId), Count: vcpus });
    await this.host.run('Set-VMMemory', {
      VM: machine(vmId),
      StartupBytes: startup * MIB,
      DynamicMemoryEnabled: dynamic !== null,
      ...(dynamic ? { MinimumBytes: dynamic.minimum * MIB, MaximumBytes: dynamic.maximum * MIB } : {}),
    });
  }

  async setSecureBoot(vmId: string, { secureBoot }: Pick<Hardware, 'secureBoot'>): Promise<void> {
    await this.host.run('Set-VMFirmware', {
      VM: machine(vmId),
      EnableSecureBoot: secureBoot ? 'On' : 'Off',
      ...(secureBoot ? { SecureBootTemplate: secureBoot } : {}),
    });
  }

  start(vmId: string): Promise<void> {
    return this.host.run('Start-VM', { VM: machine(vmId) });
  }
  turnOff(vmId: string): Promise<void> {
    return this.host.run('Stop-VM', { VM: machine(vmId), TurnOff: true, Force: true });
  }
  pause(vmId: string): Promise<void> {
    return this.host.run('Suspend-VM', { VM: machine(vmId) });
  }
  unpause(vmId: string): Promise<void> {
    return this.host.run('Resume-VM', { VM: machine(vmId) });
  }
  save(vmId: string): Promise<void> {
    return this.host.run('Save-VM', { VM: machine(vmId) });
  }
  forgetMemory(vmId: string): Promise<void> {
    return this.host.run('Remove-VMSavedState', { VM: machine(vmId) });
  }
  interrupt(vmId: string): Promise<void> {
    return this.host.run('Debug-VM', { VM: machine(vmId), InjectNonMaskableInterrupt: true, Force: true });
  }
  remove(vmId: string): Promise<void> {
    return this.host.run('Remove-VM', { VM: machine(vmId), Force: true });
  }

  /**
   * Asks the guest's shutdown service. A guest that has none yet, or none at all, does not hear it.
   * @returns false where the account may not ask any
   */
  async askToShutDown(vmId: string): Promise<boolean> {
    try {
      await this.host.get('Send-HostShutdown', { VMId: vmId }, z.object({ ReturnValue: z.number() }));
    } catch (error) {
      if (error instanceof CmdletError && error.denied) return false;
      if (!(error instanceof HypervisorError && error.code === 'fault')) throw error;
    }
    return true;
  }
}

const none = (error: unknown): never[] => {
  if (error instanceof CmdletError && error.notFound) return [];
  throw error;
};

/** Machines of others may be broken in any way; one of ours is not taken for gone because of that. */
const readable = (row: z.output<typeof Row>): Machine[] => {
  const machine = Machine.safeParse(row);
  if (machine.success) return [machine.data];
  const { Notes, Name } = row;
  const mayBeOurs = typeof Notes === 'string' ? readMark(Notes) !== null : ServerId.safeParse(Name).success;
  if (!mayBeOurs) return [];
  throw new HypervisorError('fault', 'the Hyper-V host tells of a guest what is none', machine.error.message);
};
