import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { chmod, mkdir, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream } from 'node:stream/web';
import { setTimeout as pause } from 'node:timers/promises';
import { type ImageSnapshot, unavailable } from '@omnivisor/contracts';
import type { ImageCache } from '../agent/ports.js';
import { sendImage } from './send-image.js';

const HASH = /^[0-9a-f]{128}$/;

/** How long a form of an image may take to be made before the spawn is given up. */
const CONVERSION = 30 * 60_000;
const TRANSFER = 600_000;
/** How long an image stays that no guest of this host uses: as long as Nova keeps it. */
const UNUSED = 24 * 3_600_000;
/** Who was given a path has its link by then. */
const JUST_USED = 10 * 60_000;
const PARTIAL = '.part';

export interface CachedImage {
  readonly path: string;
  /** The form of the bytes, as the image service says it; drivers name it to their tools. */
  readonly format: string;
}

/** What bytes have to be. */
interface Expected {
  readonly algorithm: 'sha512' | 'sha256';
  /** Hexadecimal. */
  readonly hash: string;
  readonly size: number;
}

/**
 * Image bytes under the hash that they have: one file, read only, fetched once however many servers wait for it. The
 * image's own are known by the log; a form made of them is another one each time it is made, so the image service is asked
 * which. A file is there whole or not at all, and as long as a guest needs it (guests have links to it) or has needed it in
 * the last day; the disk of a server that moves here until its guest is made.
 */
export class FileImageCache implements ImageCache {
  private readonly fetching = new Map<string, Promise<CachedImage>>();

  constructor(private readonly folder: string) {}

  readonly send = sendImage;

  async path(image: ImageSnapshot, url: string, signal: AbortSignal, isPrivate = false): Promise<string> {
    return (await this.get(image, url, signal, isPrivate)).path;
  }

  async forget(image: ImageSnapshot): Promise<void> {
    const names = await readdir(this.folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return [];
      throw error;
    });
    for (const name of names)
      if (name.startsWith(privateName(image))) await rm(join(this.folder, name), { force: true });
  }

  /** @throws DomainError `unavailable` when the bytes cannot be had now */
  async get(image: ImageSnapshot, url: string, signal: AbortSignal, isPrivate = false): Promise<CachedImage> {
    if (!HASH.test(image.sha512)) throw unavailable(`image ${image.id} has no bytes yet`);
    const format = (new URL(url).searchParams.get('format') ?? image.diskFormat).replace(/[^a-z0-9-]/g, '');
    const expected = format === image.diskFormat ? ownOf(image) : await this.ask(image, url, signal);
    // Apart from images, and disks of others, that have the same bytes: it goes before they do.
    const path = join(this.folder, `${isPrivate ? privateName(image) : ''}${expected.hash}.${format}`);
    const running = this.fetching.get(path);
    if (running) return unlessAborted(running, signal);
    const run = this.ensure(path, image, url, expected)
      .then(() => ({ path, format }))
      .finally(() => this.fetching.delete(path));
    this.fetching.set(path, run);
    return unlessAborted(run, signal);
  }

  /** What the URL gives now, made when it has to be. */
  private async ask(image: ImageSnapshot, url: string, signal: AbortSignal): Promise<Expected> {
    try {
      const { headers } = await this.answer(url, 'HEAD', signal);
      return expectedOf(headers, image);
    } catch (error) {
      signal.throwIfAborted();
      throw unavailable(`the bytes of image ${image.id} cannot be had now`, error);
    }
  }

  private async ensure(path: string, image: ImageSnapshot, url: string, expected: Expected): Promise<void> {
    if (await stat(path).catch(() => null)) return utimes(path, new Date(), new Date());
    await mkdir(this.folder, { recursive: true });
    await this.removeUnused(UNUSED);
    const partial = `${path}.${process.pid}${PARTIAL}`;
    try {
      await this.fetch(partial, expected, url).catch(async (error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOSPC') throw error;
        await this.removeUnused(JUST_USED);
        await this.fetch(partial, expected, url);
      });
      await chmod(partial, 0o444);
      await rename(partial, path);
    } catch (error) {
      throw unavailable(`the bytes of image ${image.id} cannot be had now`, error);
    } finally {
      await rm(partial, { force: true });
    }
  }

  /** Images that nobody has asked for since `age` milliseconds and no guest has a link to, and what a crash left. */
  private async removeUnused(age: number): Promise<void> {
    const before = Date.now() - age;
    for (const name of await readdir(this.folder)) {
      const path = join(this.folder, name);
      const isOurs = [...this.fetching.keys()].some((key) => path.startsWith(key));
      const { nlink, mtimeMs } = await stat(path).catch(() => ({ nlink: 2, mtimeMs: 0 }));
      if (!isOurs && nlink === 1 && (mtimeMs < before || name.endsWith(PARTIAL))) await rm(path, { force: true });
    }
  }

  private async fetch(partial: string, expected: Expected, url: string): Promise<void> {
    const response = await this.answer(url, 'GET');
    const hash = createHash(expected.algorithm);
    let size = 0;
    const check = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        size += chunk.length;
        if (size > expected.size) return done(new Error('more bytes than the image has'));
        hash.update(chunk);
        done(null, chunk);
      },
    });
    await pipeline(
      Readable.fromWeb(response.body as ReadableStream),
      check,
      createWriteStream(partial, { flags: 'w', mode: 0o600, flush: true }),
    );
    if (size !== expected.size || hash.digest('hex') !== expected.hash)
      throw new Error('the bytes do not fit their hash');
  }

  /** Asks again while the form that the URL names is being made. */
  private async answer(url: string, method: 'GET' | 'HEAD', signal?: AbortSignal): Promise<Response> {
    const deadline = Date.now() + CONVERSION;
    for (;;) {
      const late = AbortSignal.timeout(TRANSFER);
      const end = signal ? AbortSignal.any([signal, late]) : late;
      const response = await fetch(url, { method, redirect: 'error', signal: end });
      if (response.ok && (response.body || method === 'HEAD')) return response;
      await response.body?.cancel();
      const wait = Number(response.headers.get('retry-after') ?? 'none');
      if (response.status !== 503 || !(wait <= 60) || Date.now() > deadline)
        throw new Error(`the image service answered ${response.status}`);
      await pause(wait * 1_000, undefined, signal ? { signal } : {});
    }
  }
}

const privateName = ({ id }: ImageSnapshot): string => `${id} `;

const ownOf = ({ sha512, size }: ImageSnapshot): Expected => ({ algorithm: 'sha512', hash: sha512, size });

const expectedOf = (headers: Headers, image: ImageSnapshot): Expected => {
  if (!headers.has('x-image-derived')) return ownOf(image);
  const hash = /^"sha256:([0-9a-f]{64})"$/.exec(headers.get('etag') ?? '')?.[1];
  const size = Number(headers.get('content-length') ?? Number.NaN);
  if (hash === undefined || !Number.isSafeInteger(size)) throw new Error('the image service did not say their hash');
  return { algorithm: 'sha256', hash, size };
};

/** What others wait for is not given up because one of them did: only this wait ends. */
const unlessAborted = <T>(work: Promise<T>, signal: AbortSignal): Promise<T> =>
  new Promise<T>((resolve, reject) => {
    const giveUp = () => reject(signal.reason);
    if (signal.aborted) giveUp();
    signal.addEventListener('abort', giveUp);
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', giveUp));
  });

/** For hypervisors that keep no bytes (the fake one): every image is there. */
export const noImageBytes: ImageCache = {
  path: async (image) => `/nonexistent/${image.id}`,
  forget: async () => undefined,
  send: sendImage,
};
