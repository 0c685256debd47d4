#!/usr/bin/env node
/**
 * A Windows host with Hyper-V, for tests: node serve.mjs DIR [--qemu | --disks] [--facts JSON]
 *
 * What is on it lies in DIR. Each connection to DIR/host.sock is one run of the host script; `powershell.mjs` makes them.
 * With --qemu the guests really run; with --disks only their disks are real.
 */
import { rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { qemuImgDisks } from './disks/qemu-img-disks.mjs';
import { HyperVHost } from './host.mjs';
import { QemuMachines } from './machines/qemu-machines.mjs';
import { Session } from './session.mjs';

export const realGuests = { disks: qemuImgDisks, machines: (host) => new QemuMachines(host) };

/** @param {HyperVHost} host @returns the server, and the path of its socket */
export const listen = async (host, path = join(host.pipes, 'host.sock')) => {
  rmSync(path, { force: true });
  const sockets = new Set();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => sockets.delete(socket));
    new Session(host, socket, socket);
  });
  await new Promise((done, failed) => server.once('error', failed).listen(path, done));
  return {
    path,
    close: () =>
      new Promise((done) => {
        server.close(done);
        for (const socket of sockets) socket.destroy();
      }),
  };
};

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { qemu: { type: 'boolean' }, disks: { type: 'boolean' }, facts: { type: 'string', default: '{}' } },
  });
  if (positionals.length !== 1) {
    console.error('usage: serve.mjs DIR [--qemu | --disks] [--facts JSON]');
    process.exit(2);
  }
  const facts = JSON.parse(values.facts);
  const real = values.qemu ? realGuests : values.disks ? { disks: qemuImgDisks } : {};
  const host = await new HyperVHost(resolve(positionals[0]), { facts, ...real }).open();
  const server = await listen(host);
  console.log(server.path);
  for (const signal of ['SIGINT', 'SIGTERM'])
    process.once(signal, async () => {
      await server.close();
      await host.close();
      process.exit(0);
    });
}
