import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { chmod, mkdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream } from 'node:stream/web';
import { type ImageSnapshot, unavailable } from '@omnivisor/contracts';
import type { ImageCache } from '../agent/ports.js';

const HASH = /^[0-9a-f]{128}$/;

/**
 * Image bytes under their SHA-512: one file an image, read only, fetched once however many servers wait for it. A file is
 * there whole or not at all.
 */
export class FileImageCache implements ImageCache {
  private readonly fetching = new Map<string, Promise<string>>();

  constructor(private readonly folder: string) {}

  async path(image: ImageSnapshot, url: string, _signal: AbortSignal): Promise<string> {
    if (!HASH.test(image.sha512)) throw unavailable(`image ${image.id} has no bytes yet`);
    const path = join(this.folder, `${image.sha512}.${image.diskFormat.replace(/[^a-z0-9]/g, '')}`);
    // What others wait for is not given up because one of them did.
    const running = this.fetching.get(path);
    if (running) return running;
    const run = this.ensure(path, image, url).finally(() => this.fetching.delete(path));
    this.fetching.set(path, run);
    return run;
  }

  private async ensure(path: string, image: ImageSnapshot, url: string): Promise<string> {
    const there = await stat(path).catch(() => null);
    if (there?.size === image.size) return path;
    await mkdir(this.folder, { recursive: true });
    const partial = `${path}.${process.pid}.part`;
    try {
      await this.fetch(partial, image, url);
      await chmod(partial, 0o444);
      await rename(partial, path);
      return path;
    } catch (error) {
      throw unavailable(`the bytes of image ${image.id} cannot be had now`, error);
    } finally {
      await rm(partial, { force: true });
    }
  }

  private async fetch(partial: string, image: ImageSnapshot, url: string): Promise<void> {
    const response = await fetch(url, { redirect: 'error', signal: AbortSignal.timeout(600_000) });
    if (!response.ok || !response.body) throw new Error(`the image service answered ${response.status}`);
    const hash = createHash('sha512');
    let size = 0;
    const check = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        size += chunk.length;
        if (size > image.size) return done(new Error('more bytes than the image has'));
        hash.update(chunk);
        done(null, chunk);
      },
    });
    await pipeline(
      Readable.fromWeb(response.body as ReadableStream),
      check,
      createWriteStream(partial, { flags: 'w', mode: 0o600, flush: true }),
    );
    if (size !== image.size || hash.digest('hex') !== image.sha512) throw new Error('the bytes do not fit their hash');
  }
}

/** For hypervisors that keep no bytes (the fake one): every image is there. */
export const noImageBytes: ImageCache = { path: async (image) => `/nonexistent/${image.id}` };
