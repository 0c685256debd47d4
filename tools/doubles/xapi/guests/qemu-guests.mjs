import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Qmp } from './qmp.mjs';

/** @typedef {import('./record-guests.mjs').GuestSpec} GuestSpec */

const START_LIMIT = 20_000;
const UNPLUG_LIMIT = 10_000;

const diskArguments = ({ device, path, cd, readOnly, bootable }) => {
  const drive = [`if=none,id=vbd${device},format=raw`, ...(path === null ? [] : [`file=${path}`])];
  if (readOnly || cd) drive.push('readonly=on');
  const kind = cd ? 'ide-cd' : 'virtio-blk-pci';
  const order = bootable ? 0 : Number(device) + 1;
  return ['-drive', drive.join(','), '-device', `${kind},id=dev${device},drive=vbd${device},bootindex=${order}`];
};
const nicArguments = ({ device, mac }) => [
  ...['-netdev', `user,id=net${device},restrict=on`],
  ...['-device', `virtio-net-pci,id=vif${device},netdev=net${device},mac=${mac},romfile=`],
];

/** Guests as QEMU processes under TCG, in sessions of their own: they outlive the double, as domains outlive XAPI. */
export class QemuGuests {
  /**
   * @param {(uuid: string, how: 'shutdown' | 'reboot' | 'crash') => void} stopped by the guest itself
   * @param {{ folder: string, qemu?: string }} options `folder`: short enough for the path of a Unix socket
   */
  constructor(stopped, { folder, qemu = 'qemu-system-x86_64' }) {
    this.stopped = stopped;
    this.folder = folder;
    this.qemu = qemu;
    /** @type {Map<string, { qmp: Qmp, expected: boolean }>} */
    this.live = new Map();
  }

  /** @param {GuestSpec} spec @param {{ paused?: boolean, saved?: string }} [how] */
  async boot(spec, { paused = false, saved } = {}) {
    const folder = this.#folder(spec.uuid);
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    const args = [
      ...['-name', `guest=${spec.name.replace(/[^\w.-]/g, '_')}`, '-uuid', spec.uuid],
      ...['-machine', 'pc,accel=tcg', '-cpu', 'max', '-smp', String(spec.vcpus), '-m', String(spec.memoryMib)],
      ...['-nodefaults', '-no-user-config', '-vga', 'std', '-no-reboot', '-S'],
      ...['-qmp', 'unix:qmp,server=on,wait=off', '-vnc', 'unix:rfb', '-pidfile', 'pid'],
      ...['-chardev', 'socket,id=serial,path=vt100,server=on,wait=off,logfile=serial.log', '-serial', 'chardev:serial'],
      ...spec.disks.flatMap(diskArguments),
      ...spec.nics.flatMap(nicArguments),
      ...(saved ? ['-incoming', `exec:cat ${saved}`] : []),
    ];
    const log = openSync(join(folder, 'qemu.log'), 'w');
    const child = spawn(this.qemu, args, { cwd: folder, detached: true, stdio: ['ignore', log, log] });
    closeSync(log);
    child.unref();
    let ended = null;
    child.once('exit', (code) => {
      ended = `QEMU ended with ${code}`;
    });
    child.once('error', (error) => {
      ended = error.message;
    });
    const deadline = Date.now() + START_LIMIT;
    let qmp = null;
    while (!qmp) {
      qmp = existsSync(join(folder, 'qmp')) ? await Qmp.open(join(folder, 'qmp')).catch(() => null) : null;
      if (ended) throw new Error(`${ended}: ${readFileSync(join(folder, 'qemu.log'), 'utf8')}`);
      if (!qmp && Date.now() > deadline) throw new Error('QEMU does not answer');
      if (!qmp) await sleep(10);
    }
    this.#watch(spec.uuid, qmp);
    if (saved) while ((await qmp.command('query-status')).status === 'inmigrate') await sleep(20);
    if (!paused) await qmp.command('cont');
  }

  async adopt(spec) {
    const qmp = await Qmp.open(join(this.#folder(spec.uuid), 'qmp')).catch(() => null);
    if (qmp) this.#watch(spec.uuid, qmp);
    return qmp !== null;
  }

  async powerOff(uuid) {
    const guest = this.live.get(uuid);
    if (!guest) return;
    guest.expected = true;
    await guest.qmp.command('quit').catch(() => {});
    await guest.qmp.closed;
  }

  async askToStop(uuid, patience, signal) {
    const guest = this.#guest(uuid);
    guest.expected = true;
    const deadline = Date.now() + patience;
    while (Date.now() < deadline && !signal.aborted && this.live.get(uuid) === guest) {
      // A guest that boots misses the first.
      await guest.qmp.command('system_powerdown').catch(() => {});
      await Promise.race([guest.qmp.closed, sleep(500)]);
    }
    if (this.live.get(uuid) !== guest) return true;
    guest.expected = false;
    return false;
  }

  async pause(uuid) {
    await this.#guest(uuid).qmp.command('stop');
  }

  async unpause(uuid) {
    await this.#guest(uuid).qmp.command('cont');
  }

  async save(uuid, path) {
    const { qmp } = this.#guest(uuid);
    await qmp.command('stop');
    await qmp.command('migrate', { uri: `exec:cat > ${path}` });
    for (;;) {
      const { status } = await qmp.command('query-migrate');
      if (status === 'completed') break;
      if (status === 'failed') throw new Error('the memory cannot be saved');
      await sleep(20);
    }
    await this.powerOff(uuid);
  }

  async plugDisk(uuid, { device, path, readOnly }) {
    const { qmp } = this.#guest(uuid);
    const node = `vbd${device}`;
    const file = { driver: 'file', filename: path };
    await qmp.command('blockdev-add', { driver: 'raw', 'node-name': node, 'read-only': readOnly, file });
    try {
      await qmp.command('device_add', { driver: 'virtio-blk-pci', id: `dev${device}`, drive: node });
    } catch (error) {
      await qmp.command('blockdev-del', { 'node-name': node });
      throw error;
    }
  }

  async unplugDisk(uuid, device) {
    const gone = await this.#unplug(uuid, `dev${device}`);
    const { qmp } = this.#guest(uuid);
    // Drives of the command line go with their device; only those that were plugged have a node of this name.
    if (gone) await qmp.command('blockdev-del', { 'node-name': `vbd${device}` }).catch(() => {});
    return gone;
  }

  async changeMedium(uuid, device, path) {
    const { qmp } = this.#guest(uuid);
    const id = `dev${device}`;
    if (path === null) await qmp.command('eject', { id, force: true });
    else await qmp.command('blockdev-change-medium', { id, filename: path, format: 'raw' });
  }

  /** QEMU has the file open, whatever its name. */
  async moveDisk() {}

  async plugNic(uuid, { device, mac }) {
    const { qmp } = this.#guest(uuid);
    await qmp.command('netdev_add', { type: 'user', id: `net${device}`, restrict: true });
    await qmp.command('device_add', { driver: 'virtio-net-pci', id: `vif${device}`, netdev: `net${device}`, mac });
  }

  async unplugNic(uuid, device) {
    const gone = await this.#unplug(uuid, `vif${device}`);
    if (gone) await this.#guest(uuid).qmp.command('netdev_del', { id: `net${device}` });
    return gone;
  }

  async quiesced(uuid, action) {
    const { qmp } = this.#guest(uuid);
    const { running } = await qmp.command('query-status');
    if (running) await qmp.command('stop');
    try {
      return await action();
    } finally {
      if (running) await qmp.command('cont');
    }
  }

  async console(uuid, protocol) {
    this.#guest(uuid);
    const socket = connect(join(this.#folder(uuid), protocol));
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return socket;
  }

  /** What the guest wrote to its first serial port: for tests; XAPI has no such call. */
  serialLog(uuid) {
    const path = join(this.#folder(uuid), 'serial.log');
    return existsSync(path) ? readFileSync(path, 'latin1') : '';
  }

  async close(end) {
    for (const [uuid, { qmp }] of [...this.live]) {
      if (end) await this.powerOff(uuid);
      qmp.onEvent.clear();
      this.live.delete(uuid);
      qmp.close();
    }
  }

  async #unplug(uuid, id) {
    const { qmp } = this.#guest(uuid);
    const deleted = qmp.event((e) => e.event === 'DEVICE_DELETED' && e.data?.device === id, UNPLUG_LIMIT);
    await qmp.command('device_del', { id });
    return deleted;
  }

  #watch(uuid, qmp) {
    const guest = { qmp, expected: false };
    this.live.set(uuid, guest);
    let how = 'crash';
    qmp.onEvent.add(({ event, data }) => {
      if (event === 'SHUTDOWN') how = data.reason === 'guest-reset' ? 'reboot' : 'shutdown';
    });
    void qmp.closed.then(() => {
      if (this.live.get(uuid) !== guest) return;
      this.live.delete(uuid);
      if (!guest.expected) this.stopped(uuid, how);
    });
  }

  #folder(uuid) {
    return join(this.folder, uuid.slice(0, 13));
  }

  #guest(uuid) {
    const guest = this.live.get(uuid);
    if (!guest) throw new Error(`there is no guest ${uuid}`);
    return guest;
  }
}
