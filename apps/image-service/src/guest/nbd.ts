import { connect, type Socket } from 'node:net';
import type { Disk } from './disk.js';

const NBD_MAGIC = 0x4e42444d41474943n;
const OPTION_MAGIC = 0x49484156454f5054n;
const REPLY_MAGIC = 0x3e889045565a9n;
const OPT_GO = 7;
const REP_ACK = 1;
const REP_INFO = 3;
const INFO_EXPORT = 0;
const REQUEST_MAGIC = 0x25609513;
const SIMPLE_REPLY_MAGIC = 0x67446698;
const CMD_READ = 0;
const CMD_DISC = 2;
const MAX_READ = 8 * 1024 * 1024;

const failed = (what: string) => new Error(`the NBD server ${what}`);

/** Bytes of a socket, as many as are asked for. */
class Reader {
  private chunks: Buffer[] = [];
  private length = 0;
  private waiting: (() => void) | undefined;
  private error: Error | undefined;

  constructor(socket: Socket) {
    socket.on('data', (chunk) => {
      this.chunks.push(chunk);
      this.length += chunk.length;
      this.waiting?.();
    });
    const fail = (error: Error) => {
      this.error ??= error;
      this.waiting?.();
    };
    socket.on('error', fail);
    socket.on('close', () => fail(failed('went away')));
  }

  async take(length: number): Promise<Buffer> {
    while (this.length < length) {
      if (this.error) throw this.error;
      await new Promise<void>((resolve) => {
        this.waiting = resolve;
      });
      this.waiting = undefined;
    }
    const all = this.chunks.length === 1 ? this.chunks[0]! : Buffer.concat(this.chunks, this.length);
    const rest = all.subarray(length);
    this.chunks = rest.length > 0 ? [rest] : [];
    this.length = rest.length;
    return all.subarray(0, length);
  }
}

/** A client of the NBD protocol that reads, one request after the other (NetworkBlockDevice/nbd doc/proto.md). */
export class NbdDisk implements Disk {
  private turn: Promise<unknown> = Promise.resolve();
  private handle = 0n;

  private constructor(
    private readonly socket: Socket,
    private readonly reader: Reader,
    readonly size: number,
  ) {}

  static async connect(path: string): Promise<NbdDisk> {
    const socket = connect(path);
    const reader = new Reader(socket);
    try {
      const greeting = await reader.take(18);
      if (greeting.readBigUInt64BE(0) !== NBD_MAGIC || greeting.readBigUInt64BE(8) !== OPTION_MAGIC)
        throw failed('is none');
      socket.write(Buffer.from([0, 0, 0, 3]));
      socket.write(goOption());
      return new NbdDisk(socket, reader, await exportSize(reader));
    } catch (error) {
      socket.destroy();
      throw error;
    }
  }

  async read(offset: number, length: number): Promise<Buffer> {
    if (length === 0) return Buffer.alloc(0);
    const parts: Buffer[] = [];
    for (let done = 0; done < length; done += MAX_READ)
      parts.push(await this.queued(offset + done, Math.min(MAX_READ, length - done)));
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
  }

  close(): void {
    this.socket.write(request(CMD_DISC, 0n, 0, 0));
    this.socket.end();
    this.socket.destroySoon();
  }

  private queued(offset: number, length: number): Promise<Buffer> {
    const run = this.turn.then(() => this.readOnce(offset, length));
    this.turn = run.catch(() => {});
    return run;
  }

  private async readOnce(offset: number, length: number): Promise<Buffer> {
    const handle = ++this.handle;
    this.socket.write(request(CMD_READ, handle, offset, length));
    const reply = await this.reader.take(16);
    if (reply.readUInt32BE(0) !== SIMPLE_REPLY_MAGIC || reply.readBigUInt64BE(8) !== handle)
      throw failed('is confused');
    const error = reply.readUInt32BE(4);
    if (error !== 0) throw failed(`answered error ${error}`);
    return Buffer.from(await this.reader.take(length));
  }
}

const goOption = (): Buffer => {
  const option = Buffer.alloc(22);
  option.writeBigUInt64BE(OPTION_MAGIC, 0);
  option.writeUInt32BE(OPT_GO, 8);
  option.writeUInt32BE(6, 12);
  return option;
};

const exportSize = async (reader: Reader): Promise<number> => {
  let size: number | undefined;
  for (;;) {
    const reply = await reader.take(20);
    if (reply.readBigUInt64BE(0) !== REPLY_MAGIC) throw failed('is confused');
    const type = reply.readUInt32BE(12);
    const data = await reader.take(reply.readUInt32BE(16));
    if (type === REP_ACK) {
      if (size === undefined) throw failed('told no size');
      return size;
    }
    if (type !== REP_INFO) throw failed(`refused: ${data.toString('utf8')}`);
    if (data.readUInt16BE(0) === INFO_EXPORT) size = Number(data.readBigUInt64BE(2));
  }
};

const request = (command: number, handle: bigint, offset: number, length: number): Buffer => {
  const b = Buffer.alloc(28);
  b.writeUInt32BE(REQUEST_MAGIC, 0);
  b.writeUInt16BE(command, 6);
  b.writeBigUInt64BE(handle, 8);
  b.writeBigUInt64BE(BigInt(offset), 16);
  b.writeUInt32BE(length, 24);
  return b;
};
