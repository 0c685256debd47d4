import {
  type Bytes,
  conflict,
  DomainError,
  type ImageFormat,
  type Milliseconds,
  ms,
  type RecordedEvent,
  unavailable,
  unsupported,
} from '@omnivisor/contracts';
import type { ImageContext } from '../core.js';
import { sizeProblem } from '../formats/limits.js';
import { etagOf } from '../image/byte-range.js';
import { type FormRow, type FormsRow, formsTable } from '../image/forms.projection.js';
import { deletedImagesTable, type ImageRow } from '../image/image.projection.js';
import { imageAggregate, imageNotFound } from '../image/image-lifecycle.js';
import { serviceContext } from '../service-context.js';
import { type Base, baseOf, compose } from './compositions.js';
import { failureOf, isFull } from './failure.js';
import { type FormMaker, hashed } from './form-maker.js';
import { type FormRoom, noRoom, usersShare } from './form-room.js';
import { type Asker, Making } from './making.js';
import { limitsFor } from './qemu-img.js';
import { readSegments, type Segment, sizeOf } from './segments.js';
import { formOf, isOriginal, storedBound } from './stored-form.js';
import { Turns } from './turns.js';

/** A form that can be read now. */
export interface ReadyForm {
  readonly format: ImageFormat;
  readonly size: number;
  /** Null for an original that came before it was kept. */
  readonly sha256: string | null;
  /** Names these bytes: a form that is made anew has others. */
  readonly etag: string;
  readonly segments: readonly Segment[];
  /** Blobs it lives of besides the original. */
  readonly derivedKeys: readonly string[];
}

const POLL = ms(200);
/** How long a failed conversion is not tried again. */
const FAILURE_HOLDS = ms(60_000);
/** Conversions of one project that wait. */
const WAITING = 8;
/** At work besides, for hosts: what users fetch never holds up a server for as long as it takes. */
const FOR_HOSTS = 1;

/** The forms of images: which there can be, and the one that is asked for, made at most once and kept for others. */
export class ImageForms {
  private readonly running = new Map<string, Making<ReadyForm>>();
  private readonly active = new Set<string>();
  private readonly turns: Turns;

  constructor(
    private readonly context: ImageContext,
    private readonly maker: FormMaker,
    private readonly room: FormRoom,
    private readonly onError: (where: string, error: unknown) => void,
  ) {
    const { conversions: width } = context.settings;
    this.turns = new Turns({ width, share: Math.ceil(width / 2), reserved: FOR_HOSTS, room: WAITING });
  }

  /** Call before the core starts: it tells of images that are deleted. The rounds find what nobody was told of. */
  watch(): void {
    const { core } = this.context;
    const look = (event: RecordedEvent) => {
      if (event.type === 'ImageDeleted') this.endFor((event.data as { imageId: string }).imageId);
    };
    core.observeAppends(look);
    core.observe(look);
  }

  /** Ends what is made of images that are deleted. */
  async endForDeleted(): Promise<void> {
    const ids = [...this.running.values()].map((making) => making.imageId);
    if (ids.length === 0) return;
    const known = await (await this.context.core.fresh()).getMany(deletedImagesTable, ids);
    for (const id of known.keys()) this.endFor(id);
  }

  /** True while this process makes it. */
  isActive(derivationId: string): boolean {
    return this.active.has(derivationId);
  }

  /** Ends what is being made; the log says so. */
  async stop(): Promise<void> {
    const all = [...this.running.values()];
    for (const making of all) making.end(unavailable('The service is being stopped. Please try again.'));
    await Promise.all(all.map((making) => making.settled()));
  }

  /** Why an image cannot be had in a form, for the caller; null when it can, if the store's disk has the room. */
  problem(row: ImageRow, format: ImageFormat): string | null {
    const own = formOf(row);
    if (own === null || row.uploadId === null) return 'The image is in a container that nobody looks into.';
    if (isOriginal(row, format)) return null;
    if (row.virtualSize === null) return 'The size of the disk in the image is not known.';
    const tooLarge = sizeProblem(format, row.virtualSize);
    if (tooLarge !== null) return `The image cannot be converted: ${tooLarge}.`;
    return this.maker.problem(own, format);
  }

  /** Why users cannot have an image in a form that is not there yet: their conversions have a share of the room. */
  exportProblem(row: ImageRow, format: ImageFormat): string | null {
    const problem = this.problem(row, format);
    if (problem !== null || isOriginal(row, format)) return problem;
    const tooLarge = storedBound(row, baseOf(format) ?? format) > usersShare(this.context.settings.formsCapacity);
    return tooLarge ? 'The image is too large to be converted in this cloud.' : null;
  }

  /** The first of the formats in which the image can be had; its own wins. @throws DomainError `unsupported` */
  choose(row: ImageRow, formats: readonly ImageFormat[]): ImageFormat {
    const own = formOf(row);
    const found = own !== null && formats.includes(own) ? own : formats.find((f) => this.problem(row, f) === null);
    if (found) return found;
    throw unsupported(this.problem(row, formats[0]!) ?? 'The image cannot be had in these formats.');
  }

  /** All of an image that are there now, its own first. */
  async known(
    row: ImageRow,
  ): Promise<{ format: ImageFormat; state: string; size: number | null; sha256: string | null }[]> {
    const own = formOf(row);
    const forms = await this.formsOf(row);
    return [
      ...(own && isOriginal(row, own)
        ? [{ format: own, state: 'original', size: row.size, sha256: row.sha256 ?? null }]
        : []),
      ...Object.entries(forms).map(([format, { state, size, sha256 }]) => ({
        ...{ format: format as ImageFormat, state, size, sha256 },
      })),
    ];
  }

  /**
   * The image in a form; made when it is not there yet.
   * @param asker whose turn it takes; the owner's when not given
   * @returns null when it is not ready after `patience`; it is being made on
   * @throws DomainError `unsupported` when it cannot be; `conflict` when that failed a moment ago; `unavailable`
   */
  async ready(
    row: ImageRow,
    format: ImageFormat,
    patience: Milliseconds,
    asker: Asker = { of: row.owner ?? '' },
  ): Promise<ReadyForm | null> {
    const problem = this.problem(row, format);
    if (problem !== null) throw unsupported(problem);
    if (isOriginal(row, format)) return this.original(row);
    const there = await this.there(row, format);
    if (there) return there;
    const exportProblem = asker.host ? null : this.exportProblem(row, format);
    if (exportProblem !== null && !this.running.has(nameOf(row, format))) throw unsupported(exportProblem);
    const making = this.begin(row, format, asker);
    let cancel = () => {};
    const late = new Promise<null>((resolve) => {
      cancel = this.context.core.clock.after(patience, () => resolve(null));
    });
    try {
      return await making.wait(late);
    } finally {
      cancel();
    }
  }

  /** Begins to make a form, for a host that comes later. */
  prepare(row: ImageRow, format: ImageFormat): void {
    if (isOriginal(row, format)) return;
    this.ready(row, format, ms(0), forHost(row)).catch((error) => {
      if (!(error instanceof DomainError)) this.onError('image forms', error);
    });
  }

  async read(form: ReadyForm, range?: { start: number; end: number }) {
    try {
      for (const key of form.derivedKeys) await this.context.store.touch(key);
      return await readSegments(this.context.store, form.segments, range);
    } catch (error) {
      throw unavailable('The image data cannot be read now.', error);
    }
  }

  private original(row: ImageRow): ReadyForm {
    const size = row.size ?? 0;
    return {
      format: formOf(row)!,
      size,
      sha256: row.sha256 ?? null,
      etag: etagOf(row),
      segments: [{ kind: 'blob', key: row.uploadId!, start: 0, length: size }],
      derivedKeys: [],
    };
  }

  private async formsOf(row: ImageRow): Promise<FormsRow['forms']> {
    return (await (await this.context.core.fresh()).get(formsTable, row.id))?.forms ?? {};
  }

  private async there(row: ImageRow, format: ImageFormat): Promise<ReadyForm | null> {
    const forms = await this.formsOf(row);
    const form = forms[format];
    if (form?.state === 'failed' && this.age(form) < FAILURE_HOLDS)
      throw conflict(`The image could not be converted to ${format}: ${form.reason?.replace(/\.$/, '')}.`);
    return form?.state === 'ready' ? this.readyForm(row, format, form, forms) : null;
  }

  private readyForm(row: ImageRow, format: ImageFormat, form: FormRow, forms: FormsRow['forms']): ReadyForm {
    const facts = { format, size: form.size!, sha256: form.sha256, etag: etagOf(form) };
    if (!form.composed) {
      const segments = [{ kind: 'blob', key: form.derivationId, start: 0, length: form.size! }] as const;
      return { ...facts, segments, derivedKeys: [form.derivationId] };
    }
    const under = form.base === null ? null : forms[form.base];
    if (form.base !== null && under?.state !== 'ready') this.gone();
    const base = form.base === null ? this.ownBase(row) : baseFrom(form.base, under!, row);
    const segments = compose(format, base, identityOf(row)) ?? this.gone();
    return { ...facts, segments, derivedKeys: under ? [under.derivationId] : [] };
  }

  private ownBase(row: ImageRow): Base {
    const { format, size, sha256 } = this.original(row);
    return { form: format, key: row.uploadId!, size, sha256, virtualSize: row.virtualSize! };
  }

  private endFor(imageId: string): void {
    for (const making of this.running.values()) if (making.imageId === imageId) making.end(imageNotFound(imageId));
  }

  private begin(row: ImageRow, format: ImageFormat, asker: Asker): Making<ReadyForm> {
    const name = nameOf(row, format);
    const known = this.running.get(name);
    const making =
      known ??
      new Making<ReadyForm>(
        this.context.core.clock,
        row.id,
        asker,
        (self) => this.make(row, format, self),
        () => this.running.delete(name),
      );
    this.running.set(name, making);
    if (asker.host && making.hurry()) this.turns.hurry();
    return making;
  }

  private async make(row: ImageRow, format: ImageFormat, making: Making<ReadyForm>): Promise<ReadyForm> {
    try {
      for (;;) {
        // The turn is taken by the conversion alone: what others make, or is put together, waits outside.
        const form = (await this.fromOthers(row, format, making.signal)) ?? (await this.makeHere(row, format, making));
        if (form) return form;
      }
    } catch (error) {
      if (making.ended) throw making.signal.reason;
      if (!(error instanceof DomainError)) this.onError(`conversion of image ${row.id} to ${format}`, error);
      throw error;
    }
  }

  /** @returns null when another replica makes it */
  private async makeHere(row: ImageRow, format: ImageFormat, making: Making<ReadyForm>): Promise<ReadyForm | null> {
    const under = this.baseFormat(row, format);
    if (under !== null && !(await this.there(row, under))) await this.makeUnder(row, under, making);
    return under === null && !this.composesOwn(row, format)
      ? this.turns.take(making.taker, () => this.convert(row, format, making))
      : this.derive(row, format, under, making);
  }

  private async makeUnder(row: ImageRow, under: ImageFormat, making: Making<ReadyForm>): Promise<void> {
    const { of, first: host = false } = making.taker;
    const { signal } = making;
    making.under = this.begin(row, under, { of, host });
    let told = () => {};
    const ended = new Promise<never>((_, reject) => {
      told = () => reject(signal.reason);
      signal.addEventListener('abort', told);
    });
    try {
      await making.under.wait(ended);
    } finally {
      signal.removeEventListener('abort', told);
      making.under = undefined;
    }
  }

  private async convert(row: ImageRow, format: ImageFormat, making: Making<ReadyForm>): Promise<ReadyForm | null> {
    const giveBack = await this.room.take(row.id, format, storedBound(row, format), making.taker);
    try {
      return await this.derive(row, format, null, making);
    } finally {
      giveBack();
    }
  }

  private composesOwn(row: ImageRow, format: ImageFormat): boolean {
    return compose(format, this.ownBase(row), identityOf(row)) !== null;
  }

  /** The derived form that has to be there first; null when the original will do. */
  private baseFormat(row: ImageRow, format: ImageFormat): ImageFormat | null {
    if (this.composesOwn(row, format)) return null;
    return baseOf(format) ?? null;
  }

  private async derive(
    row: ImageRow,
    format: ImageFormat,
    under: ImageFormat | null,
    { signal }: Making<ReadyForm>,
  ): Promise<ReadyForm | null> {
    const { core } = this.context;
    const derivationId = core.ids.uuid();
    const context = (step: string) => serviceContext(derivationId, step);
    const start = { kind: 'startDerivation', imageId: row.id, derivationId, format } as const;
    const { events, position } = await core.commands.execute(imageAggregate, row.id, start, context('start'));
    if (events.length === 0) return null;
    this.active.add(derivationId);
    await core.at(position);
    try {
      const made = await this.bytesOf(row, format, under, derivationId, signal);
      const done = { kind: 'completeDerivation', imageId: row.id, derivationId, format, base: under, ...made } as const;
      const outcome = await core.commands.execute(imageAggregate, row.id, done, context('complete')).catch((error) => {
        if (error instanceof DomainError && error.kind === 'conflict') this.gone(error);
        throw error;
      });
      await core.at(outcome.position);
    } catch (error) {
      const why = isFull(error) ? noRoom(error) : error;
      await this.giveUp(row, format, derivationId, why, signal);
      if (why instanceof DomainError) throw why;
      throw conflict(`The image could not be converted to ${format}: ${failureOf(error)}.`);
    } finally {
      this.active.delete(derivationId);
    }
    return (await this.there(row, format)) ?? this.gone();
  }

  private async bytesOf(
    row: ImageRow,
    format: ImageFormat,
    under: ImageFormat | null,
    derivationId: string,
    signal: AbortSignal,
  ) {
    const { store } = this.context;
    const forms = await this.formsOf(row);
    const alive = this.showingAlive(derivationId);
    const base = under === null ? this.ownBase(row) : baseFrom(under, forms[under] ?? this.gone(), row);
    const segments = compose(format, base, identityOf(row));
    if (!segments) {
      const made = await this.maker.make(row, formOf(row)!, format, derivationId, signal, alive);
      return { ...made, composed: false };
    }
    // Nothing is written to it: it is there to be touched. Where the store takes no writes other replicas do not see
    // that the work goes on, and that hurts only work that takes longer than they wait.
    const sign = await store.begin(derivationId).catch(() => null);
    try {
      const { sha256 } = await hashed(await readSegments(store, segments), signal, alive);
      return { size: sizeOf(segments) as Bytes, sha256, composed: true };
    } finally {
      await sign?.abort().catch(() => {});
    }
  }

  /** By the time of its blob other replicas see that the work goes on: as often as they have to, however slow it is. */
  private showingAlive(derivationId: string): () => Promise<void> {
    const { core, store, settings } = this.context;
    let shown = Date.parse(core.clock.now());
    return async () => {
      const now = Date.parse(core.clock.now());
      if (now - shown < settings.standstill / 3) return;
      shown = now;
      await store.touch(derivationId).catch(() => {});
    };
  }

  /** Another replica makes it: its end is in the log. @returns null when none does, or it gave up */
  private async fromOthers(row: ImageRow, format: ImageFormat, signal: AbortSignal): Promise<ReadyForm | null> {
    const { clock } = this.context.core;
    const until = Date.parse(clock.now()) + 2 * limitsFor(row.virtualSize ?? 0, 0).wall;
    for (;;) {
      signal.throwIfAborted();
      const form = (await this.formsOf(row))[format];
      if (form?.state !== 'running') return this.there(row, format);
      if (Date.parse(clock.now()) > until) throw unavailable('The image is being converted. Please try again.');
      await clock.sleep(POLL, signal);
    }
  }

  /** One that was told to end, or cannot be made just now, did not fail: whoever asks next begins it anew. */
  private async giveUp(
    row: ImageRow,
    format: ImageFormat,
    derivationId: string,
    error: unknown,
    signal: AbortSignal,
  ): Promise<void> {
    const { core, store } = this.context;
    const reason = failureOf(error);
    if (!signal.aborted) this.onError(`conversion of image ${row.id} to ${format}`, error);
    const passes = signal.aborted || (error instanceof DomainError && error.kind === 'unavailable');
    const about = { imageId: row.id, derivationId, format };
    const { position } = await core.commands.execute(
      imageAggregate,
      row.id,
      passes ? { kind: 'dropDerivation', ...about } : { kind: 'failDerivation', ...about, reason },
      serviceContext(derivationId, 'fail'),
    );
    await store.remove(derivationId);
    if (position > 0) await core.at(position);
  }

  private age(form: FormRow): number {
    return Date.parse(this.context.core.clock.now()) - Date.parse(form.since);
  }

  private gone(cause?: unknown): never {
    throw unavailable('The form of the image went away meanwhile. Please try again.', cause);
  }
}

/** A host asks for the sake of the image's owner. */
export const forHost = (row: ImageRow): Asker => ({ of: row.owner ?? '', host: true });

const baseFrom = (format: ImageFormat, form: FormRow, row: ImageRow): Base => ({
  form: format,
  key: form.derivationId,
  size: form.size!,
  sha256: form.sha256,
  virtualSize: row.virtualSize!,
});

const nameOf = ({ id }: ImageRow, format: ImageFormat) => `${id}/${format}`;

const identityOf = (row: ImageRow) => ({ id: row.uploadId!, at: row.createdAt });
