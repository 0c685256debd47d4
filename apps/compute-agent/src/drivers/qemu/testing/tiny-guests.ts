import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ServerId } from '@omnivisor/contracts';
import { fileSource, rootFrom, testGuest } from '../../common/test-guest.js';
import { tinyGuest } from '../../common/tiny-guest.js';
import { connectUnix } from '../../common/unix-socket.js';
import type { Inside } from '../../conformance/driver-under-test.js';
import type { GuestSpec } from '../../hypervisor-driver.js';

export const CLOUD = 'test-cloud';
const PATIENCE = 10_000;

/** Guests of 512 bytes in the state folders of one or more drivers, and how to talk to them over their serial ports. */
export class TinyGuests {
  readonly image: string;
  /** Times that a guest was waited for, by its log: that goes on after a reboot, and begins anew on another host. */
  private readonly starts = new Map<string, number>();

  /** @param stateDirs a guest may move from one to the other; where it runs it is talked to */
  constructor(private readonly stateDirs: readonly [string, ...string[]]) {
    for (const dir of stateDirs) mkdirSync(join(dir, 'guests'), { recursive: true, mode: 0o711 });
    this.image = join(stateDirs[0], 'tiny.img');
    // The firmware does not boot a virtio disk of one sector. Guests lie over the file, so it is written once.
    if (!existsSync(this.image)) writeFileSync(this.image, Buffer.concat([tinyGuest()], 1 << 20));
  }

  spec(id: ServerId): GuestSpec {
    return testGuest(id, CLOUD, { disks: rootFrom(fileSource(this.image)) });
  }

  readonly inside: Inside = {
    up: (id) => this.up(id),
    switchOff: async (id) => void (await this.type(id, 'q')),
    ignorePowerButton: async (id) => void (await this.type(id, 'i')),
    memory: {
      write: async (id, letter) => void (await this.ask(id, `s${letter}`)),
      read: (id) => this.ask(id, 'g'),
    },
    disk: {
      write: async (id, disk, letter) => void (await this.ask(id, `w${disk}${letter}`)),
      read: (id, disk) => this.ask(id, `r${disk}`),
    },
  };

  /** Folder of the guest on the host where it runs, or lies. */
  folder(id: ServerId): string {
    const folders = this.stateDirs.map((dir) => join(dir, 'guests', id));
    return folders.find((dir) => processesIn(dir).length > 0) ?? folders[0]!;
  }

  private async up(id: ServerId): Promise<void> {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      const { log, times } = this.timesUp(id);
      if (times > (this.starts.get(log) ?? 0)) return void this.starts.set(log, times);
      if (Date.now() > deadline) throw new Error(`the guest is not up after ${PATIENCE} ms`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  private timesUp(id: ServerId): { log: string; times: number } {
    const path = join(this.folder(id), 'console.log');
    try {
      // Inodes are used again.
      const { ino, birthtimeMs } = statSync(path);
      return { log: `${ino} ${birthtimeMs}`, times: readFileSync(path, 'latin1').split('is up').length - 1 };
    } catch {
      return { log: '', times: 0 };
    }
  }

  private async type(id: ServerId, keys: string): Promise<void> {
    const serial = await connectUnix(join(this.folder(id), 'serial.sock'));
    const closed = new Promise((resolve) => serial.resume().once('close', resolve));
    serial.end(keys);
    await closed;
  }

  /** The letter in the brackets of its answer. */
  private async ask(id: ServerId, keys: string): Promise<string> {
    const serial = await connectUnix(join(this.folder(id), 'serial.sock'));
    try {
      return await new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`no answer to ${keys}`)), PATIENCE);
        let text = '';
        serial.on('data', (bytes: Buffer) => {
          text += bytes.toString('latin1');
          const answer = /\[([^\]])\]/.exec(text);
          if (!answer) return;
          clearTimeout(timer);
          resolve(answer[1]!);
        });
        serial.on('error', reject);
        serial.write(keys);
      });
    } finally {
      serial.destroy();
    }
  }
}

/** Processes that run in a folder. */
export const processesIn = (folder: string): string[] =>
  readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readlinkSync(`/proc/${pid}/cwd`) === folder;
    } catch {
      return false;
    }
  });
