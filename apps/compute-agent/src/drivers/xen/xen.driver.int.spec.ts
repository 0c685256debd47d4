import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gib, mib, type ServerId } from '@omnivisor/contracts';
import { afterAll } from 'vitest';
import { fileDisk, fileSource, flatNic, rootFrom, testGuest } from '../common/test-guest.js';
import { readConfigDrive } from '../common/testing/read-config-drive.js';
import { describeHypervisorDriver } from '../conformance/index.js';
import { perform } from '../conformance/perform.js';
import type { GuestSpec } from '../hypervisor-driver.js';
import type { MortalShell } from './testing/mortal-shell.js';
import { typed, XlDouble } from './testing/xl-double.js';
import { XenDriver } from './xen.driver.js';

const cloudId = 'test-cloud';
// It sees what a guest changes in its memory, and lets it run while that is sent; the other does not.
const double = new XlDouble('pv shadow');
const other = new XlDouble();
const sharedDisks = join(double.folder, 'shared');
mkdirSync(sharedDisks);
const image = join(double.folder, 'image.raw');
writeFileSync(image, 'an image');
truncateSync(image, 1 << 20);
afterAll(async () => {
  await other.close();
  await double.close();
});

const shells: MortalShell[] = [];
const unprobed = (cloud = cloudId, host = double) => {
  const shell = host.shell();
  if (host === double) shells.push(shell);
  return new XenDriver({
    ...{ cloudId: cloud, shell, root: host.root, type: 'pv' as const, sharedDisks },
    bridges: { physnet1: 'xenbr0' },
    softRebootPatience: 1_000,
  });
};
const driverOf = async (cloud = cloudId, host = double) => {
  const driver = unprobed(cloud, host);
  await driver.probe(AbortSignal.timeout(10_000));
  return driver;
};
const control = driverOf();
const there = driverOf(cloudId, other);
const leftovers = (id: ServerId, host: XlDouble) => [
  ...host.leftovers(id),
  ...readdirSync(sharedDisks).filter((name) => name.startsWith(id)),
];
const cutOff = async () => {
  for (const shell of shells) shell.cut();
  return async () => {
    for (const shell of shells) shell.mend();
  };
};

let made = 0;
const guest = async (id: ServerId): Promise<GuestSpec> =>
  testGuest(id, cloudId, { disks: rootFrom(fileSource(image)) });
const nic = async () => flatNic(`fa:16:3e:00:02:${(++made % 256).toString(16).padStart(2, '0')}`);
/** The one that the guest runs on. */
const holder = async (id: ServerId) => {
  for (const driver of [await control, await there])
    if ((await driver.inspect(id).catch(() => null))?.power === 'running') return driver;
  throw new Error('the guest runs nowhere');
};
const type = async (id: ServerId, keys: string) => typed(await holder(id), id, keys);

describeHypervisorDriver({
  backend: 'xen',
  level: 'L1',
  remarks: [
    'The lab is Xen 4.17.7 with a Debian dom0, in QEMU without hardware virtualisation. Beside the suite it starts the ' +
      'test image as a paravirtual guest by pygrub and by a kernel beside the disk, and tries the filters of guarded ' +
      'ports, also when such a guest resets itself. Of recovery it has ended an agent at the first moment of each change. ' +
      'Behaviours that only look at a guest from outside have one of a few hundred bytes there.',
    'Moves go between two such machines that share a folder by 9p. A paravirtual guest stands still on its way there, as ' +
      "Debian's Xen does not see what it changes.",
    'PVH and HVM were not tried: no processor with virtualisation was at hand. Where QEMU emulates one, the guest of the ' +
      'probe runs as both.',
  ],
  supports: [
    ...(['pausing', 'suspending', 'rebuilding', 'rescuing', 'resizing', 'snapshots', 'disks', 'diskGrowing'] as const),
    ...(['nics', 'adoption', 'liveMigration', 'consoleLog', 'consoles.serial', 'statistics'] as const),
  ],
  open: () => driverOf(),
  reopen: () => driverOf(),
  openOtherCloud: () => driverOf('another-cloud'),
  guest,
  tooBig: async (id) => {
    const spec = await guest(id);
    return { ...spec, flavor: { ...spec.flavor, memory: mib(1 << 20) } };
  },
  failing: async (id) => {
    double.failNext('failed on purpose');
    return guest(id);
  },
  imageOf: async (size) => {
    const file = join(double.folder, `${size}.raw`);
    if (!existsSync(file)) writeFileSync(file, '');
    truncateSync(file, size * gib(1) * 1024 ** 3);
    return { ...fileSource(file), digest: async () => ({ sha256: '0'.repeat(64), size: size * 1024 ** 3 }) };
  },
  leftovers: async (id) => leftovers(id, double),
  inside: {
    up: async () => {},
    switchOff: async (id) => {
      const console = await (await holder(id)).consoles.open(id, 'serial');
      console.writable.write('q');
      await new Promise((resolve) => console.readable.once('close', resolve).resume());
    },
    ignorePowerButton: async (id) => void (await type(id, 'ig')),
    memory: {
      write: async (id, letter) => void (await type(id, `s${letter}`)),
      read: (id) => type(id, 'g'),
    },
    disk: {
      write: async (id, disk, letter) => void (await type(id, `w${disk}${letter}`)),
      read: (id, disk) => type(id, `r${disk}`),
    },
  },
  letterOf: async (file) => String.fromCharCode(readFileSync(file)[512]!),
  configDriveFiles: async (id) => {
    const folder = join(sharedDisks, readdirSync(sharedDisks).find((name) => name.startsWith(id))!);
    const file = readdirSync(folder).find((name) => name.endsWith('.iso'))!;
    return Object.keys(readConfigDrive(readFileSync(join(folder, file)), 17)).map((name) => name.replace(/;1$/, ''));
  },
  firstConsoleText: /guest is up/,
  foreignGuest: () => double.foreign(`theirs-${++made}`),
  adoptable: async () => {
    const nics = [await nic()];
    return { ...(await double.adoptable(`theirs-${++made}`, nics[0]!.mac)), nics };
  },
  inTheWay: (id) => double.foreign(id),
  makeUnreachable: cutOff,
  stopHypervisor: cutOff,
  // More than any change makes.
  crashMoments: [1, 2, 3, 4, 5, 6, 7, 8],
  crashDuring: async (change, id, moment, devices) => {
    const driver = unprobed();
    shells.at(-1)!.cutAfter(moment);
    const cut = await perform(driver, change, await guest(id), devices).then(
      () => false,
      () => true,
    );
    await driver.close();
    return cut;
  },
  disk: async () => {
    const folder = join(double.folder, 'volumes');
    mkdirSync(folder, { recursive: true });
    const path = join(folder, `${++made}.raw`);
    writeFileSync(path, '');
    truncateSync(path, 1 << 20);
    return {
      disk: fileDisk(path, `volume-${made}`),
      exists: async () => existsSync(path),
      remove: async () => rmSync(path),
    };
  },
  otherHost: {
    open: () => driverOf(cloudId, other),
    spec: (spec) => spec,
    runsBeforeAccepted: false,
    leftovers: async (id) => other.leftovers(id),
    shared: async () => ({ here: await driverOf(), there: await driverOf(cloudId, other) }),
  },
  diskSerials: false,
  countsRequests: false,
  // Each gap of a change is tried with a guest of its own.
  patience: 20_000,
  nic,
  passes: async (id, portId) => double.passes(id, portId),
});
