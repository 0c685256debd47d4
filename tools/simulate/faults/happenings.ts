import { type Milliseconds, type PowerOperation, type PowerState, type ServerId, seconds } from '@omnivisor/contracts';
import type { FaultyCloud, FaultyHost } from './faulty-cloud.js';
import { DRIVER_CALLS, type Happening, MOVING_CALLS } from './history.js';
import { HONEST, type WatchedMachine } from './machine.js';
import { CALM } from './network.js';
import type { SupervisedProcess } from './process.js';
import { FAIR } from './store.js';

/** What is asked of a guest that does not run. */
const WAY_BACK: { readonly [P in PowerState]?: PowerOperation } = {
  shutdown: 'start',
  crashed: 'start',
  paused: 'unpause',
  suspended: 'resume',
};

/** Does to a cloud what a history says, and makes it good again. */
export class Happenings {
  /** Where the log was after each step: what backups there are. */
  private readonly heads: number[] = [];

  constructor(private readonly cloud: FaultyCloud) {}

  async happen(step: Happening): Promise<void> {
    this.heads.push(await this.cloud.head());
    await (this.by[step.kind] as (step: Happening) => unknown)(step);
  }

  /** Ends every fault. */
  heal(): void {
    const { cloud } = this;
    cloud.network.weather = CALM;
    cloud.database.weather = FAIR;
    for (const process of cloud.running()) {
      process.life.skew = 0;
      process.life.cut.store = false;
      cloud.network.setConnected(process.life, true);
    }
    for (const host of cloud.hosts) {
      const { machine, agents } = host;
      machine.lies = HONEST;
      machine.unreachable = false;
      machine.clearFaults();
      for (const call of [...DRIVER_CALLS, ...MOVING_CALLS]) machine.slow(call, seconds(call === 'spawn' ? 2 : 0));
      if (agents.every((a) => a.retired)) cloud.addAgent(host);
    }
  }

  private readonly by: { readonly [K in Happening['kind']]: (step: Extract<Happening, { kind: K }>) => unknown } = {
    create: ({ vcpus, network, count = 1 }) => {
      for (let i = 0; i < count; i++) this.cloud.create(vcpus, network);
    },
    delete: ({ server }) => this.withServer(server, (id) => this.cloud.delete(id)),
    power: ({ server, operation }) =>
      this.withGuest(server, ({ id, power }) => this.cloud.power(id, WAY_BACK[power] ?? operation)),
    move: ({ server, how }) => this.withGuest(server, ({ id }) => this.cloud.move(id, how)),
    decide: ({ server, how }) => this.withGuest(server, ({ id }) => this.cloud.decide(id, how)),
    remake: ({ server, how }) => this.withGuest(server, ({ id }) => this.cloud.remake(id, how)),
    reset: ({ server }) => this.withGuest(server, ({ id }) => this.cloud.reset(id)),
    crash: ({ process, calls, when }) => this.withProcess(process, ({ life }) => life.dieAt({ calls, when })),
    restart: ({ process }) => this.withProcess(process, (p) => void p.stop()),
    messages: ({ lasts, kind: _, ...weather }) => {
      const now = weather;
      this.cloud.network.weather = now;
      this.later(lasts, () => {
        if (this.cloud.network.weather === now) this.cloud.network.weather = CALM;
      });
    },
    partition: ({ process, from, lasts }) =>
      this.withProcess(process, ({ life }) => {
        if (from === 'bus') this.cloud.network.setConnected(life, false);
        else life.cut.store = true;
        this.later(lasts, () => {
          if (from === 'bus') this.cloud.network.setConnected(life, true);
          else life.cut.store = false;
        });
      }),
    store: ({ lasts, kind: _, ...weather }) => {
      const now = weather;
      this.cloud.database.weather = now;
      this.later(lasts, () => {
        if (this.cloud.database.weather === now) this.cloud.database.weather = FAIR;
      });
    },
    fails: ({ host, operation, times }) => this.host(host).machine.failNext(operation, undefined, times),
    slow: ({ host, operation, takes }) => this.host(host).machine.slow(operation, seconds(takes)),
    unreachable: ({ host, lasts }) => {
      const { machine } = this.host(host);
      machine.unreachable = true;
      this.later(lasts, () => {
        machine.unreachable = false;
      });
    },
    lies: ({ host, lasts, absent, failed, done, power = 0 }) => {
      const { machine } = this.host(host);
      machine.lies = { absent, failed, done, power };
      this.later(lasts, () => {
        machine.lies = HONEST;
      });
    },
    guest: ({ server, does }) =>
      this.withGuest(server, ({ id, machine }) => {
        if (does === 'vanish') machine.vanish(id);
        else if (does === 'crash') machine.crash(id);
        else machine.shutDownFromInside(id);
      }),
    clock: ({ process, by }) =>
      this.withProcess(process, ({ life }) => {
        life.skew += by * 1_000;
      }),
    secondScheduler: ({ lasts }) => this.cloud.seat.usurp(lasts),
    secondAgent: ({ host, elsewhere }) => this.cloud.addAgent(this.host(host), elsewhere),
    hostBoot: ({ host }) => this.cloud.bootHost(this.host(host)),
    restore: ({ moment }) => this.cloud.restore(this.heads[Math.floor(moment * this.heads.length)]!),
  };

  private later(duration: number, action: () => void): void {
    this.cloud.clock.after((duration * 1_000) as Milliseconds, action);
  }

  private host(choice: number): FaultyHost {
    return this.cloud.hosts[Math.floor(choice * this.cloud.hosts.length)]!;
  }

  private withServer(choice: number, action: (id: ServerId) => void): void {
    const { ids } = this.cloud;
    const id = ids[Math.floor(choice * ids.length)];
    if (id !== undefined) action(id);
  }

  private withGuest(
    choice: number,
    action: (guest: { readonly id: ServerId; readonly power: PowerState; readonly machine: WatchedMachine }) => unknown,
  ): unknown {
    const all = this.cloud.hosts.flatMap(({ machine }) =>
      machine.all().map(({ mark, power }) => ({ id: mark.serverId, power, machine })),
    );
    const guest = all[Math.floor(choice * all.length)];
    return guest && action(guest);
  }

  private withProcess(choice: number, action: (process: SupervisedProcess) => void): void {
    const running = this.cloud.running();
    const process = running[Math.floor(choice * running.length)];
    if (process) action(process);
  }
}
