import type { ImageFormat } from '@omnivisor/contracts';
import type { ImageContext } from '../core.js';
import { formsTable } from '../image/forms.projection.js';
import { imageAggregate } from '../image/image-lifecycle.js';
import { serviceContext } from '../service-context.js';
import type { FormRoom } from './form-room.js';
import type { ImageForms } from './image-forms.js';

const BATCH = 500;

/** Cleans up among derived forms: what takes too much room, and what replicas left that died. */
export class FormCollector {
  constructor(
    private readonly context: ImageContext,
    private readonly forms: ImageForms,
    private readonly room: FormRoom,
  ) {}

  async collect(): Promise<void> {
    await this.forms.endForDeleted();
    await this.endStanding();
    await this.room.collect();
  }

  /** Ends conversions of replicas that died: whoever waits begins them anew. */
  private async endStanding(): Promise<void> {
    const { core, store, settings } = this.context;
    const rows = await (await core.fresh()).find(formsTable, { where: { running: true }, limit: BATCH });
    const standing = rows.flatMap((row) =>
      Object.entries(row.forms).flatMap(([format, form]) =>
        form.state === 'running' && !this.forms.isActive(form.derivationId) ? [{ row, format, form }] : [],
      ),
    );
    if (standing.length === 0) return;
    const written = new Map<string, number>();
    for await (const { key, writtenAt } of store.list()) written.set(key, writtenAt);
    const now = Date.parse(core.clock.now());
    for (const { row, format, form } of standing) {
      const last = Math.max(written.get(form.derivationId) ?? 0, Date.parse(form.since));
      if (now - last < settings.standstill) continue;
      const { derivationId } = form;
      const about = { imageId: row.imageId, derivationId, format: format as ImageFormat };
      const command = { kind: 'dropDerivation', ...about } as const;
      await core.commands.execute(imageAggregate, row.imageId, command, serviceContext(derivationId, 'sweep'));
      await store.remove(derivationId);
    }
  }
}
