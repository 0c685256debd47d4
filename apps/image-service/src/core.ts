import { AppCore } from '@omnivisor/eventsourcing';
import type { Bus, Clock, Ids } from '@omnivisor/platform';
import type { ImportRules } from './download/guarded-uri.js';
import type { ImageStore } from './store/index.js';

/** Commands, linearizable reads and wake-ups of the image service. */
export class ImageCore extends AppCore<Clock, Bus, Ids> {}

export interface ImageSettings {
  /** The largest image in bytes. */
  readonly maxImageSize: number;
  /** Uploads and imports at work at one time in this process, a half of them of one project: more are answered 503, or wait. */
  readonly maxUploads: number;
  /** Milliseconds an upload may stand still. */
  readonly idleTimeout: number;
  /** Bytes a second that an upload or import brings at least, but for `idleTimeout`; 0 for any. */
  readonly leastRate: number;
  /** Conversions at work at one time in this process, besides one for hosts. */
  readonly conversions: number;
  /** Bytes of derived forms that are kept; the least recently used go. */
  readonly formsCapacity: number;
  /** Milliseconds after which an unused derived form goes. */
  readonly formsMaxAge: number;
  /** Milliseconds without a write after which a conversion of another replica counts as dead. */
  readonly standstill: number;
  /** Milliseconds that a request for bytes waits for their conversion. */
  readonly patience: number;
  readonly imports: ImportRules;
  /** Key of the signatures on byte URLs; the same in every replica. */
  readonly signingKey: Buffer;
  /** Where compute agents reach this service, without a trailing slash. */
  readonly internalUrl: string;
}

/** What the controllers stand on. */
export class ImageContext {
  constructor(
    readonly core: ImageCore,
    readonly store: ImageStore,
    readonly settings: ImageSettings,
  ) {}
}
