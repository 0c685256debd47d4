import { randomUUID } from 'node:crypto';
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gib, mib, ms, type ServerId } from '@omnivisor/contracts';
import { z } from 'zod';
import { fileDisk, fileSource, flatNic, rootFrom, testGuest } from '../../common/test-guest.js';
import type { DriverUnderTest } from '../../conformance/index.js';
import { perform } from '../../conformance/perform.js';
import type { GuestNic, GuestSpec, HypervisorDriver } from '../../hypervisor-driver.js';
import { deviceOf, tableOf } from '../guard.js';
import { Host, SshShell } from '../host-shell.js';
import { XenDriver } from '../xen.driver.js';
import { MortalShell } from './mortal-shell.js';
import { quietKernel } from './quiet-kernel.js';

export const LabSettings = z.object({
  port: z.number(),
  key: z.string(),
  knownHosts: z.string(),
  image: z.string(),
  kernel: z.string(),
  ramdisk: z.string(),
  /** What the suite starts: a ramdisk with a root shell and little more, its first process, and a disk of one MiB. */
  small: z.object({ ramdisk: z.string(), init: z.string(), disk: z.string() }),
  /** A file of this machine for a line of JSON of each behaviour that was tried, or has passed. */
  shown: z.string(),
  /** Another machine of the kind. Both can mount a folder as `shared` by 9p, or this path of 10.0.2.100 by NFS. */
  peer: z.object({ port: z.number(), knownHosts: z.string(), nfs: z.string().optional() }).optional(),
});
export type LabSettings = z.output<typeof LabSettings>;

const ROOT = '/var/lib/omnivisor/xen';
/** Where both machines have a folder of this one. */
const SHARED = '/srv/shared';
const CLOUD = 'lab-cloud';
const COMMAND_LINE = 'console=hvc0 net.ifnames=0 quiet loglevel=4 nokaslr mitigations=off';
/** How much longer than on a plain machine anything may take: every instruction is emulated, beside others that are. */
export const SLOWNESS = 15;
/** Milliseconds for anything of a guest. */
export const PATIENCE = 20_000 * SLOWNESS;
const SHELL_TIME = 5_000 * SLOWNESS;
/** What is typed before the prompt is lost. */
const TYPE_AGAIN = 2_000;

/** The lab's dom0, and drivers over it. */
export class Lab {
  private readonly shells: MortalShell[] = [];
  /** For what is done behind the driver's back. */
  private readonly host: Host;

  constructor(readonly settings: LabSettings) {
    this.host = new Host(this.shell());
  }

  /** The other machine's, once both have the folder that they share. */
  async peer(): Promise<Lab> {
    const { port, knownHosts, nfs } = this.settings.peer!;
    const peer = new Lab({ ...this.settings, port, knownHosts });
    for (const lab of [this, peer])
      await lab.run(
        `mkdir -p "$1"
        mountpoint -q "$1" && exit
        [ -z "$2" ] || exec mount -i -t nfs4 -o vers=4.2,addr=10.0.2.100,clientaddr=0.0.0.0,sec=sys "10.0.2.100:$2" "$1"
        modprobe -a 9pnet_virtio 9p
        exec mount -t 9p -o trans=virtio,version=9p2000.L,cache=none,msize=262144 shared "$1"`,
        ...[SHARED, nfs ?? ''],
      );
    return peer;
  }

  async open(cloudId = CLOUD): Promise<XenDriver> {
    const shell = this.shell();
    const bridges = { physnet1: 'xenbr0' };
    const driver = new XenDriver({
      ...{ cloudId, shell, root: ROOT, type: 'pv', bridges },
      ...{ softRebootPatience: 60_000, patience: SLOWNESS },
      ...(this.settings.peer ? { sharedDisks: SHARED } : {}),
    });
    const report = await driver.probe(AbortSignal.timeout(PATIENCE));
    if (report.health !== 'healthy') throw new Error(report.reason);
    return driver;
  }

  /** The newest driver's connection. */
  get newest(): MortalShell {
    return this.shells.at(-1)!;
  }

  async cutOff(): Promise<() => Promise<void>> {
    for (const shell of this.shells.slice(1)) shell.cut();
    return async () => {
      for (const shell of this.shells) shell.mend();
    };
  }

  /** Runs a script in dom0. */
  run(script: string, ...args: string[]): Promise<string> {
    return this.host.call(`PATH=$PATH:/usr/sbin:/sbin\nset -eu\n${script}`, args, { timeout: PATIENCE });
  }

  close(): void {
    for (const shell of this.shells) shell.close();
  }

  /** A kernel beside a disk of one MiB: that of the test image, with a root shell on its console. */
  shellGuest(id: ServerId): GuestSpec {
    const { kernel, small } = this.settings;
    const spec = testGuest(id, CLOUD, { disks: rootFrom(fileSource(small.disk)) });
    const commandLine = `${COMMAND_LINE} cryptomgr.notests rdinit=/${small.init}`;
    return {
      ...spec,
      flavor: { ...spec.flavor, memory: mib(96) },
      directBoot: { kernel: fileSource(kernel), ramdisk: fileSource(small.ramdisk), commandLine },
    };
  }

  /** The same with a kernel of a few hundred bytes, which says that it is booting and waits. */
  quietGuest(id: ServerId): GuestSpec {
    const spec = this.shellGuest(id);
    const kernel = join(dirname(this.settings.shown), 'quiet.kernel');
    writeFileSync(kernel, quietKernel('a quiet guest is booting\n'));
    return { ...spec, directBoot: { kernel: fileSource(kernel), ramdisk: null, commandLine: '' } };
  }

  /** Boots the test image by pygrub, or a kernel beside it. */
  guest(id: ServerId, boot: 'pygrub' | 'kernel'): GuestSpec {
    const { image, kernel, ramdisk } = this.settings;
    const spec = testGuest(id, CLOUD, { disks: rootFrom(fileSource(image)) });
    return {
      ...spec,
      flavor: { ...spec.flavor, memory: mib(160) },
      directBoot:
        boot === 'kernel'
          ? { kernel: fileSource(kernel), ramdisk: fileSource(ramdisk), commandLine: COMMAND_LINE }
          : null,
    };
  }

  async foreign(name: string) {
    await this.run(
      `printf 'name = "%s"\\ntype = "pv"\\nmemory = 160\\nkernel = "/boot/lab/vmlinuz"\\n' "$1" >"/run/$1.cfg"
      xl create -p "/run/$1.cfg" >/dev/null`,
      name,
    );
    const domid = (await this.run('xl domid "$1"', name)).trim();
    return {
      untouched: async () => (await this.run('xl domid "$1" || true', name)).trim() === domid,
      remove: async () => void (await this.run('xl destroy "$1"', name)),
    };
  }

  /**
   * A domain of somebody else with a disk, an interface and a kernel beside them, which waits for ever.
   * @param setting a line of its configuration that is read after all others
   */
  async adoptable(name: string, mac: string, setting = '') {
    await this.host.call(
      `PATH=$PATH:/usr/sbin:/sbin; set -eu
      mkdir -p /srv/theirs; cat >"/srv/theirs/$1.kernel"; truncate -s 1M "/srv/theirs/$1.raw"
      printf 'name = "%s"\ntype = "pv"\nmemory = 32\nkernel = "/srv/theirs/%s.kernel"\n' "$1" "$1" >"/srv/theirs/$1.cfg"
      printf 'disk = ["format=raw,vdev=xvda,access=rw,target=/srv/theirs/%s.raw"]\n' "$1" >>"/srv/theirs/$1.cfg"
      printf 'vif = ["mac=%s,bridge=xenbr0"]\n%s\n' "$2" "$3" >>"/srv/theirs/$1.cfg"
      xl create "/srv/theirs/$1.cfg" >/dev/null`,
      [name, mac, setting],
      { input: quietKernel('a guest of somebody else is booting\n'), timeout: PATIENCE },
    );
    const ids = async () => (await this.run('xl list -v "$1" 2>/dev/null | tail -n +2 || true', name)).trim();
    const began = await ids();
    return {
      nativeId: /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/.exec(began)![0],
      untouched: async () => (await this.run('xl domid "$1" || true', name)).trim() === /\s(\d+)\s/.exec(began)![1],
      remove: async () => void (await this.run('xl destroy "$1" 2>/dev/null || true; rm -f "/srv/theirs/$1".*', name)),
    };
  }

  private shell(): MortalShell {
    const { port, key, knownHosts } = this.settings;
    const shell = new MortalShell(
      new SshShell({
        ...{ host: '127.0.0.1', port, user: 'root', identityFile: key, knownHostsFile: knownHosts },
        patience: SLOWNESS,
      }),
    );
    this.shells.push(shell);
    return shell;
  }
}

/** The root shell that the test image has on its console. */
export const inShell = async (
  driver: HypervisorDriver,
  id: ServerId,
  command: string,
  patience = SHELL_TIME,
  again = 0,
): Promise<string> => {
  const console = await driver.consoles!.open(id, 'serial');
  let said = '';
  // A line that was typed again may be answered when the next one is asked.
  const mark = randomUUID().slice(0, 8);
  const answer = new RegExp(`began ${mark}\\r?\\n([\\s\\S]*?)ended ${mark}`);
  let typing: NodeJS.Timeout | undefined;
  try {
    return await new Promise<string>((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`the shell did not answer to ${command}: ${said}`)), patience);
      console.readable.on('data', (bytes: Buffer) => {
        said += bytes.toString('latin1');
        // The shell echoes the line, where the marks are still apart.
        const found = answer.exec(said);
        if (!found) return;
        clearTimeout(late);
        resolve(found[1]!.replaceAll('\r', ''));
      });
      const type = () => console.writable.write(`\necho began' '${mark}; ${command}; echo ended' '${mark}\n`);
      type();
      if (again > 0) typing = setInterval(type, again);
      console.readable.once('close', () => reject(new Error(`the console ended: ${said}`)));
    });
  } finally {
    clearInterval(typing);
    console.close();
  }
};

/** Resolves when the guest that has the console has booted to its prompt. */
export const isUp = async (driver: HypervisorDriver, id: ServerId): Promise<void> => {
  const deadline = Date.now() + PATIENCE;
  for (;;)
    try {
      await inShell(driver, id, 'true', deadline - Date.now(), TYPE_AGAIN);
      return;
    } catch (error) {
      if (Date.now() > deadline) throw new Error('the guest has not booted', { cause: error });
    }
};

/** Between what tells of the partitions and the first of them. */
const FREE_BYTE = 512_000;
const PLACE = (way: 'seek' | 'skip') => `bs=1 ${way}=${FREE_BYTE}`;
/** Sets `d` to a disk of the guest, the config drive not counted. */
const device = (disk: number) => `d=/dev/$(ls /sys/block | grep '^xvd[a-y]' | sed -n ${disk + 1}p)`;

/** The suite over the lab. */
export const labUnderTest = (lab: Lab): DriverUnderTest => {
  const drivers: XenDriver[] = [];
  let driver: XenDriver;
  let peer: Promise<Lab> | undefined;
  const there = () => (peer ??= lab.peer());
  let made = 0;
  const open = async (cloud?: string) => lab.open(cloud);
  const opened = async () => {
    if (lab.settings.peer) await there();
    driver = await open();
    drivers.push(driver);
    return driver;
  };
  const guest = async (id: ServerId) => lab.shellGuest(id);
  const quietGuest = async (id: ServerId) => lab.quietGuest(id);
  const nic = async () => flatNic(`fa:16:3e:00:02:${(++made % 256).toString(16).padStart(2, '0')}`);
  /** With rules that let nothing through. */
  const guarded = async (): Promise<GuestNic> => {
    const open = await nic();
    return { ...open, guard: { addresses: [{ mac: open.mac, ip: '10.0.2.60' }], rules: [] } };
  };
  const openThere = async () => {
    const other = await (await there()).open();
    drivers.push(other);
    return other;
  };
  /** A driver of the host on which it runs; those that were closed answer all the same. */
  const holder = async (id: ServerId): Promise<XenDriver> => {
    for (const one of drivers.toReversed())
      if ((await one.inspect(id).catch(() => null))?.power === 'running') return one;
    return driver;
  };
  const shell = async (id: ServerId, command: string) => inShell(await holder(id), id, command);
  const leftovers = async (at: Lab, id: ServerId) =>
    (
      await at.run(
        `xl list | grep -o "$1" || true; ls ${ROOT}/guests /var/log/xen /var/log/xen/console | grep "$1" || true; losetup -a | grep "$1" || true`,
        id,
      )
    )
      .split('\n')
      .filter(Boolean);
  return {
    backend: 'xen',
    level: 'L2',
    command: 'npm run lab:xen',
    // The double's are; what the lab has shown is kept by what runs it.
    recorded: false,
    told: (...line) => appendFileSync(lab.settings.shown, `${JSON.stringify(line)}\n`),
    supports: lab.settings.peer ? [...SUPPORTED, 'liveMigration'] : SUPPORTED,
    open: opened,
    reopen: opened,
    openOtherCloud: () => open('another-cloud'),
    guest,
    quietGuest,
    tooBig: async (id) => {
      const spec = await guest(id);
      return { ...spec, flavor: { ...spec.flavor, memory: mib(1 << 20) } };
    },
    failing: async (id) => {
      const spec = await guest(id);
      return { ...spec, directBoot: { ...spec.directBoot!, kernel: spec.disks.root.source } };
    },
    imageOf: async (size) => ({
      ...fileSource('/nonexistent'),
      digest: async () => ({ sha256: '0'.repeat(64), size: size * gib(1) * 1024 ** 3 }),
    }),
    leftovers: (id) => leftovers(lab, id),
    ...(lab.settings.peer
      ? {
          otherHost: {
            open: openThere,
            spec: (spec: GuestSpec) => spec,
            runsBeforeAccepted: false,
            leftovers: async (id: ServerId) => leftovers(await there(), id),
            shared: async () => ({ here: await opened(), there: await openThere() }),
          },
        }
      : {}),
    firstConsoleText: /is booting/,
    foreignGuest: () => lab.foreign(`theirs-${++made}`),
    adoptable: async () => {
      const nics = [await nic()];
      return { ...(await lab.adoptable(`theirs-${++made}`, nics[0]!.mac)), nics };
    },
    inTheWay: (id) => lab.foreign(id),
    makeUnreachable: () => lab.cutOff(),
    stopHypervisor: () => lab.cutOff(),
    // Each takes minutes: the first change of each is begun, and what comes after it is not.
    crashMoments: [1],
    crashesAreSampled: true,
    crashDuring: async (change, id, moment, devices) => {
      const mortal = await open();
      lab.newest.cutAfter(moment);
      const spec = await (change === 'suspend' || change === 'resume' ? guest : quietGuest)(id);
      const cut = await perform(mortal, change, spec, devices).then(
        () => false,
        () => true,
      );
      await mortal.close();
      return cut;
    },
    disk: async () => {
      const path = `/var/lib/volume-${++made}.raw`;
      await lab.run('truncate -s 1M "$1"', path);
      return {
        disk: fileDisk(path, `volume-${made}`),
        exists: async () => (await lab.run('[ -e "$1" ] && echo there || true', path)).trim() === 'there',
        remove: async () => void (await lab.run('rm "$1"', path)),
      };
    },
    diskSerials: false,
    nic,
    // Carriers tell nothing: a guest may have no driver for what it was given.
    passes: async (id, portId) =>
      (
        await lab.run(
          `up=$(($(cat "/sys/class/net/$2/flags") & 1))
          tables=$(nft list tables)
          rules=
          case $tables in *"bridge $1"*) rules=$(nft list table bridge "$1");; esac
          case $rules in *"name \\"$2\\" drop"*) up=0;; esac
          echo "$up"`,
          ...[tableOf(id), deviceOf(portId)],
        )
      ).trim() === '1',
    inside: {
      up: async (id) => isUp(await holder(id), id),
      switchOff: async (id) => {
        const console = await (await holder(id)).consoles.open(id, 'serial');
        const closed = new Promise((resolve) => console.readable.once('close', resolve).resume());
        console.writable.write('\npoweroff -f\n');
        await closed;
      },
      memory: {
        write: async (id, letter) => void (await shell(id, `echo ${letter} >/run/letter`)),
        read: async (id) => (await shell(id, 'cat /run/letter 2>/dev/null || echo -')).trim(),
      },
      disk: {
        write: async (id, disk, letter) =>
          void (await shell(id, `${device(disk)}; printf ${letter} | dd of=$d ${PLACE('seek')} conv=notrunc,fsync`)),
        read: async (id, disk) =>
          (
            await shell(id, `${device(disk)}; dd if=$d ${PLACE('skip')} count=1 2>/dev/null | tr -c A-Z -; echo`)
          ).trim(),
      },
    },
    letterOf: async (file) => String.fromCharCode(readFileSync(file)[FREE_BYTE]!),
    linux: {
      spec: async (id) => ({
        ...lab.guest(id, 'kernel'),
        nics: [await guarded()],
        configDrive: new Map([
          ['openstack/latest/meta_data.json', Buffer.from(JSON.stringify({ uuid: id, hostname: 'conformance' }))],
        ]),
      }),
      up: (id) => isUp(driver, id),
      run: shell,
    },
    patience: PATIENCE,
  };
};

export const SUPPORTED = [
  ...(['pausing', 'suspending', 'rebuilding', 'rescuing', 'resizing', 'snapshots', 'disks', 'diskGrowing'] as const),
  ...(['nics', 'adoption', 'consoleLog', 'consoles.serial', 'statistics'] as const),
] as const;
export const NO_GRACE = ms(0);
