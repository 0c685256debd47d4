import { createReadStream } from 'node:fs';
import { mkdir, open, rename, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../../services/process.mjs';
import { decodeVhd, encodeVhd, VhdError } from './vhd.mjs';

/** Virtual disks as sparse raw files, one for each VDI. */
export class Disks {
  /** @param {string} folder */
  constructor(folder) {
    this.folder = folder;
  }

  path(uuid) {
    return join(this.folder, `${uuid}.raw`);
  }

  async create(uuid, size) {
    await mkdir(this.folder, { recursive: true });
    await (await open(this.path(uuid), 'wx')).close();
    await truncate(this.path(uuid), size);
  }

  async copy(from, to) {
    const { code, stderr } = await run('cp', ['--sparse=always', '--reflink=auto', this.path(from), this.path(to)]);
    if (code !== 0) throw new Error(`copying a disk: ${stderr}`);
  }

  rename(from, to) {
    return rename(this.path(from), this.path(to));
  }

  resize(uuid, size) {
    return truncate(this.path(uuid), size);
  }

  remove(uuid) {
    return rm(this.path(uuid), { force: true });
  }

  /** @returns {Promise<number>} bytes that the file takes up */
  async used(uuid) {
    return (await stat(this.path(uuid))).blocks * 512;
  }

  /** Zeros of a raw stream stay holes. @param {AsyncIterable<Buffer>} stream @throws {VhdError} when it does not fit or is none */
  async write(uuid, format, stream) {
    const { size } = await stat(this.path(uuid));
    if (format === 'vhd') return decodeVhd(stream, this.path(uuid), size);
    const file = await open(this.path(uuid), 'r+');
    let at = 0;
    try {
      for await (const chunk of stream) {
        if (at + chunk.length > size) throw new VhdError('more bytes than the disk has');
        if (chunk.some((byte) => byte !== 0)) await file.write(chunk, 0, chunk.length, at);
        at += chunk.length;
      }
    } finally {
      await file.close();
    }
  }

  /** @returns {AsyncIterable<Buffer>} */
  read(uuid, format, size) {
    return format === 'vhd' ? encodeVhd(this.path(uuid), size) : createReadStream(this.path(uuid));
  }
}
