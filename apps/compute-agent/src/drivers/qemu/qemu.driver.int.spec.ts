import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mib, type ServerId } from '@omnivisor/contracts';
import { afterAll } from 'vitest';
import { fileSource, tapNic } from '../common/test-guest.js';
import { describeHypervisorDriver } from '../conformance/index.js';
import { QemuDriver } from './qemu.driver.js';
import { CLOUD, processesIn, TinyGuests } from './testing/tiny-guests.js';

const stateDir = mkdtempSync(
  join(tmpdir(), 'omnivisor-qemu-with-a-folder-name-that-is-longer-than-a-unix-socket-path-may-be-'),
);
const tiny = new TinyGuests([stateDir]);
const folder = (id: ServerId) => join(stateDir, 'guests', id);
const open = async (cloudId = CLOUD) =>
  new QemuDriver({ stateDir, cloudId, accel: 'tcg', answerTimeout: 1_000, softRebootPatience: 5_000 });

/** A process and files that are not ours, in the place of a server. */
const somebodyElse = async (id: string) => {
  const dir = join(stateDir, 'guests', id);
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
};

afterAll(() => rmSync(stateDir, { recursive: true }));

describeHypervisorDriver({
  backend: 'qemu',
  level: 'L2',
  supports: ['pausing', 'consoleLog', 'consoles.vnc', 'consoles.serial'],
  open,
  reopen: open,
  openOtherCloud: () => open('another-cloud'),
  guest: async (id) => tiny.spec(id),
  tooBig: async (id) => {
    const spec = tiny.spec(id);
    return { ...spec, flavor: { ...spec.flavor, memory: mib(1 << 30) } };
  },
  bigger: (flavor) => ({ ...flavor, vcpus: flavor.vcpus * 2, memory: mib(flavor.memory * 2) }),
  failing: async (id) => ({
    ...tiny.spec(id),
    nics: [tapNic(id, '-', { attachment: { kind: 'tap', tap: '-', netns: 'no-such-ns' } })],
  }),
  imageOf: async (size) => {
    const path = join(stateDir, `image-${size}.raw`);
    execFileSync('qemu-img', ['create', '-q', '-f', 'raw', path, `${size}G`]);
    return fileSource(path);
  },
  leftovers: async (id) => [...(existsSync(folder(id)) ? [folder(id)] : []), ...processesIn(folder(id))],
  inside: tiny.inside,
  firstConsoleText: /tiny guest is up/,
  foreignGuest: () => somebodyElse('11111111-2222-4333-8444-555555555555'),
  inTheWay: somebodyElse,
  makeUnreachable: async (id) => {
    const pid = readFileSync(join(folder(id), 'qemu.pid'), 'utf8').trim();
    execFileSync('kill', ['-STOP', pid]);
    return async () => void execFileSync('kill', ['-CONT', pid]);
  },
});
