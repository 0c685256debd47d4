import { type CommandContext, DomainError, type ImageId, invalid } from '@omnivisor/contracts';
import type { ImageContext } from '../core.js';
import { guardedFetch, type Resolve } from '../download/guarded-fetch.js';
import { checkedUri, type ImportRules, shownUri } from '../download/guarded-uri.js';
import { type ImageRow, imagesTable } from './image.projection.js';
import { imageAggregate } from './image-lifecycle.js';
import type { ImageUploads } from './image-uploads.js';
import type { ImportMethod } from './import-lifecycle.js';

export const IMPORT_METHODS = ['glance-direct', 'web-download'] as const satisfies readonly ImportMethod[];

export interface ImportRequest {
  readonly method: (typeof IMPORT_METHODS)[number];
  /** Only of web-download; checked here. */
  readonly uri?: unknown;
}

/** Imports of image bytes, each a task: begun by a request, carried out after its answer. */
export class ImageImports {
  private readonly running = new Set<Promise<void>>();
  private readonly ending = new AbortController();

  constructor(
    private readonly context: ImageContext,
    private readonly uploads: ImageUploads,
    private readonly rules: ImportRules,
    private readonly onError: (where: string, error: unknown) => void,
    private readonly resolve?: Resolve,
  ) {}

  /**
   * @param step gives the context of each of the commands
   * @throws DomainError `invalid` for a URI that is not allowed; `conflict` for an image in the wrong status
   */
  async begin(
    image: ImageRow,
    { method, uri }: ImportRequest,
    owner: string | null,
    step: (name: string) => CommandContext,
  ): Promise<void> {
    const { core } = this.context;
    const source = method === 'web-download' ? checkedUri(uri, this.rules) : null;
    const taskId = core.ids.uuid();
    const command = {
      ...({ kind: 'startImport', imageId: image.id, taskId, method, uploadId: core.ids.uuid(), owner } as const),
      source: source && shownUri(source),
    };
    const { state, position } = await core.commands.execute(imageAggregate, image.id, command, step('start'));
    const uploadId = state?.uploadId;
    if (!uploadId) throw invalid('The image has no data to import.');
    // The sweeper must not find it standing before it has begun.
    const work = this.carryOut(image.id, taskId, uploadId, source, step);
    this.running.add(work);
    void work.finally(() => this.running.delete(work));
    await core.at(position);
  }

  /** Ends what is under way; another replica finds it standing. */
  async stop(): Promise<void> {
    this.ending.abort();
    await Promise.allSettled(this.running);
  }

  private async carryOut(
    imageId: ImageId,
    taskId: string,
    uploadId: string,
    source: URL | null,
    step: (name: string) => CommandContext,
  ): Promise<void> {
    const { core, settings } = this.context;
    const { signal } = this.ending;
    const open = source && (() => guardedFetch(source, this.rules, settings.maxImageSize, signal, this.resolve));
    try {
      const image = await (await core.fresh()).get(imagesTable, imageId);
      if (image) await this.uploads.import(image, uploadId, open, step);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof DomainError)) this.onError(`import of image ${imageId}`, error);
      const reason = error instanceof DomainError ? error.message : 'The import failed unexpectedly.';
      const command = { kind: 'failImport', imageId, taskId, reason } as const;
      await core.commands
        .execute(imageAggregate, imageId, command, step('fail'))
        .catch((failure) => this.onError(`end of the import of image ${imageId}`, failure));
    }
  }
}
