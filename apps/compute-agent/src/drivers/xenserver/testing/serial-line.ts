import type { ServerId } from '@omnivisor/contracts';
import { expect, vi } from 'vitest';
import type { Inside } from '../../conformance/driver-under-test.js';
import type { ConsoleStream } from '../../hypervisor-driver.js';
import type { PoolUnderTest } from './pool-under-test.js';

const PATIENCE = 60_000;

/** Talks to guests in QEMU over the serial console that the driver opens. */
export class SerialLine {
  constructor(private readonly pool: PoolUnderTest) {}

  /** All that the guest has written since its last start. */
  log(id: ServerId): string {
    return this.pool.double.serialLog(this.pool.vmOf(id).uuid);
  }

  says(id: ServerId, text: RegExp, patience = PATIENCE): Promise<void> {
    return vi.waitFor(() => expect(this.log(id)).toMatch(text), { timeout: patience, interval: 20 });
  }

  /** @returns what `answer` matched in what came back */
  async ask(id: ServerId, keys: string, answer: RegExp): Promise<RegExpExecArray> {
    const driver = this.pool.open();
    try {
      const line = await driver.consoles.open(id, 'serial');
      return await heard(line, keys, answer).finally(() => line.close());
    } finally {
      await driver.close();
    }
  }

  /** As tiny guests understand it. */
  get inside(): Inside {
    const ask = async (id: ServerId, keys: string) => (await this.ask(id, keys, /\[([^\]])\]/))[1]!;
    // What ends the guest ends its line.
    const end = async (id: ServerId) => {
      const driver = this.pool.open();
      const line = await driver.consoles.open(id, 'serial');
      const closed = new Promise((resolve) => line.readable.resume().once('close', resolve));
      line.writable.write('q');
      await closed;
      await driver.close();
    };
    return {
      up: (id) => this.says(id, /is up/),
      switchOff: end,
      ignorePowerButton: async (id) => void (await ask(id, 'ig')),
      memory: {
        write: async (id, letter) => void (await ask(id, `s${letter}`)),
        read: (id) => ask(id, 'g'),
      },
      disk: {
        write: async (id, disk, letter) => void (await ask(id, `w${disk}${letter}`)),
        read: (id, disk) => ask(id, `r${disk}`),
      },
    };
  }
}

const heard = ({ readable, writable }: ConsoleStream, keys: string, answer: RegExp): Promise<RegExpExecArray> =>
  new Promise((resolve, reject) => {
    let text = '';
    const timer = setTimeout(() => reject(new Error(`no answer to ${keys}, but: ${text}`)), PATIENCE);
    readable.on('data', (bytes: Buffer) => {
      text += bytes.toString('latin1');
      const found = answer.exec(text);
      if (!found) return;
      clearTimeout(timer);
      resolve(found);
    });
    readable.once('error', reject);
    writable.write(keys);
  });
