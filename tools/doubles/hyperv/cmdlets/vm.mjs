import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { invalidParameter, noSuchVm, notWhileRunning, outOfMemory, wrongState } from '../errors.mjs';
import { vmObject } from '../objects.mjs';
import { newAdapter, newMachine } from '../state.mjs';
import { wildcard } from '../wildcards.mjs';

const MIB = 1024 ** 2;
const TIB = 1024 ** 4;
const ADAPTER_NAMES = { en: 'Network Adapter', de: 'Netzwerkkarte' };

/** The virtual machines that `-VM`, `-VMName`, `-Name` or `-Id` means. */
export const machines = (host, { VM, VMName, Name, Id }) => {
  if (VM) return VM;
  const names = VMName ?? Name;
  if (!names) return Id ? [byId(host, Id)] : [...host.vms.values()];
  return [names].flat().flatMap((name) => {
    // Names may be given twice; wildcards are allowed.
    const pattern = wildcard(name);
    const found = [...host.vms.values()].filter((vm) => pattern.test(vm.Name));
    if (found.length === 0 && !/[*?[]/.test(name)) throw noSuchVm('name', name);
    return found;
  });
};

const byId = (host, id) => {
  const vm = host.vms.get(id);
  if (!vm) throw noSuchVm('id', id);
  return vm;
};

const must = (vm, states, verb) => {
  if (!states.includes(vm.State)) throw wrongState(vm, verb);
};
const mustBeOff = (vm) => {
  if (vm.State !== 'Off') throw notWhileRunning(vm);
};

const memoryInUse = (host) =>
  [...host.vms.values()]
    .filter((vm) => vm.State === 'Running' || vm.State === 'Paused')
    .reduce((sum, vm) => sum + vm.memory.startup, 0);

const setState = (host, vm, state) => {
  vm.State = state;
  host.changed(vm);
};

const checkMemory = (vm, startup) => {
  if (startup < 32 * MIB || startup > (vm.Generation === 1 ? TIB : 240 * TIB) || startup % (2 * MIB) !== 0)
    throw invalidParameter(
      `'${vm.Name}' failed to modify device 'Memory'. Invalid startup memory amount assigned for '${vm.Name}'.`,
    );
};

/** Does `change` to each machine that is meant, and gives them back with -Passthru. */
const each = (change) => async (host, parameters) => {
  const meant = machines(host, parameters);
  for (const vm of meant) await change(host, vm, parameters);
  return parameters.Passthru ? meant.map(vmObject) : [];
};

export const vmCmdlets = {
  'Get-VM': async (host, parameters) => machines(host, parameters).map(vmObject),

  'New-VM': async (
    host,
    {
      Name = 'New Virtual Machine',
      Generation = 1,
      MemoryStartupBytes = 512 * MIB,
      Path,
      NewVHDPath,
      VHDPath,
      SwitchName,
    },
  ) => {
    if (NewVHDPath || VHDPath || SwitchName) throw new Error('the double makes machines without disk and switch only');
    const { root, language } = host.facts;
    const vm = newMachine({ Name, Generation, MemoryStartupBytes, Path, root, language });
    vm.adapters.push(newAdapter(ADAPTER_NAMES[language]));
    checkMemory(vm, MemoryStartupBytes);
    mkdirSync(host.local(`${vm.Path}\\Virtual Machines`), { recursive: true });
    host.vms.set(vm.Id, vm);
    return [vmObject(vm)];
  },

  'Set-VM': each(async (host, vm, p) => {
    const needsOff = ['ProcessorCount', 'DynamicMemory', 'StaticMemory', 'MemoryStartupBytes'].some((n) => n in p);
    if (needsOff) mustBeOff(vm);
    if (p.Notes !== undefined) vm.Notes = p.Notes;
    if (p.NewVMName !== undefined) vm.Name = p.NewVMName;
    if (p.CheckpointType) vm.checkpointType = p.CheckpointType;
    if (p.AutomaticStartAction) vm.startAction = p.AutomaticStartAction;
    if (p.AutomaticStopAction) vm.stopAction = p.AutomaticStopAction;
    if (p.ProcessorCount) vm.processors = p.ProcessorCount;
    void host;
  }),
  'Remove-VM': each(async (host, vm) => {
    must(vm, ['Off', 'Saved'], 'be removed');
    // Its disks stay where they are.
    rmSync(host.local(`${vm.Path}\\Virtual Machines`), { recursive: true, force: true });
    host.vms.delete(vm.Id);
  }),

  'Start-VM': each(async (host, vm) => {
    if (vm.State === 'Running') return;
    must(vm, ['Off', 'Saved'], 'start');
    if (memoryInUse(host) + vm.memory.startup > host.facts.memory)
      throw outOfMemory(
        `'${vm.Name}' failed to start. Not enough memory in the system to start the virtual machine ${vm.Name} with ram size ${vm.memory.startup / MIB} megabytes.`,
      );
    if (vm.processors > host.facts.processors)
      throw invalidParameter(
        `'${vm.Name}' failed to start. It has more virtual processors than the host has logical ones.`,
      );
    for (const drive of vm.drives)
      if (drive.path && !existsSync(host.local(drive.path)))
        throw invalidParameter(
          `'${vm.Name}' failed to start. Attachment '${drive.path}' not found. Error: 'The system cannot find the file specified.' (0x80070002).`,
        );
    if (vm.State === 'Saved') await host.machines.restore(vm);
    else {
      await host.machines.start(vm);
      vm.startedAt = new Date().toISOString();
    }
    setState(host, vm, 'Running');
  }),

  'Stop-VM': each(async (host, vm, { TurnOff, Save }) => {
    if (vm.State === 'Off') return;
    if (Save) throw new Error('the double saves by Save-VM only');
    if (!TurnOff) throw new Error('the double does not wait for a guest; Send-HostShutdown asks it');
    must(vm, ['Running', 'Paused'], 'change state');
    await host.machines.stop(vm);
    vm.startedAt = null;
    setState(host, vm, 'Off');
  }),
  'Suspend-VM': each(async (host, vm) => {
    if (vm.State === 'Paused') return;
    must(vm, ['Running'], 'change state');
    await host.machines.pause(vm);
    setState(host, vm, 'Paused');
  }),
  'Resume-VM': each(async (host, vm) => {
    if (vm.State === 'Running') return;
    must(vm, ['Paused'], 'change state');
    await host.machines.resume(vm);
    setState(host, vm, 'Running');
  }),
  'Save-VM': each(async (host, vm) => {
    if (vm.State === 'Saved') return;
    must(vm, ['Running', 'Paused'], 'change state');
    await host.machines.save(vm);
    setState(host, vm, 'Saved');
  }),
  'Remove-VMSavedState': each(async (host, vm) => {
    must(vm, ['Saved'], 'change state');
    vm.startedAt = null;
    setState(host, vm, 'Off');
  }),
  'Debug-VM': each(async (host, vm) => {
    must(vm, ['Running'], 'receive an interrupt');
    await host.machines.nmi(vm);
  }),

  'Set-VMProcessor': each(async (host, vm, { Count }) => {
    if (Count === undefined) return;
    mustBeOff(vm);
    if (Count < 1 || Count > (vm.Generation === 1 ? 64 : 1024))
      throw invalidParameter(
        `'${vm.Name}' failed to modify device 'Processor'. The number of virtual processors is out of range.`,
      );
    vm.processors = Count;
    void host;
  }),
  'Set-VMMemory': each(async (_, vm, { StartupBytes, DynamicMemoryEnabled, MinimumBytes, MaximumBytes }) => {
    mustBeOff(vm);
    const next = { ...vm.memory };
    if (StartupBytes !== undefined) next.startup = StartupBytes;
    if (DynamicMemoryEnabled !== undefined) next.dynamic = DynamicMemoryEnabled;
    if (MinimumBytes !== undefined) next.minimum = MinimumBytes;
    if (MaximumBytes !== undefined) next.maximum = MaximumBytes;
    checkMemory(vm, next.startup);
    if (next.dynamic && !(next.minimum <= next.startup && next.startup <= next.maximum))
      throw invalidParameter(
        `'${vm.Name}' failed to modify device 'Memory'. Startup memory has to be between minimum and maximum.`,
      );
    vm.memory = next;
  }),
  'Disable-VMResourceMetering': async (host, { ResourcePoolName, ...parameters }) => {
    if (ResourcePoolName) throw new Error('the double has no resource pools');
    for (const vm of machines(host, parameters)) {
      vm.metering = false;
      for (const adapter of vm.adapters) adapter.traffic = null;
    }
    return [];
  },
  'Enable-VMResourceMetering': async (host, { ResourcePoolName, ...parameters }) => {
    if (ResourcePoolName) throw new Error('the double has no resource pools');
    for (const vm of machines(host, parameters)) {
      vm.metering = true;
      // Adapters without meters get some for all traffic; those that come later have none.
      for (const adapter of vm.adapters) adapter.traffic ??= { in: 0, out: 0 };
    }
    return [];
  },
};
