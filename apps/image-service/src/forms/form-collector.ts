import type { ImageFormat } from '@omnivisor/contracts';
import type { ImageContext } from '../core.js';
import { type FormsRow, formsTable } from '../image/forms.projection.js';
import { imageAggregate } from '../image/image-lifecycle.js';
import { serviceContext } from '../service-context.js';
import type { ImageForms } from './image-forms.js';

const BATCH = 500;

interface Kept {
  readonly row: FormsRow;
  readonly format: ImageFormat;
  readonly derivationId: string;
  readonly size: number;
  readonly usedAt: number;
}

/** Keeps derived forms within bounds: those long unused go, and the least recently used while all are too large. Originals stay. */
export class FormCollector {
  constructor(
    private readonly context: ImageContext,
    private readonly forms: ImageForms,
  ) {}

  /** @param room bytes that have to be free besides */
  async collect(room = 0): Promise<void> {
    const { core, settings } = this.context;
    const kept = (await this.kept()).sort((a, b) => a.usedAt - b.usedAt);
    let total = kept.reduce((sum, k) => sum + k.size, room);
    const now = Date.parse(core.clock.now());
    for (const one of kept) {
      const old = now - one.usedAt > settings.formsMaxAge;
      if (!old && total <= settings.formsCapacity) break;
      await this.drop(one);
      total -= one.size;
    }
  }

  /** Ends conversions of replicas that died. */
  async endStanding(): Promise<void> {
    const { core, store, settings } = this.context;
    const rows = await (await core.fresh()).find(formsTable, { where: { running: true }, limit: BATCH });
    const standing = rows.flatMap((row) =>
      Object.entries(row.forms).flatMap(([format, form]) =>
        form.state === 'running' && !this.forms.isActive(form.derivationId) ? [{ row, format, form }] : [],
      ),
    );
    if (standing.length === 0) return;
    const written = await this.writtenAt();
    const now = Date.parse(core.clock.now());
    for (const { row, format, form } of standing) {
      const last = Math.max(written.get(form.derivationId) ?? 0, Date.parse(form.since));
      if (now - last < settings.standstill) continue;
      const { derivationId } = form;
      const command = {
        ...({ kind: 'failDerivation', imageId: row.imageId, reason: 'the conversion was interrupted' } as const),
        ...{ derivationId, format: format as ImageFormat },
      };
      await core.commands.execute(imageAggregate, row.imageId, command, serviceContext(derivationId, 'sweep'));
      await store.remove(derivationId);
    }
  }

  private async kept(): Promise<Kept[]> {
    const { core } = this.context;
    const written = await this.writtenAt();
    const kept: Kept[] = [];
    let after: string | undefined;
    for (;;) {
      const query = { limit: BATCH, ...(after === undefined ? {} : { after }) };
      const rows = await (await core.fresh()).find(formsTable, query);
      for (const row of rows)
        for (const [format, form] of Object.entries(row.forms))
          if (form.state === 'ready' && !form.composed)
            kept.push({
              ...{ row, format: format as ImageFormat, derivationId: form.derivationId, size: form.size ?? 0 },
              usedAt: written.get(form.derivationId) ?? Date.parse(form.since),
            });
      if (rows.length < BATCH) return kept;
      after = rows.at(-1)!.imageId;
    }
  }

  private async drop({ row, format, derivationId }: Kept): Promise<void> {
    const { core, store } = this.context;
    const command = { kind: 'dropDerivation', imageId: row.imageId, derivationId, format } as const;
    await core.commands.execute(imageAggregate, row.imageId, command, serviceContext(derivationId, 'drop'));
    await store.remove(derivationId);
  }

  private async writtenAt(): Promise<Map<string, number>> {
    const times = new Map<string, number>();
    for await (const { key, writtenAt } of this.context.store.list()) times.set(key, writtenAt);
    return times;
  }
}
