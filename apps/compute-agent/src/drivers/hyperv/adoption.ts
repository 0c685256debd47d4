import { mib, type ServerId } from '@omnivisor/contracts';
import {
  type ForeignGuest,
  type FoundGuest,
  type GuestMark,
  type GuestNic,
  HypervisorError,
} from '../hypervisor-driver.js';
import { aclsFor } from './acls.js';
import type { BuildOptions } from './build.js';
import { plugAll } from './devices.js';
import type { Former, Wiring } from './former.js';
import { asFound, type Guest, type Guests } from './guests.js';
import { plainMac, wireFor } from './hardware.js';
import { CmdletError } from './host-errors.js';
import { type Mark, readMark, withoutMark, writeMark } from './mark.js';
import type { MemberMarks } from './member-marks.js';
import type { Members } from './members.js';
import type { ReadyNode } from './node.js';
import { powerOf } from './operations/machines.js';
import { CONSOLE_LOG } from './paths.js';

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;

/** Guests without any cloud's mark. */
export const candidates = async (members: Members): Promise<ForeignGuest[]> => {
  const { told } = await members.ask(async (on) => ({ on, machines: await on.machines.all() }));
  const found: ForeignGuest[] = [];
  for (const { on, machines } of told) {
    for (const vm of machines.filter((one) => readMark(one.Notes) === null)) {
      const drives = (await on.disks.drives(vm.Id)).flatMap(({ Path }) => Path ?? []);
      const disks = await Promise.all(
        drives.map(async (path) => ({ name: path.split('\\').at(-1)!, size: await sizeOf(on, path) })),
      );
      found.push({
        nativeId: vm.Id,
        name: vm.Name,
        power: powerOf(vm.State),
        vcpus: vm.ProcessorCount,
        memory: mib(Math.round(vm.MemoryStartup / MIB)),
        disks,
        nics: (await on.adapters.list(vm.Id)).map(({ MacAddress, SwitchName }) => ({
          mac: MacAddress.toLowerCase().match(/../g)!.join(':'),
          network: SwitchName,
        })),
      });
    }
  }
  return found;
};

/** 0 where it is not known: of a disk that is passed through, gone or on a volume that is offline. */
const sizeOf = async (on: ReadyNode, path: string): Promise<number> => {
  try {
    return (await on.disks.info(path)).Size;
  } catch (error) {
    if (error instanceof CmdletError) return 0;
    throw error;
  }
};

export const adopt = async (
  members: Members,
  guests: Guests,
  marks: MemberMarks,
  nativeId: string,
  mark: GuestMark,
  nics: readonly GuestNic[],
  options: BuildOptions,
): Promise<FoundGuest> => {
  const wired = nics.filter(({ attachment }) => attachment.kind === 'provider');
  // What cannot be enforced is refused before it is ours.
  for (const nic of wired) {
    wireFor(nic, options.switches);
    if (nic.guard) aclsFor(nic, nic.guard);
  }
  const known = await guests.find(mark.serverId);
  if (known) {
    if (known.vm.Id !== nativeId || known.mark.attempt !== mark.attempt)
      throw new HypervisorError('fault', 'another guest stands for this server');
    await plugAll(known, wired, options);
    return asFound(known, undefined);
  }
  const { told, silent } = await members.ask(async (on) => ({ on, vm: await on.machines.byId(nativeId) }));
  for (const { on, vm } of told) {
    if (!vm || readMark(vm.Notes)) continue;
    const macs = (await on.adapters.list(vm.Id)).map(({ MacAddress }) => MacAddress);
    if (nics.some((nic) => !macs.includes(plainMac(nic.mac))))
      throw new HypervisorError('fault', 'the guest has no network interface with that MAC address');
    const drives = await on.disks.drives(vm.Id);
    const [first] = drives;
    if (!first?.Path || !/\.vhdx?$/i.test(first.Path) || drives.some(({ Path }) => /\.avhdx?$/i.test(Path ?? '')))
      throw new HypervisorError(
        'unsupported',
        'a guest that has checkpoints, or does not start from a virtual hard disk, cannot be adopted',
      );
    const adopted: Mark = {
      ...mark,
      stage: 'settled',
      size: {
        vcpus: vm.ProcessorCount,
        memory: Math.round(vm.MemoryStartup / MIB),
        disk: Math.ceil((await on.disks.info(first.Path)).Size / GIB),
      },
      root: first.Path,
      rescue: null,
      ephemeral: null,
      configDrive: null,
      slot: { type: first.ControllerType, number: first.ControllerNumber, location: first.ControllerLocation },
      images: [],
      ports: Object.fromEntries(nics.map((nic) => [nic.portId, plainMac(nic.mac)])),
      disks: {},
      adopted: true,
      former: await formerOf(on, vm.Id, wired),
      wishes: null,
      rescueWishes: null,
      rescueConfigDrive: null,
      ejected: null,
      before: null,
      rebuilding: null,
    };
    // Console log and new disks go here; its own files stay where they are.
    await on.files.makeFolder(on.paths.guest(mark.serverId));
    await on.marks.write(mark, 'settled');
    await on.machines.setNotes(vm.Id, writeMark(adopted, vm.Notes));
    const guest = await guests.get(mark.serverId);
    try {
      await on.machines.meter(vm.Id);
      await plugAll(guest, wired, options);
    } catch (error) {
      // It is as before then; what cannot be put back now stays ours, and is looked at again.
      await giveBack(guests, marks, guest);
      throw error;
    }
    return asFound(guest, undefined);
  }
  if (silent.length > 0)
    throw new HypervisorError('unavailable', 'a member of the cluster that may have the guest does not answer');
  throw new HypervisorError('fault', 'there is no such guest to adopt');
};

export const release = async (guests: Guests, marks: MemberMarks, id: ServerId): Promise<void> => {
  const guest = await guests.find(id);
  if (guest) await giveBack(guests, marks, guest);
  else await marks.remove(id);
};

const formerOf = async (on: ReadyNode, vmId: string, nics: readonly GuestNic[]): Promise<Former> => {
  const adapters: Record<string, Wiring> = {};
  for (const { mac } of nics) adapters[plainMac(mac)] = await on.adapters.wiringOf(vmId, plainMac(mac));
  return { ...(await on.machines.natureOf(vmId)), adapters };
};

/** As it was before; the mark goes last, so that what was cut off is done again. */
const giveBack = async (guests: Guests, marks: MemberMarks, { on, vm, mark }: Guest): Promise<void> => {
  const { serverId: id, former } = mark;
  if (former) {
    for (const [mac, was] of Object.entries(former.adapters)) await on.adapters.restore(vm.Id, mac, was);
    await on.machines.restoreNature(vm.Id, former, powerOf(vm.State) === 'shutdown');
  }
  const kept = (await on.files.items(on.paths.guest(id))).filter(({ Name }) => Name !== CONSOLE_LOG);
  if (kept.length === 0) await on.files.remove(on.paths.guest(id));
  await on.machines.setNotes(vm.Id, withoutMark(vm.Notes ?? ''));
  guests.forget(id);
  await marks.remove(id);
};
