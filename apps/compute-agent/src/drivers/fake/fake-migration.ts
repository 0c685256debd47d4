import { randomUUID } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { mib, type ServerId } from '@omnivisor/contracts';
import { readJson, writeJson } from '../common/atomic-file.js';
import { type Adoption, type GuestSpec, HypervisorError, type LiveMigration } from '../hypervisor-driver.js';
import { type FakeGuest, NOTHING, nicsFrom } from './fake-guest.js';
import { type FakeHost, refuseAborted, refuseHardware } from './fake-host.js';
import { type FakeHypervisor, guestFrom } from './fake-hypervisor.js';

/** Machines of this process that wait for a guest, by the key of the migration; others are reached by their folder. */
const waiting = new Map<string, FakeHypervisor>();

interface Ticket {
  readonly key: string;
  readonly folder: string | null;
}

const parcel = (folder: string, key: string) => join(folder, `.parcel-${key}`);

const parse = (ticket: string): Ticket => {
  try {
    const { key, folder } = JSON.parse(ticket);
    if (typeof key === 'string' && /^[0-9a-f-]{36}$/.test(key)) return { key, folder };
  } catch {}
  throw new HypervisorError('fault', 'the ticket is not one of this backend');
};

/** What arrives takes the place of the shell. */
const arrive = (machine: FakeHypervisor, shell: FakeGuest, guest: FakeGuest): void => {
  if (shell.expects) waiting.delete(shell.expects);
  const { mark, nics } = shell;
  machine.complete({ ...guest, mark, nics, stage: 'incoming', power: 'running', expects: null });
};

/** A shell whose guest has come by folder, from another process. */
export const unpack = (machine: FakeHypervisor, shell: FakeGuest): void => {
  if (!machine.stateDir || !shell.expects) return;
  const file = parcel(machine.stateDir, shell.expects);
  const guest = readJson(file) as FakeGuest | null;
  if (!guest) return;
  arrive(machine, shell, guest);
  rmSync(file, { force: true });
};

const send = (guest: FakeGuest, { key, folder }: Ticket): void => {
  const machine = waiting.get(key);
  const shell = machine?.guest(guest.mark.serverId);
  if (machine && shell?.expects === key) {
    arrive(machine, shell, guest);
    return;
  }
  if (!folder || !existsSync(folder)) throw new HypervisorError('fault', 'nobody waits for this guest');
  const there = readJson(join(folder, `${guest.mark.serverId}.json`)) as FakeGuest | null;
  if (there?.expects !== key) throw new HypervisorError('fault', 'nobody waits for this guest');
  writeJson(parcel(folder, key), guest);
};

export const liveMigrationOf = (host: FakeHost): LiveMigration => {
  const { machine } = host;
  const receive = (spec: GuestSpec) => {
    const { serverId: id } = spec.mark;
    const there = machine.guest(id);
    if (there && (!host.isOurs(there) || there.expects === null))
      throw new HypervisorError('fault', `server ${id} is on this host already`);
    refuseHardware(spec);
    const shell = guestFrom(spec);
    machine.begin(id, shell);
    const ticket: Ticket = { key: randomUUID(), folder: machine.stateDir };
    if (there?.expects) waiting.delete(there.expects);
    waiting.set(ticket.key, machine);
    machine.complete({ ...shell, stage: 'incoming', power: 'noState', expects: ticket.key });
    return JSON.stringify(ticket);
  };
  return {
    kinds: new Set(['forced', 'copied'] as const),
    reach: async () => ({ storage: 'fake', sees: ['fake'], realm: null, pool: null }),
    offer: (id) =>
      host.onGuest(id, 'migrate', ({ power }) => {
        if (power !== 'running') throw new HypervisorError('fault', `cannot migrate a guest that is ${power}`);
        return JSON.stringify({ fake: id });
      }),
    receive: (spec, offer, _options, signal) =>
      host.oneAtATime.run(spec.mark.serverId, async () => {
        await machine.work('migrate', signal);
        refuseAborted(signal);
        if (offer !== JSON.stringify({ fake: spec.mark.serverId }))
          throw new HypervisorError('fault', 'the offer is not one of this server');
        return receive(spec);
      }),
    send: (id, ticket, { onProgress, signal, force }) =>
      host.onGuest(
        id,
        'migrate',
        (guest) => {
          if (guest.stage === 'moved') return;
          if (guest.power !== 'running')
            throw new HypervisorError('fault', `cannot migrate a guest that is ${guest.power}`);
          const total = guest.memoryMib * 1024 ** 2;
          onProgress?.({ memory: { total, remaining: 0 }, disk: { total: 0, remaining: 0 } });
          send(guest, parse(ticket));
          machine.change(id, { stage: 'moved', power: 'shutdown', startedAt: null, memory: NOTHING });
        },
        signal,
        force,
      ),
    accept: (id) =>
      host.onGuest(id, 'migrate', (guest) => {
        if (guest.stage !== 'incoming') return;
        if (guest.power === 'noState') throw new HypervisorError('fault', 'the guest has not come yet');
        machine.change(id, { stage: 'settled' });
      }),
    cancel: (id) =>
      host.oneAtATime.run(id, async () => {
        await machine.work('migrate');
        const guest = machine.guest(id);
        if (!guest || !host.isOurs(guest)) return;
        if (guest.power !== 'noState') throw new HypervisorError('fault', 'the guest runs on this host');
        if (guest.expects) waiting.delete(guest.expects);
        machine.remove(id);
      }),
    recover: (id) =>
      host.onGuest(id, 'migrate', ({ stage }) => {
        if (stage === 'moved') throw new HypervisorError('fault', 'the guest has moved to another host');
      }),
  };
};

export const adoptionOf = (host: FakeHost): Adoption => {
  const { machine } = host;
  const adopted = (id: ServerId) => {
    const guest = machine.guest(id);
    return guest && host.isOurs(guest) ? guest : null;
  };
  return {
    candidates: async () => {
      await machine.work('adopt');
      return [...machine.foreignGuests.values()];
    },
    adopt: (nativeId, mark, nics) =>
      host.oneAtATime.run(mark.serverId, async () => {
        await machine.work('adopt');
        const there = adopted(mark.serverId);
        const foreign = machine.foreignGuests.get(nativeId);
        if (!there || there.adopted?.nativeId !== nativeId) {
          if (there || !foreign) throw new HypervisorError('fault', 'there is no such guest to adopt');
          const gib = (size: number) => Math.ceil(size / 1024 ** 3);
          const disks = { root: NOTHING, rootGib: gib(foreign.disks[0]?.size ?? 0), ephemeralGib: 0, swapMib: 0 };
          machine.foreignGuests.delete(nativeId);
          machine.plant({
            mark,
            name: foreign.name,
            stage: 'settled',
            power: foreign.power,
            startedAt: foreign.power === 'running' ? machine.clock.now() : null,
            vcpus: foreign.vcpus,
            memoryMib: foreign.memory,
            diskGib: disks.rootGib,
            nics: nicsFrom(nics),
            disks,
            attached: [],
            configDrive: [],
            memory: NOTHING,
            writes: 0,
            hasAgent: false,
            rescue: null,
            before: null,
            expects: null,
            adopted: foreign,
            console: '',
          });
        }
        const { power, memoryMib, vcpus, stage } = host.guest(mark.serverId);
        return { mark, stage, power, memory: mib(memoryMib), vcpus };
      }),
    release: (id) =>
      host.oneAtATime.run(id, async () => {
        await machine.work('adopt');
        const guest = adopted(id);
        if (!guest) return;
        if (!guest.adopted) throw new HypervisorError('fault', 'the guest was not adopted');
        machine.foreignGuests.set(guest.adopted.nativeId, { ...guest.adopted, power: guest.power });
        machine.remove(id);
      }),
  };
};
