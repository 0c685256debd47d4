import { execFileSync, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mib, type ServerId } from '@omnivisor/contracts';
import { afterAll } from 'vitest';
import { fileDisk, fileSource, tapNic } from '../common/test-guest.js';
import { TINY_GUEST_LETTER } from '../common/tiny-guest.js';
import { crashIn } from '../conformance/crash-in.js';
import { describeHypervisorDriver } from '../conformance/index.js';
import { BLOCK_DRIVERS } from './blocks.js';
import { QemuDriver, type QemuDriverOptions } from './qemu.driver.js';
import { GuestNetwork, linuxOn, testImage } from './testing/linux-guest.js';
import { CLOUD, processesIn, TinyGuests } from './testing/tiny-guests.js';

const stateDir = mkdtempSync(
  join(tmpdir(), 'omnivisor-qemu-with-a-folder-name-that-is-longer-than-a-unix-socket-path-may-be-'),
);
const isRoot = process.getuid?.() === 0;
/** A second host: another agent on this machine. */
const otherDir = mkdtempSync(join(tmpdir(), 'omnivisor-qemu-other-'));
const sharedDisks = mkdtempSync(join(tmpdir(), 'omnivisor-qemu-shared-'));
const tiny = new TinyGuests([stateDir, otherDir]);
const folder = (id: ServerId, dir = stateDir) => join(dir, 'guests', id);
const leftovers = async (id: ServerId, dir = stateDir) => [
  ...(existsSync(folder(id, dir)) ? [folder(id, dir)] : []),
  ...processesIn(folder(id, dir)),
  ...(existsSync(join(sharedDisks, id)) ? ['shared disks'] : []),
];
/** The program by another name, which can be taken away. */
const qemu = join(stateDir, 'qemu');
const netns = `omv-suite-${process.pid}`;
const options = (change: Partial<QemuDriverOptions> = {}): QemuDriverOptions => ({
  stateDir,
  cloudId: CLOUD,
  qemu,
  accel: 'tcg',
  answerTimeout: 2_000,
  softRebootPatience: 5_000,
  unplugPatience: 500,
  ...change,
});
const open = async (change: Partial<QemuDriverOptions> = {}) => new QemuDriver(options(change));
let made = 0;

/** A process and files that are not ours, in the place of a server. */
const somebodyElse = async (id: string) => {
  const dir = join(stateDir, 'guests', id);
  mkdirSync(dir);
  writeFileSync(join(dir, 'theirs'), 'untouched');
  const guest = spawn('qemu-system-x86_64', ['-accel', 'tcg', '-m', '16', '-nodefaults', '-display', 'none', '-S'], {
    cwd: dir,
  });
  return {
    untouched: async () => guest.exitCode === null && readFileSync(join(dir, 'theirs'), 'utf8') === 'untouched',
    remove: async () => {
      guest.kill('SIGKILL');
      rmSync(dir, { recursive: true });
    },
  };
};

const mortal = await crashIn(new URL('./testing/mortal-qemu-agent.ts', import.meta.url), options());

symlinkSync(execFileSync('which', ['qemu-system-x86_64'], { encoding: 'utf8' }).trim(), qemu);
if (isRoot) execFileSync('ip', ['netns', 'add', netns]);
const network = isRoot ? await GuestNetwork.open(netns, 'tap-linux', 'fa:16:3e:00:02:01') : null;

afterAll(async () => {
  await network?.close();
  mortal.remove();
  for (const dir of [stateDir, otherDir, sharedDisks]) rmSync(dir, { recursive: true });
  if (isRoot) execFileSync('ip', ['netns', 'delete', netns]);
});

describeHypervisorDriver({
  backend: 'qemu',
  level: 'L2',
  incomplete: !isRoot,
  supports: [
    'pausing',
    'suspending',
    'rebuilding',
    'rescuing',
    'resizing',
    'crashDumps',
    'snapshots',
    'disks',
    'diskGrowing',
    'nics',
    'liveMigration',
    'liveMigration.copied',
    'liveMigration.forced',
    'adoption',
    'consoleLog',
    'consoles.vnc',
    'consoles.serial',
    'statistics',
    'guestAgent',
  ],
  open,
  reopen: open,
  openOtherCloud: () => open({ cloudId: 'another-cloud' }),
  guest: async (id) => tiny.spec(id),
  tooBig: async (id) => {
    const spec = tiny.spec(id);
    return { ...spec, flavor: { ...spec.flavor, memory: mib(1 << 30) } };
  },
  failing: async (id) => ({
    ...tiny.spec(id),
    nics: [tapNic(id, 'none', { attachment: { kind: 'tap', tap: 'none', netns: 'no-such-ns' } })],
  }),
  imageOf: async (size) => {
    const path = join(stateDir, `image-${size}.raw`);
    execFileSync('qemu-img', ['create', '-q', '-f', 'raw', path, `${size}G`]);
    return fileSource(path);
  },
  leftovers,
  inside: tiny.inside,
  ...(network ? { linux: linuxOn(stateDir, testImage, [network.nic]) } : {}),
  firstConsoleText: /tiny guest is up/,
  configDriveFiles: async (id) =>
    execFileSync('xorriso', ['-indev', join(folder(id), 'disks/config.iso'), '-find', '/', '-type', 'f'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    })
      .trim()
      .split('\n')
      .map((path) => path.replace(/^'\/|'$/g, '')),
  foreignGuest: () => somebodyElse('11111111-2222-4333-8444-555555555555'),
  inTheWay: somebodyElse,
  makeUnreachable: async (id) => {
    const pid = readFileSync(join(folder(id), 'qemu.pid'), 'utf8').trim();
    execFileSync('kill', ['-STOP', pid]);
    return async () => void execFileSync('kill', ['-CONT', pid]);
  },
  stopHypervisor: async () => {
    renameSync(qemu, `${qemu}.away`);
    return async () => renameSync(`${qemu}.away`, qemu);
  },
  disk: async () => {
    const path = join(stateDir, `volume-${++made}`);
    writeFileSync(path, '');
    truncateSync(path, 1 << 20);
    return {
      // So that the firmware shows it to the guest.
      disk: fileDisk(path, `volume-${made}`, { bootIndex: 1 }),
      exists: async () => existsSync(path),
      remove: async () => rmSync(path),
    };
  },
  crashDuring: mortal.crashDuring,
  otherHost: {
    // Bytes go over TLS between them, as if they were two machines.
    open: () => open({ stateDir: otherDir, migrationAddress: '127.0.0.1' }),
    spec: (spec) => spec,
    leftovers: (id) => leftovers(id, otherDir),
    shared: async () => ({
      here: await open({ sharedDisks }),
      there: await open({ sharedDisks, stateDir: otherDir }),
    }),
  },
  adoptable: async () => {
    made++;
    const short = mkdtempSync(join(tmpdir(), 'ov-theirs-'));
    const drive = `file=${tiny.image},format=raw,if=virtio,snapshot=on`;
    const args = ['-accel', 'tcg', '-m', '16', '-nodefaults', '-display', 'none', '-name', `theirs-${made}`];
    const guest = spawn(realpathSync(qemu), [...args, '-drive', drive, '-qmp', 'unix:qmp.sock,server=on,wait=off'], {
      cwd: short,
      stdio: 'ignore',
    });
    while (!existsSync(join(short, 'qmp.sock'))) await new Promise((resolve) => setTimeout(resolve, 5));
    const started = readFileSync(`/proc/${guest.pid}/stat`, 'latin1').split(') ').at(-1)!.split(' ')[19];
    return {
      nativeId: `${guest.pid}@${started}`,
      nics: [],
      untouched: async () => guest.exitCode === null && guest.signalCode === null,
      remove: async () => {
        guest.kill('SIGKILL');
        rmSync(short, { recursive: true });
      },
    };
  },
  guestUnplugs: false,
  ...(isRoot
    ? {
        nic: async () => {
          const tap = `tap${++made}`;
          execFileSync('ip', ['-n', netns, 'tuntap', 'add', 'dev', tap, 'mode', 'tap']);
          const mac = `fa:16:3e:00:01:${made.toString(16).padStart(2, '0')}`;
          return tapNic(randomUUID(), tap, { mac, attachment: { kind: 'tap', tap, netns } });
        },
      }
    : {}),
  letterOf: async (file, format) => {
    const raw = `${file}.letter`;
    execFileSync('qemu-img', ['convert', '-f', BLOCK_DRIVERS[format], '-O', 'raw', file, raw]);
    return String.fromCharCode(readFileSync(raw)[TINY_GUEST_LETTER]!);
  },
});
