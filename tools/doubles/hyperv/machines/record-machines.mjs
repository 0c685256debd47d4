import { rmSync } from 'node:fs';
import { createServer } from 'node:net';

/**
 * Guests that are only told about: they are up at once, say so on their serial port, send back what is typed, and follow
 * the shutdown request.
 */
export class RecordMachines {
  outliveTheDouble = false;

  constructor(host) {
    this.host = host;
    this.ports = new Map();
  }

  async start(vm) {
    vm.guest.memory = '-';
    await this.openPort(vm);
  }
  async stop(vm) {
    this.closePort(vm);
  }
  async pause() {}
  async resume() {}
  /** The guest's memory goes to disk. */
  async save(vm) {
    this.closePort(vm);
  }
  async restore(vm) {
    await this.openPort(vm);
  }
  async requestShutdown(vm) {
    if (vm.guest.ignoresShutdown) return;
    setImmediate(() => void this.host.guestShutsDown(vm.Id));
  }
  async disksChanged() {}
  async nmi(vm) {
    vm.guest.memory = 'N';
  }
  /** After a restart of the double: guests did not notice. */
  async attach(vm) {
    if (vm.State === 'Running' || vm.State === 'Paused') await this.openPort(vm);
  }
  async close() {
    for (const id of [...this.ports.keys()]) this.closePort({ Id: id });
  }

  async openPort(vm) {
    const path = vm.com[0] && this.host.pipe(vm.com[0]);
    if (!path || this.ports.has(vm.Id)) return;
    rmSync(path, { force: true });
    const server = createServer((socket) => {
      socket.on('error', () => socket.destroy());
      if (!vm.guest.greeted) socket.write(`guest ${vm.Name} is up\r\n`);
      vm.guest.greeted = true;
      socket.on('data', (bytes) => socket.write(bytes));
    });
    // Like a serial port's pipe: one client.
    server.maxConnections = 1;
    await new Promise((resolve, reject) => server.once('error', reject).listen(path, resolve));
    const clients = new Set();
    server.on('connection', (socket) => {
      clients.add(socket);
      socket.once('close', () => clients.delete(socket));
    });
    this.ports.set(vm.Id, { server, clients });
  }

  closePort(vm) {
    const port = this.ports.get(vm.Id);
    if (!port) return;
    this.ports.delete(vm.Id);
    port.server.close();
    for (const socket of port.clients) socket.destroy();
    if (vm.guest) vm.guest.greeted = false;
  }
}

/** What happens inside such a guest. Its disks are counted as firmware does: IDE, then SCSI, by place. */
export const insideRecord = (host, vm) => {
  const fileOf = (n) => {
    const order = ({ type, number, location }) => (type === 'IDE' ? 0 : 1000) + number * 100 + location;
    const disks = vm.drives.filter((d) => d.kind === 'HardDiskDrive').sort((a, b) => order(a) - order(b));
    return disks[n] ? host.local(disks[n].path) : null;
  };
  return {
    remember(letter) {
      vm.guest.memory = letter;
      host.save();
    },
    recall: () => vm.guest.memory,
    write(n, letter) {
      const { fileSize, ...disk } = host.disks.info(fileOf(n));
      host.disks.create(fileOf(n), { ...disk, content: letter });
    },
    read: (n) => (fileOf(n) && host.disks.contentOf(fileOf(n))) ?? '-',
    ignoreShutdown() {
      vm.guest.ignoresShutdown = true;
    },
  };
};
