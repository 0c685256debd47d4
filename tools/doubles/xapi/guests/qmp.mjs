import { connect } from 'node:net';
import { createInterface } from 'node:readline';

/** QEMU's control socket: one command after the other, events beside them. */
export class Qmp {
  /** @param {string} path @returns {Promise<Qmp>} */
  static async open(path) {
    const socket = connect(path);
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    const qmp = new Qmp(socket);
    await qmp.greeted;
    await qmp.command('qmp_capabilities');
    return qmp;
  }

  constructor(socket) {
    this.socket = socket;
    this.waiting = [];
    /** @type {Set<(event: { event: string, data?: any }) => void>} */
    this.onEvent = new Set();
    let greeted;
    this.greeted = new Promise((resolve) => {
      greeted = resolve;
    });
    this.closed = new Promise((resolve) => socket.once('close', resolve));
    const lines = createInterface({ input: socket });
    // QEMU ends with the connection open: `closed` tells.
    lines.on('error', () => socket.destroy());
    lines.on('line', (line) => {
      const message = JSON.parse(line);
      if (message.QMP) greeted();
      else if (message.event) for (const listener of this.onEvent) listener(message);
      else {
        const { resolve, reject } = this.waiting.shift();
        if (message.error) reject(new Error(message.error.desc));
        else resolve(message.return);
      }
    });
    void this.closed.then(() => {
      greeted();
      for (const { reject } of this.waiting.splice(0)) reject(new Error('QEMU has ended'));
    });
  }

  /** @param {string} execute @param {Record<string, unknown>} [args] @returns {Promise<any>} */
  command(execute, args = {}) {
    return new Promise((resolve, reject) => {
      if (this.socket.destroyed) return reject(new Error('QEMU has ended'));
      this.waiting.push({ resolve, reject });
      this.socket.write(`${JSON.stringify({ execute, arguments: args })}\n`);
    });
  }

  /** @param {(event: any) => boolean} matches @param {number} timeout in milliseconds @returns {Promise<boolean>} it came */
  event(matches, timeout) {
    return new Promise((resolve) => {
      const settle = (came) => {
        clearTimeout(timer);
        this.onEvent.delete(listener);
        resolve(came);
      };
      const listener = (event) => matches(event) && settle(true);
      const timer = setTimeout(() => settle(false), timeout);
      this.onEvent.add(listener);
      void this.closed.then(() => settle(false));
    });
  }

  close() {
    this.socket.destroy();
  }
}
