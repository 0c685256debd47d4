import { z } from 'zod';
import type { HostConnection } from '../host-connection.js';
import { isInUse } from './disks.js';

/** Bytes in one line at most: Windows PowerShell reads no longer JSON text than some megabytes. */
const PART = 512 * 1024;
const PATIENCE = 30_000;

const Item = z.object({ Name: z.string(), IsFolder: z.boolean(), Changed: z.iso.datetime({ offset: true }) });
const Part = z.object({ Base64: z.string(), TotalLength: z.number() });

/** Files below the host script's folder. */
export class HostFiles {
  constructor(private readonly host: HostConnection) {}

  makeFolder(path: string): Promise<void> {
    return this.host.run('New-HostFolder', { Path: path });
  }

  items(path: string): Promise<z.output<typeof Item>[]> {
    return this.host.get('Get-HostItem', { Path: path }, Item);
  }

  async write(path: string, bytes: Buffer): Promise<void> {
    for (let start = 0; start === 0 || start < bytes.length; start += PART)
      await this.host.run('Set-HostFile', {
        Path: path,
        Base64: bytes.subarray(start, start + PART).toString('base64'),
        Append: start > 0,
      });
  }

  move(path: string, to: string): Promise<void> {
    return this.host.run('Move-HostFile', { Path: path, Destination: to });
  }

  /** @param offset negative: from the end @returns null when there is no such file */
  async read(path: string, offset: number, length: number): Promise<{ bytes: Buffer; total: number } | null> {
    const [part] = await this.host.get('Get-HostFile', { Path: path, Offset: offset, Length: length }, Part);
    return part ? { bytes: Buffer.from(part.Base64, 'base64'), total: part.TotalLength } : null;
  }

  /** The whole file in parts; `path` is there until the last was read. */
  async *parts(path: string): AsyncGenerator<Buffer> {
    for (let at = 0; ; at += PART) {
      const part = await this.read(path, at, PART);
      if (!part || part.bytes.length === 0) return;
      yield part.bytes;
    }
  }

  /** File or folder; nothing there: succeeds. Waits a while for whoever still uses it. */
  async remove(path: string): Promise<void> {
    const deadline = Date.now() + PATIENCE;
    for (let pause = 50; ; pause = Math.min(2_000, pause * 2))
      try {
        return await this.host.run('Remove-HostItem', { Path: path });
      } catch (error) {
        if (!isInUse(error) || Date.now() > deadline) throw error;
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
  }
}
