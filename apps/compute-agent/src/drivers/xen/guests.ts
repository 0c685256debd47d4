import { mib, type PowerState, type ServerId } from '@omnivisor/contracts';
import { KeyedMutex } from '../common/keyed-mutex.js';
import { type FoundGuest, HypervisorError } from '../hypervisor-driver.js';
import { Definition, domainOf, filesOf, markOf } from './definition.js';
import type { CallOptions, Host } from './host-shell.js';
import { KEEP, LIST } from './scripts.js';
import { xlConfig } from './xl-config.js';
import { type Domain, parseDomains } from './xl-output.js';

/** A guest of ours as it stands. */
export interface Guest {
  readonly definition: Definition;
  readonly domain: Domain | null;
  readonly power: PowerState;
}

interface Found {
  readonly guests: Guest[];
  /** All of the host. */
  readonly domains: Domain[];
  /** Ids that have a folder, of any cloud. */
  readonly folders: ReadonlySet<string>;
  /** Ids whose folder does not say what they are. */
  readonly unreadable: ReadonlySet<string>;
}

/** What is in dom0 of the guests of one cloud. */
export class Guests {
  /** By SHA-256: each is brought to the host once. */
  readonly images = new KeyedMutex<string>();

  constructor(
    readonly host: Host,
    /** Folder in dom0. */
    readonly root: string,
    private readonly cloudId: string,
  ) {}

  async all(): Promise<Found> {
    const text = await this.host.look(LIST, [this.root]);
    const at = text.indexOf('\ndomains\n') + 1 || (text.startsWith('domains\n') ? 0 : -1);
    if (at < 0) throw new HypervisorError('fault', 'the Xen host gave an answer that is none', text.slice(0, 500));
    const domains = parseDomains(text.slice(at + 'domains\n'.length));
    const lines = text.slice(0, at).split('\n');
    const flagged = (word: string) =>
      new Set(lines.filter((line) => line.startsWith(`${word} `)).map((line) => line.slice(word.length + 1)));
    const [suspended, restarting] = [flagged('suspended'), flagged('restarting')];
    const coming = ['incoming', 'arrived', 'accepting'].map(flagged);
    const [sending, leaving, moved] = [flagged('sending'), flagged('leaving'), flagged('moved')];
    const folders = new Set<string>();
    const unreadable = new Set<string>();
    const guests = lines.flatMap((line) => {
      const [, id, written = ''] = /^guest ([0-9a-f-]{36}) (.*)$/.exec(line) ?? [];
      if (id === undefined) return [];
      folders.add(id);
      const definition = readDefinition(written, this.cloudId);
      if (definition === 'theirs') return [];
      if (definition?.serverId !== id) {
        unreadable.add(id);
        return [];
      }
      if (moved.has(id)) definition.stage = 'moved';
      else if (coming.some((ids) => ids.has(id))) definition.stage = 'incoming';
      const own = domainOf(definition);
      // While it is handed over, xl adds something to the name.
      const isOwn = (name: string) => name === own.name || name === `${own.name}--migratedaway`;
      const domain = domains.find(({ uuid, name }) => uuid === own.uuid && isOwn(name)) ?? null;
      const without = suspended.has(id) ? 'suspended' : restarting.has(id) ? 'running' : 'shutdown';
      const power = powerOf(domain, without);
      // It runs elsewhere, or is about to: nothing is known here but that it has to be cleared away.
      if (leaving.has(id) && !moved.has(id)) return [{ definition, domain, power: 'noState' as const }];
      // One that is being sent stands still for that alone.
      return [{ definition, domain, power: power === 'paused' && sending.has(id) ? 'running' : power }];
    });
    return { guests, domains, folders, unreadable };
  }

  /** All of them. @throws HypervisorError `fault` when one cannot be read: left out, it would be taken for gone */
  async list(): Promise<Guest[]> {
    const { guests, unreadable } = await this.all();
    if (unreadable.size > 0)
      throw new HypervisorError('fault', 'the Xen host has guests that cannot be read', [...unreadable].join(', '));
    return guests;
  }

  async find(id: ServerId): Promise<Guest | null> {
    return (await this.all()).guests.find(({ definition }) => definition.serverId === id) ?? null;
  }

  /** @throws HypervisorError `unavailable` while a folder that cannot be read, or a domain without one, may be the guest */
  async findOrNothing(id: ServerId): Promise<Guest | null> {
    const { guests, domains, folders, unreadable } = await this.all();
    const guest = guests.find(({ definition }) => definition.serverId === id);
    if (guest) return guest;
    const isLost = !folders.has(id) && domains.some(({ uuid, name }) => uuid === id && name === id);
    if (unreadable.has(id) || isLost)
      throw new HypervisorError('unavailable', `what the host has of server ${id} cannot be read`);
    return null;
  }

  /** @throws HypervisorError `serverNotOnHost` */
  async get(id: ServerId): Promise<Guest> {
    const guest = await this.findOrNothing(id);
    if (!guest) throw new HypervisorError('serverNotOnHost', `server ${id} is not on this host`);
    return guest;
  }

  /** Keeps what a guest is from now on; disks of its folder that this does not name go. */
  async keep(definition: Definition): Promise<Definition> {
    await this.call(definition.serverId, KEEP, [JSON.stringify(definition), ...filesOf(definition)]);
    return definition;
  }

  /** Runs a script about one guest. */
  async call(id: ServerId, script: string, args: readonly string[] = [], options: CallOptions = {}): Promise<string> {
    const wait = this.host.lockWait(options.timeout);
    // The empty line is how the script finds out that somebody listens.
    return (await this.host.call(script, [this.root, id, wait, ...args], options)).replace(/^\n/, '');
  }

  folder(id: ServerId): string {
    return `${this.root}/guests/${id}`;
  }

  config(definition: Definition): string {
    return xlConfig(definition, this.folder(definition.serverId));
  }
}

/** Null when it is none: half written, or by another release. It is left alone, and in the way of a spawn. */
const readDefinition = (line: string, cloudId: string): Definition | 'theirs' | null => {
  try {
    const written = JSON.parse(line);
    return typeof written.cloudId === 'string' && written.cloudId !== cloudId ? 'theirs' : Definition.parse(written);
  } catch {
    return null;
  }
};

const powerOf = (domain: Domain | null, without: PowerState): PowerState => {
  if (!domain) return without;
  return ({ running: 'running', paused: 'paused', off: 'shutdown', crashed: 'crashed' } as const)[domain.state];
};

export const isOn = ({ power }: Guest): boolean => power === 'running' || power === 'paused';

export const asFound = ({ definition, power }: Guest): FoundGuest => ({
  mark: markOf(definition),
  stage: definition.stage,
  power:
    definition.stage === 'moved'
      ? 'shutdown'
      : definition.stage === 'building' || definition.stage === 'incoming'
        ? 'noState'
        : power,
  memory: mib(definition.size.memory),
  vcpus: definition.size.vcpus,
});
