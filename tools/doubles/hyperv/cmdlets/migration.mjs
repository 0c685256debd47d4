import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { accessDenied, invalidParameter, operationFailed, wrongState } from '../errors.mjs';
import { chainOf } from '../merging.mjs';
import { vmObject } from '../objects.mjs';
import { machines } from './vm.mjs';

/** What the two hosts find wrong with a move; empty when it can be done. */
const obstacles = (host, vm, { DestinationHost, IncludeStorage }) => {
  const target = host.peers.get(DestinationHost.split('.')[0].toUpperCase());
  if (!target)
    throw operationFailed(
      `Virtual machine migration failed: the host '${DestinationHost}' could not be contacted. (0x80072AF9).`,
    );
  const found = [];
  for (const side of [host, target])
    if (!side.facts.migration.enabled) found.push(`Live migration is not enabled on '${side.facts.name}'.`);
  if (target.facts.memory < vm.memory.startup) found.push('The destination has too little memory.');
  for (const adapter of vm.adapters)
    if (adapter.switch && !target.facts.switches.some((s) => s.Name === adapter.switch))
      found.push(`Could not find Ethernet switch '${adapter.switch}'.`);
  // A disk that is moved goes without what it stands on, which has to be in the same place there.
  const isMoved = (drive) => IncludeStorage && drive.kind === 'HardDiskDrive';
  const needed = vm.drives.flatMap((drive) => {
    if (!drive.path) return [];
    return isMoved(drive) ? chainOf(host, drive.path).slice(1) : [drive.path];
  });
  for (const path of needed)
    if (!existsSync(target.local(path))) found.push(`'${path}' is not there on the destination.`);
  return { target, found };
};

const mayDelegate = (host, target) => {
  const { authentication, delegatesTo } = host.facts.migration;
  return (
    authentication === 'Kerberos' &&
    delegatesTo.some((spn) =>
      spn.toLowerCase().startsWith(`microsoft virtual system migration service/${target.facts.name.toLowerCase()}`),
    )
  );
};

export const migrationCmdlets = {
  'Move-VM': async (host, p) => {
    if (p.CompatibilityReport || p.Vhds) throw new Error('the double moves a machine with one destination only');
    const [vm] = machines(host, { VM: p.VM && [p.VM], Name: p.Name });
    const { target, found } = obstacles(host, vm, p);
    if (!['Running', 'Off', 'Saved'].includes(vm.State)) throw wrongState(vm, 'be moved');
    if (found.length > 0)
      throw invalidParameter(
        `Virtual machine migration operation for '${vm.Name}' failed at migration destination. ${found.join(' ')}`,
      );
    if (!mayDelegate(host, target))
      throw accessDenied(
        `Virtual machine migration operation failed at migration source. Failed to establish a connection with host '${p.DestinationHost}': No credentials are available in the security package (0x8009030E).`,
      );
    await copyMemory(host, vm);
    if (p.IncludeStorage)
      for (const drive of vm.drives) {
        if (drive.kind !== 'HardDiskDrive') continue;
        const to = `${p.DestinationStoragePath}\\Virtual Hard Disks\\${drive.path.split('\\').at(-1)}`;
        mkdirSync(dirname(target.local(to)), { recursive: true });
        const { parent } = host.disks.info(host.local(drive.path));
        target.disks.copy(host.local(drive.path), target.local(to), parent && target.local(host.remote(parent)));
        rmSync(host.local(drive.path));
        drive.path = to;
      }
    await host.machines.stop(vm);
    host.vms.delete(vm.Id);
    vm.Path = p.DestinationStoragePath ?? vm.Path;
    target.vms.set(vm.Id, vm);
    if (vm.State === 'Running') await target.machines.restore(vm);
    target.changed(vm);
    target.save();
    return p.Passthru ? [vmObject(vm)] : [];
  },
};

const copyMemory = async (host, vm) => {
  const job = { percent: 0, stopped: false };
  host.migrations.set(vm.Id, job);
  const began = Date.now();
  try {
    while (Date.now() - began < host.moveTime) {
      if (job.stopped)
        throw operationFailed(`Virtual machine migration operation for '${vm.Name}' was canceled. (0x800704C7)`);
      job.percent = Math.floor((100 * (Date.now() - began)) / host.moveTime);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  } finally {
    host.migrations.delete(vm.Id);
  }
};
