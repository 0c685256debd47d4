#!/usr/bin/env node
/**
 * node tools/doubles/hyperv/serve.mjs DIR… [--qemu | --disks] [--facts JSON]… [--move-time MS]: Windows hosts with
 * Hyper-V, for tests
 *
 * What is on one lies in its DIR. Each connection to its socket is one run of the host script; `powershell.mjs` makes them.
 * With --qemu the guests really run; with --disks only their disks are real. Prints the path of each socket, in the order of
 * the folders; --facts is given once for each, in the same order. Guests move between them, and take MS for it.
 */
import { rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { argumentsOf, whole } from '../../arguments.mjs';
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
  const { values, positionals } = argumentsOf(import.meta.url, {
    allowPositionals: true,
    needed: 'DIR',
    options: {
      ...{ qemu: { type: 'boolean' }, disks: { type: 'boolean' } },
      facts: { type: 'string', multiple: true, default: ['{}'] },
      'move-time': { type: 'string', default: '0', read: whole() },
    },
  });
  const real = values.qemu ? realGuests : values.disks ? { disks: qemuImgDisks } : {};
  const hosts = [];
  for (const [i, dir] of positionals.entries()) {
    const facts = JSON.parse(values.facts[i] ?? '{}');
    hosts.push(await new HyperVHost(resolve(dir), { facts, ...real }).open());
  }
  for (const host of hosts) {
    host.moveTime = values['move-time'];
    for (const peer of hosts) if (peer !== host) host.peers.set(peer.facts.name.toUpperCase(), peer);
  }
  const servers = await Promise.all(hosts.map((host) => listen(host)));
  for (const { path } of servers) console.log(path);
  for (const signal of ['SIGINT', 'SIGTERM'])
    process.once(signal, async () => {
      for (const server of servers) await server.close();
      for (const host of hosts) await host.close();
      process.exit(0);
    });
}
