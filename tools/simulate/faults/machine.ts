import type { ServerId } from '@omnivisor/contracts';
import { KeyedMutex } from '../../../apps/compute-agent/src/drivers/common/keyed-mutex.js';
import {
  FakeDriver,
  FakeHypervisor,
  type FakeHypervisorOptions,
} from '../../../apps/compute-agent/src/drivers/fake/index.js';
import {
  type FoundGuest,
  type HypervisorDriver,
  HypervisorError,
} from '../../../apps/compute-agent/src/drivers/hypervisor-driver.js';
import type { Life } from './life.js';
import type { Random } from './random.js';

type FakeGuest = ReturnType<FakeHypervisor['all']>[number];

/** What a hypervisor says that is not so, each with its chance. */
export interface Lies {
  /** A guest that is there is not listed, and cannot be inspected. */
  readonly absent: number;
  /** The guest was made, and it says that it failed. */
  readonly failed: number;
  /** It says that it did what it was told, and did nothing. */
  readonly done: number;
  /** A guest is told to be off, whatever it is. */
  readonly power: number;
}
export const HONEST: Lies = { absent: 0, failed: 0, done: 0, power: 0 };

/** What somebody did to a guest, as the machine saw it. */
export interface Deeds {
  made(guest: FakeGuest): void;
  removed(guest: FakeGuest): void;
  /** It has power. */
  runs(guest: FakeGuest): void;
  lied(id: ServerId): void;
  /** A call that changes something begins. */
  begins(life: Life, method: string, id: ServerId): void;
}

/** Methods that change a guest, by what their first argument names. */
const CHANGES = new Set([
  'spawn',
  'destroy',
  'powerOn',
  'powerOff',
  'reboot',
  'pausing.pause',
  'pausing.unpause',
  'suspending.suspend',
  'suspending.resume',
  'rebuilding.rebuild',
  'rescuing.rescue',
  'rescuing.unrescue',
  'resizing.resize',
  'resizing.confirmResize',
  'resizing.revertResize',
  'liveMigration.receive',
  'liveMigration.send',
  'liveMigration.accept',
  'liveMigration.recover',
]);
/** Members of a driver whose calls are its own. */
const MEMBERS = new Set([...CHANGES].flatMap((name) => (name.includes('.') ? [name.split('.')[0]!] : [])));
const idOf = (argument: unknown): ServerId =>
  typeof argument === 'string' ? (argument as ServerId) : (argument as { mark: { serverId: ServerId } }).mark.serverId;

/** A hypervisor that is watched, and that may lie. It outlives the agents that drive it. */
export class WatchedMachine extends FakeHypervisor {
  lies = HONEST;
  /** A hypervisor changes one guest at a time, whoever asks. */
  private readonly oneAtATime = new KeyedMutex<ServerId>();
  private accident = false;

  constructor(
    options: FakeHypervisorOptions,
    private readonly deeds: Deeds,
    private readonly random: Random,
  ) {
    super(options);
  }

  override complete(guest: FakeGuest): void {
    // What is there already is made anew from another image.
    if (this.guest(guest.mark.serverId)?.mark.attempt !== guest.mark.attempt) this.deeds.made(guest);
    super.complete(guest);
    this.look(guest.mark.serverId);
  }

  override change(id: ServerId, change: Partial<FakeGuest>): void {
    super.change(id, change);
    this.look(id);
  }

  private look(id: ServerId): void {
    const guest = this.guest(id);
    if (guest?.power === 'running' && guest.stage !== 'incoming') this.deeds.runs(guest);
  }

  override remove(id: ServerId): void {
    const guest = this.guest(id);
    if (guest && !this.accident) this.deeds.removed(guest);
    super.remove(id);
  }

  override vanish(id: ServerId): void {
    this.accident = true;
    super.vanish(id);
    this.accident = false;
  }

  /** The driver of one agent. */
  driverFor(life: Life, cloudId: string): HypervisorDriver {
    const driver = new FakeDriver(this, { cloudId });
    life.onEnd(() => void driver.close());
    const over = (target: object, path: string): object =>
      new Proxy(target, {
        get: (object, property) => {
          const value = Reflect.get(object, property);
          const name = `${path}${String(property)}`;
          if (name === 'events') return (signal: AbortSignal) => driver.events(signal);
          if (typeof value === 'function')
            return (...args: unknown[]) => {
              const at = args.findIndex((a) => a instanceof AbortSignal);
              const work = () =>
                at < 0
                  ? value.apply(object, args)
                  : untilDeath(life, args[at] as AbortSignal, (s) => value.apply(object, args.with(at, s)));
              return life.call(`driver ${name}`, () => this.ask(life, name, args, work));
            };
          return MEMBERS.has(name) && value ? over(value, `${name}.`) : value;
        },
      });
    return over(driver, '') as HypervisorDriver;
  }

  private async ask(life: Life, name: string, args: unknown[], work: () => Promise<unknown>): Promise<unknown> {
    if (name === 'list') return this.listed((await work()) as FoundGuest[]);
    if (name === 'inspect' && this.lies.absent > 0 && this.isHidden(args[0] as ServerId))
      throw new HypervisorError('serverNotOnHost', 'not on this host, it says');
    if (name === 'inspect') return this.inspected((await work()) as FoundGuest);
    if (!CHANGES.has(name)) return work();
    const id = idOf(args[0]);
    this.deeds.begins(life, name, id);
    if (this.random.chance(this.lies.done)) {
      this.deeds.lied(id);
      return undefined;
    }
    const result = await this.oneAtATime.run(id, work);
    if (!this.random.chance(this.lies.failed)) return result;
    this.deeds.lied(id);
    throw new HypervisorError('fault', 'failed, it says');
  }

  private listed(guests: FoundGuest[]): FoundGuest[] {
    return this.lies.absent > 0 ? guests.filter((g) => !this.isHidden(g.mark.serverId)) : guests;
  }

  private inspected(guest: FoundGuest): FoundGuest {
    if (!this.random.chance(this.lies.power)) return guest;
    this.deeds.lied(guest.mark.serverId);
    return { ...guest, power: 'shutdown' };
  }

  private isHidden(id: ServerId): boolean {
    if (!this.random.chance(this.lies.absent)) return false;
    this.deeds.lied(id);
    return true;
  }
}

/** Runs `work` with a signal that aborts with `signal`, or when the process dies. */
const untilDeath = <T>(life: Life, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> => {
  const both = new AbortController();
  const abort = () => both.abort(signal.reason);
  if (signal.aborted) abort();
  signal.addEventListener('abort', abort);
  const forget = life.onEnd(() => both.abort(new Error('its process has died')));
  return work(both.signal).finally(() => {
    forget();
    signal.removeEventListener('abort', abort);
  });
};
