import { randomUUID } from 'node:crypto';
import { operationFailed } from '../errors.mjs';
import { mergeLater } from '../merging.mjs';
import { snapshotObject } from '../objects.mjs';
import { wildcard } from '../wildcards.mjs';
import { machines } from './vm.mjs';

const LIMIT = 50;

const snapshots = (host, p) => {
  if (p.VMSnapshot) return [p.VMSnapshot].flat();
  const all = p.Id ? [...host.vms.values()] : machines(host, { VM: p.VM && [p.VM].flat(), VMName: p.VMName });
  const names = p.Name === undefined ? null : [p.Name].flat().map(wildcard);
  return all.flatMap((vm) =>
    vm.snapshots
      .filter((s) => (p.Id ? s.id === p.Id : (names?.some((name) => name.test(s.name)) ?? true)))
      .map((snapshot) => ({ vm, snapshot })),
  );
};

const disksOf = (vm) => vm.drives.filter((d) => d.kind === 'HardDiskDrive');
/** `root.vhdx` goes on in `root_<guid>.avhdx`. */
const nextPath = (path) => path.replace(/(_[0-9A-F-]{36})?\.a?(vhdx?)$/i, `_${randomUUID().toUpperCase()}.a$2`);

const goOnAbove = async (host, vm) => {
  for (const drive of disksOf(vm)) {
    const { format, size } = host.disks.info(host.local(drive.path));
    const path = nextPath(drive.path);
    host.disks.create(host.local(path), { format, type: 'Differencing', size, parent: host.local(drive.path) });
    drive.path = path;
  }
  await host.machines.disksChanged(vm);
};

export const checkpointCmdlets = {
  'Checkpoint-VM': async (host, p) => {
    const made = [];
    for (const vm of machines(host, p)) {
      if (vm.checkpointType === 'Disabled') throw operationFailed(`Checkpoints are disabled for '${vm.Name}'.`);
      if (vm.snapshots.length >= LIMIT)
        throw operationFailed(`'${vm.Name}' has ${LIMIT} checkpoints; it cannot have more.`);
      if (vm.checkpointType === 'ProductionOnly' && vm.State === 'Running' && !vm.guest.vss)
        throw operationFailed(
          `Checkpoint operation for '${vm.Name}' failed. Production checkpoints cannot be created: the guest has no working VSS.`,
        );
      const snapshot = {
        id: randomUUID(),
        name: p.SnapshotName ?? `${vm.Name} - (${new Date().toISOString()})`,
        createdAt: new Date().toISOString(),
        processors: vm.processors,
        memory: { ...vm.memory },
        disks: Object.fromEntries(disksOf(vm).map((d) => [d.id, d.path])),
      };
      await goOnAbove(host, vm);
      vm.snapshots.push(snapshot);
      made.push(snapshotObject(vm, snapshot));
    }
    return p.Passthru ? made : [];
  },
  'Get-VMSnapshot': async (host, p) => {
    if (p.ChildOf || p.ParentOf) throw new Error('the double tells no tree of checkpoints');
    return snapshots(host, p).map(({ vm, snapshot }) => snapshotObject(vm, snapshot));
  },
  'Remove-VMSnapshot': async (host, p) => {
    for (const { vm, snapshot } of snapshots(host, p)) {
      vm.snapshots.splice(vm.snapshots.indexOf(snapshot), 1);
      mergeLater(host, vm);
    }
    return [];
  },
};
