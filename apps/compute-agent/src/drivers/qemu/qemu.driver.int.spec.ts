import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mib, type ServerId } from '@omnivisor/contracts';
import { afterAll } from 'vitest';
import { fileSource, rootFrom, tapNic, testGuest } from '../common/test-guest.js';
import { tinyGuest } from '../common/tiny-guest.js';
import { describeHypervisorDriver } from '../conformance.js';
import { QemuDriver } from './qemu.driver.js';
import { connectUnix } from './qmp-client.js';

const cloudId = 'test-cloud';
const stateDir = mkdtempSync(
  join(tmpdir(), 'omnivisor-qemu-with-a-folder-name-that-is-longer-than-a-unix-socket-path-may-be-'),
);
const imagePath = join(stateDir, 'tiny.img');
// The firmware does not boot a virtio disk of one sector.
writeFileSync(imagePath, Buffer.concat([tinyGuest()], 1 << 20));
const folder = (id: ServerId) => join(stateDir, 'guests', id);
const openDriver = async () =>
  new QemuDriver({ stateDir, cloudId, accel: 'tcg', answerTimeout: 1_000, softRebootPatience: 5_000 });
const guest = async (id: ServerId) => testGuest(id, cloudId, { disks: rootFrom(fileSource(imagePath)) });

const type = async (id: ServerId, key: string) => {
  const serial = await connectUnix(join(folder(id), 'serial.sock'));
  serial.end(key);
  await new Promise((resolve) => serial.resume().once('close', resolve));
};
const starts = new Map<ServerId, number>();
const saysUp = (id: ServerId) => readFileSync(join(folder(id), 'console.log'), 'latin1').split('is up').length - 1;
/** Up once more than when it was last waited for: the log goes on after a reboot. */
const ready = async (id: ServerId) => {
  const before = starts.get(id) ?? 0;
  while (saysUp(id) <= before) await new Promise((resolve) => setTimeout(resolve, 10));
  starts.set(id, saysUp(id));
};
/** Keys that come before the guest listens would be lost. */
const typeOnceUp = async (id: ServerId, key: string) => {
  await ready(id);
  await type(id, key);
};
const processesOf = (id: ServerId) =>
  readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(`/${id}/`);
    } catch {
      return false;
    }
  });

afterAll(() => rmSync(stateDir, { recursive: true }));

describeHypervisorDriver({
  name: 'qemu',
  supports: ['pausing', 'consoleLog', 'consoles'],
  open: openDriver,
  reopen: openDriver,
  close: (driver) => driver.close(),
  guest,
  tooBig: async (id) => {
    const spec = await guest(id);
    return { ...spec, flavor: { ...spec.flavor, memory: mib(1 << 30) } };
  },
  failing: async (id) => {
    const spec = await guest(id);
    return { ...spec, nics: [tapNic(id, '-', { attachment: { kind: 'tap', tap: '-', netns: 'no-such-ns' } })] };
  },
  leftovers: async (id) => [...(existsSync(folder(id)) ? [folder(id)] : []), ...processesOf(id)],
  shutDownFromInside: (id) => typeOnceUp(id, 'q'),
  ignorePowerButton: (id) => typeOnceUp(id, 'i'),
  foreignGuest: async () => {
    const dir = join(stateDir, 'guests', '11111111-2222-4333-8444-555555555555');
    mkdirSync(dir);
    writeFileSync(join(dir, 'theirs'), 'untouched');
    const qemu = spawn('qemu-system-x86_64', ['-accel', 'tcg', '-m', '16', '-nodefaults', '-display', 'none', '-S'], {
      cwd: dir,
    });
    return {
      untouched: async () => qemu.exitCode === null && readFileSync(join(dir, 'theirs'), 'utf8') === 'untouched',
      remove: async () => {
        qemu.kill('SIGKILL');
        rmSync(dir, { recursive: true });
      },
    };
  },
  makeUnreachable: async (id) => {
    const pid = readFileSync(join(folder(id), 'qemu.pid'), 'utf8').trim();
    execFileSync('kill', ['-STOP', pid]);
    return async () => void execFileSync('kill', ['-CONT', pid]);
  },
  ready,
  firstConsoleText: /tiny guest is up/,
});
