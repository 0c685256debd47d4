import type { PropertyReader } from '../transport/properties.js';
import { type AnswerObject, listOf, type Ref } from '../transport/soap.js';
import type { VimSession } from '../transport/vim-session.js';

/** Seconds of a sample of real time. */
const INTERVAL = 20;
const KIB = 1024;

/** `group.name.rollup` of counters, as the vSphere performance metrics reference has them. */
const COUNTERS = {
  /** Milliseconds in which a vCPU ran within the sample. */
  cpu: 'cpu.used.summation',
  /** KiB/s of a network card. */
  received: 'net.bytesRx.average',
  sent: 'net.bytesTx.average',
} as const;
type Counter = keyof typeof COUNTERS;

/** Of the last 20 s; null where the vCenter has no sample, as of a guest that has just come on. */
export interface Rates {
  /** Percent of each vCPU. */
  readonly cpus: readonly (number | null)[];
  /** Bytes a second of each network card, by its device's key. */
  readonly cards: ReadonlyMap<string, { readonly received: number | null; readonly sent: number | null }>;
}

/** What a vCenter measures of a guest (`QueryPerf`). */
export class Performance {
  /** Keys differ from vCenter to vCenter. */
  private keys: Promise<ReadonlyMap<Counter, string>> | null = null;

  constructor(
    private readonly session: VimSession,
    private readonly read: PropertyReader,
  ) {}

  async ratesOf(vm: Ref, vcpus: number, cards: readonly string[]): Promise<Rates> {
    const keys = await this.counters();
    const cores = Array.from({ length: vcpus }, (_, i) => String(i));
    const wanted = (counter: Counter, instances: readonly string[]) =>
      instances.map((instance) => ({ counterId: keys.get(counter), instance }));
    const metricId = [...wanted('cpu', cores), ...wanted('received', cards), ...wanted('sent', cards)].filter(
      ({ counterId }) => counterId !== undefined,
    );
    const samples = metricId.length === 0 ? [] : await this.samples({ entity: vm, maxSample: 1, metricId });
    const sample = (counter: Counter, instance: string): number | null =>
      samples.find((found) => found.key === keys.get(counter) && found.instance === instance)?.value ?? null;
    const rate = (counter: Counter, card: string) => {
      const value = sample(counter, card);
      return value === null ? null : value * KIB;
    };
    return {
      cpus: cores.map((core) => {
        const used = sample('cpu', core);
        return used === null ? null : Math.min(100, used / (INTERVAL * 10));
      }),
      cards: new Map(cards.map((card) => [card, { received: rate('received', card), sent: rate('sent', card) }])),
    };
  }

  private async samples(spec: {
    readonly entity: Ref;
    readonly maxSample: number;
    readonly metricId: readonly { readonly counterId: string | undefined; readonly instance: string }[];
  }) {
    const manager = await this.session.manager('perfManager');
    const querySpec = { ...spec, intervalId: INTERVAL };
    const metrics = listOf(await this.session.call(manager, 'QueryPerf', { querySpec })) as readonly AnswerObject[];
    return metrics
      .flatMap(({ value }) => listOf(value) as readonly AnswerObject[])
      .flatMap(({ id, value }) => {
        const { counterId, instance } = id as AnswerObject;
        const newest = listOf(value).map(Number).at(-1);
        // -1 stands for a sample that is not there.
        if (newest === undefined || newest < 0) return [];
        return [{ key: String(counterId), instance: String(instance ?? ''), value: newest }];
      });
  }

  private counters(): Promise<ReadonlyMap<Counter, string>> {
    this.keys ??= this.named().catch((error: unknown) => {
      this.keys = null;
      throw error;
    });
    return this.keys;
  }

  private async named(): Promise<ReadonlyMap<Counter, string>> {
    const manager = await this.session.manager('perfManager');
    const all = listOf(await this.read.one(manager, 'perfCounter')) as readonly AnswerObject[];
    const key = (info: AnswerObject, part: string) => (info[part] as AnswerObject | undefined)?.key;
    const byName = new Map(
      all.map((info) => [`${key(info, 'groupInfo')}.${key(info, 'nameInfo')}.${info.rollupType}`, String(info.key)]),
    );
    return new Map(
      Object.entries(COUNTERS).flatMap(([counter, name]) => {
        const found = byName.get(name);
        return found === undefined ? [] : [[counter as Counter, found]];
      }),
    );
  }
}
