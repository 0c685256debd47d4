import { once } from 'node:events';
import { createConnection } from 'node:net';
import { createInterface } from 'node:readline';

/** A connection to a QEMU process. */
export class Qmp {
  static async connect(path) {
    const socket = createConnection(path);
    await once(socket, 'connect');
    const qmp = new Qmp(socket);
    await qmp.greeted;
    await qmp.run('qmp_capabilities');
    return qmp;
  }

  constructor(socket) {
    this.socket = socket;
    this.waiting = [];
    this.greeted = new Promise((resolve) => {
      this.greet = resolve;
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      for (const { reject } of this.waiting.splice(0)) reject(new Error('QEMU is gone'));
    });
    const lines = createInterface({ input: socket });
    // readline passes on what its input fails with: the close says so.
    lines.on('error', () => socket.destroy());
    lines.on('line', (line) => {
      const message = JSON.parse(line);
      if (message.QMP) this.greet();
      else if ('return' in message) this.waiting.shift().resolve(message.return);
      else if (message.error) this.waiting.shift().reject(new Error(message.error.desc));
    });
  }

  run(execute, args) {
    return new Promise((resolve, reject) => {
      this.waiting.push({ resolve, reject });
      this.socket.write(`${JSON.stringify({ execute, ...(args ? { arguments: args } : {}) })}\n`);
    });
  }

  onClose(done) {
    this.socket.once('close', done);
  }
  close() {
    this.socket.destroy();
  }
}
