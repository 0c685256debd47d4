import { PowerOperation } from '@omnivisor/contracts';
import { Random } from './random.js';

/** What may be chosen among is named by a number in [0, 1), so that a step means something in any history. */
type Choice = number;

/** One thing that happens to the cloud. Durations in seconds. */
export type Happening =
  /** So many servers at once. */
  | { readonly kind: 'create'; readonly vcpus: number; readonly network: Choice | null; readonly count?: number }
  | { readonly kind: 'delete'; readonly server: Choice }
  | { readonly kind: 'power'; readonly server: Choice; readonly operation: PowerOperation }
  | { readonly kind: 'move'; readonly server: Choice; readonly how: 'migrate' | 'liveMigrate' | 'resize' }
  /** What a server that has moved, or another flavor, comes to. */
  | {
      readonly kind: 'decide';
      readonly server: Choice;
      readonly how: 'confirmResize' | 'revertResize' | 'abortMigration';
    }
  | { readonly kind: 'remake'; readonly server: Choice; readonly how: 'rebuild' | 'rescue' | 'unrescue' }
  /** An operator says that a server in error is active. */
  | { readonly kind: 'reset'; readonly server: Choice }
  /** A process dies at the so-manieth call of a port from now. */
  | { readonly kind: 'crash'; readonly process: Choice; readonly calls: number; readonly when: 'before' | 'after' }
  | { readonly kind: 'restart'; readonly process: Choice }
  | {
      readonly kind: 'messages';
      readonly lose: number;
      readonly double: number;
      readonly delay: number;
      readonly lasts: number;
    }
  | { readonly kind: 'partition'; readonly process: Choice; readonly from: 'bus' | 'store'; readonly lasts: number }
  | {
      readonly kind: 'store';
      readonly before: number;
      readonly after: number;
      readonly delay: number;
      readonly lasts: number;
    }
  | { readonly kind: 'fails'; readonly host: Choice; readonly operation: DriverCall; readonly times: number }
  | { readonly kind: 'slow'; readonly host: Choice; readonly operation: DriverCall; readonly takes: number }
  | { readonly kind: 'unreachable'; readonly host: Choice; readonly lasts: number }
  | {
      readonly kind: 'lies';
      readonly host: Choice;
      readonly absent: number;
      readonly failed: number;
      readonly done: number;
      readonly power: number;
      readonly lasts: number;
    }
  | { readonly kind: 'guest'; readonly server: Choice; readonly does: 'shutDown' | 'crash' | 'vanish' }
  | { readonly kind: 'clock'; readonly process: Choice; readonly by: number }
  /** A second scheduler leads while the first one still acts as if it did. */
  | { readonly kind: 'secondScheduler'; readonly lasts: number }
  /** A second agent of a host: on its machine, where a lock keeps them apart, or elsewhere. */
  | { readonly kind: 'secondAgent'; readonly host: Choice; readonly elsewhere: boolean }
  | { readonly kind: 'hostBoot'; readonly host: Choice }
  /** The log and the read model as a backup has them. */
  | { readonly kind: 'restore'; readonly moment: Choice };

/** @param after milliseconds from the step before it */
export type Step = Happening & { readonly after: number };
type Kind = Happening['kind'];
export const DRIVER_CALLS = [
  'list',
  'spawn',
  'destroy',
  'powerOn',
  'powerOff',
  'reboot',
  'pause',
  'suspend',
  'resume',
  'rebuild',
  'rescue',
  'unrescue',
] as const;
/** What only servers that move are done. */
export const MOVING_CALLS = ['snapshot', 'migrate'] as const;
export type DriverCall = (typeof DRIVER_CALLS)[number] | (typeof MOVING_CALLS)[number];

/** What a run is made of; the same history runs the same way each time. */
export interface History {
  readonly seed: number;
  readonly hosts: number;
  readonly vcpus: number;
  readonly steps: readonly Step[];
}

/** Kinds that any history may have. */
type Plain = Exclude<Kind, 'move' | 'decide' | 'reset'>;
const NEWEST: Choice = 0.999;

const makers: { readonly [K in Plain]: (random: Random) => Extract<Happening, { kind: K }> } = {
  create: (r) => ({
    kind: 'create',
    vcpus: 1 + r.below(3),
    network: r.chance(0.5) ? r.next() : null,
    ...(r.chance(0.2) ? { count: 2 + r.below(4) } : {}),
  }),
  delete: (r) => ({ kind: 'delete', server: r.chance(0.3) ? NEWEST : r.next() }),
  power: (r) => ({ kind: 'power', server: r.next(), operation: r.pick(PowerOperation.options) }),
  remake: (r) => ({ kind: 'remake', server: r.next(), how: r.pick(['rebuild', 'rescue', 'unrescue']) }),
  crash: (r) => ({
    kind: 'crash',
    process: r.next(),
    calls: 1 + r.below(r.pick([3, 10, 40])),
    when: r.pick(['before', 'after']),
  }),
  restart: (r) => ({ kind: 'restart', process: r.next() }),
  messages: (r) => ({
    kind: 'messages',
    lose: r.chance(0.5) ? r.next() * 0.5 : 0,
    double: r.chance(0.5) ? r.next() * 0.5 : 0,
    delay: r.chance(0.5) ? r.pick([50, 500, 6_000]) : 0,
    lasts: 1 + r.below(20),
  }),
  partition: (r) => ({ kind: 'partition', process: r.next(), from: r.pick(['bus', 'store']), lasts: 1 + r.below(40) }),
  store: (r) => ({
    kind: 'store',
    before: r.chance(0.5) ? r.next() * 0.3 : 0,
    after: r.chance(0.5) ? r.next() * 0.3 : 0,
    delay: r.chance(0.5) ? r.pick([20, 200, 2_000]) : 0,
    lasts: 1 + r.below(15),
  }),
  fails: (r) => ({ kind: 'fails', host: r.next(), operation: r.pick(DRIVER_CALLS), times: 1 + r.below(3) }),
  slow: (r) => ({ kind: 'slow', host: r.next(), operation: r.pick(DRIVER_CALLS), takes: r.below(20) }),
  unreachable: (r) => ({ kind: 'unreachable', host: r.next(), lasts: 1 + r.below(15) }),
  lies: (r) => ({
    kind: 'lies',
    host: r.next(),
    absent: r.chance(0.4) ? r.next() * 0.5 : 0,
    failed: r.chance(0.4) ? r.next() * 0.5 : 0,
    done: r.chance(0.4) ? r.next() * 0.5 : 0,
    power: r.chance(0.4) ? r.next() * 0.5 : 0,
    lasts: 1 + r.below(20),
  }),
  guest: (r) => ({ kind: 'guest', server: r.next(), does: r.pick(['shutDown', 'crash', 'vanish']) }),
  clock: (r) => ({ kind: 'clock', process: r.next(), by: Math.round((r.next() - 0.5) * r.pick([4, 60, 7_200])) }),
  secondScheduler: (r) => ({ kind: 'secondScheduler', lasts: 1 + r.below(40) }),
  secondAgent: (r) => ({ kind: 'secondAgent', host: r.next(), elsewhere: r.chance(0.5) }),
  hostBoot: (r) => ({ kind: 'hostBoot', host: r.next() }),
  restore: (r) => ({ kind: 'restore', moment: r.next() }),
};

/** How often each happens, where it may. */
const WEIGHTS: Readonly<Record<Plain, number>> = {
  create: 10,
  delete: 5,
  power: 6,
  remake: 3,
  crash: 5,
  restart: 1,
  messages: 3,
  partition: 2,
  store: 3,
  fails: 3,
  slow: 2,
  unreachable: 1,
  lies: 2,
  guest: 2,
  clock: 1,
  secondScheduler: 2,
  secondAgent: 2,
  hostBoot: 1,
  restore: 1,
};
const ALWAYS: readonly string[] = ['create', 'delete', 'power'];
/** Faults that can happen, but not in most histories: they drown what others find. */
const RARE: Partial<Record<Kind, number>> = { restore: 0.12, lies: 0.25, clock: 0.3 };
const STEPS = { least: 15, most: 45 };

/** The history of a seed. Each has some kinds of faults, rarely all: those that hide each other come apart. */
export const historyOf = (seed: number): History => {
  const random = new Random(seed, 'history');
  const kinds = (Object.keys(WEIGHTS) as Plain[]).filter(
    (kind) => ALWAYS.includes(kind) || random.chance(RARE[kind] ?? 0.5),
  );
  const bag = kinds.flatMap((kind) => Array<Plain>(WEIGHTS[kind]).fill(kind));
  const count = STEPS.least + random.below(STEPS.most - STEPS.least);
  const pace = random.pick([300, 1_500, 5_000]);
  const steps: Step[] = [];
  let restored = false;
  for (let i = 0; i < count; i++) {
    const kind: Plain = i < 3 ? 'create' : random.pick(bag);
    const step = { ...makers[kind](random), after: random.below(pace) };
    if (step.kind === 'restore' && restored) continue;
    restored ||= step.kind === 'restore';
    steps.push(step);
  }
  return { seed, hosts: 2 + random.below(2), vcpus: 1 + random.below(4), steps: withMoves(seed, pace, steps) };
};

const moves: readonly ((random: Random) => Happening)[] = [
  (r) => ({ kind: 'move', server: r.next(), how: r.pick(['migrate', 'migrate', 'liveMigrate', 'resize']) }),
  (r) => ({ kind: 'move', server: r.next(), how: r.pick(['migrate', 'liveMigrate']) }),
  (r) => ({ kind: 'decide', server: r.next(), how: r.pick(['confirmResize', 'revertResize', 'abortMigration']) }),
  (r) => ({ kind: 'decide', server: r.next(), how: r.pick(['confirmResize', 'revertResize']) }),
  (r) => ({ kind: 'fails', host: r.next(), operation: r.pick(MOVING_CALLS), times: 1 + r.below(3) }),
  (r) => ({ kind: 'slow', host: r.next(), operation: r.pick(MOVING_CALLS), takes: r.below(20) }),
];

/** In some histories servers move, too: among what happens anyway, which stays as it is. */
const withMoves = (seed: number, pace: number, steps: readonly Step[]): readonly Step[] => {
  const random = new Random(seed, 'moves');
  if (!random.chance(0.4)) return steps;
  return steps.flatMap((step, i) =>
    i < 3 || !random.chance(0.6)
      ? [step]
      : [step, { ...random.pick(moves)(random), after: random.below(pace) } as Step],
  );
};
