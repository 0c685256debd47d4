import { randomUUID } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { isDeepStrictEqual } from 'node:util';
import { gib, mib, ServerId } from '@omnivisor/contracts';
import { z } from 'zod';
import { flatNic, rootFrom, testGuest } from '../../common/test-guest.js';
import { readConfigDrive } from '../../common/testing/read-config-drive.js';
import type { DriverUnderTest } from '../../conformance/index.js';
import { perform } from '../../conformance/perform.js';
import { featuresOf, type GuestSpec, type HypervisorDriver, type ImageSource } from '../../hypervisor-driver.js';
import { plainMac } from '../hardware.js';
import { machine } from '../host-call.js';
import { HostConnection } from '../host-connection.js';
import { HostFact } from '../host-facts.js';
import { HyperVDriver } from '../hyperv.driver.js';
import { HyperVSettings, hypervOptions } from '../hyperv-config.js';
import { Adapters } from '../operations/adapters.js';
import { Drive, HostDisks, SLOTS } from '../operations/disks.js';
import { HostFiles } from '../operations/files.js';
import { Machines } from '../operations/machines.js';
import { Paths } from '../paths.js';
import { MortalProcesses } from './mortal-processes.js';
import { inShell, shellIsUp } from './serial-shell.js';

const MIB = 1024 ** 2;
const CLOUD = 'omnivisor-verify';

/** What `npm run verify:hyperv` was told. */
export const VerifySettings = z.object({
  image: z.string(),
  format: z.enum(['vhd', 'vhdx']),
  memory: z.number(),
  secureBoot: z.boolean(),
  /** Network interfaces are tried when there is a switch. */
  switch: z.string().nullable(),
  /** The image has a root shell on its serial port. */
  linux: z.boolean(),
  hyperv: HyperVSettings,
});

/** What a host is, and does as it was prepared and its account may. */
export interface Prepared {
  readonly version: string;
  readonly migrates: boolean;
  readonly asksGuests: boolean;
  readonly opensPorts: boolean;
}

/** @throws Error with what the probe says when the host cannot be used */
export const preparedOf = async ({ hyperv }: z.output<typeof VerifySettings>): Promise<Prepared> => {
  const driver = new HyperVDriver(hypervOptions(hyperv, CLOUD));
  const { health, reason, version } = await driver.probe(AbortSignal.timeout(60_000));
  const found = featuresOf(driver);
  await driver.close();
  if (health !== 'healthy' || version === null) throw new Error(`the host is ${health}: ${reason}`);
  return {
    version,
    migrates: found.includes('liveMigration'),
    asksGuests: found.includes('guestIntegration'),
    opensPorts: found.includes('consoles.serial'),
  };
};

/** The disk of a guest on which a checkpoint was taken behind the driver's back, before and after it is started anew. */
export const checkpointed = async (
  settings: z.output<typeof VerifySettings>,
  source: (file: string, format: 'vhd' | 'vhdx') => ImageSource,
): Promise<{ before: string | null; after: string | null }> => {
  const options = hypervOptions(settings.hyperv, CLOUD);
  const driver = new HyperVDriver(options);
  const host = new HostConnection(options.nodes[0]!);
  const id = ServerId.parse(randomUUID());
  const spec = testGuest(id, CLOUD, { disks: rootFrom(source(settings.image, settings.format)) });
  const never = new AbortController().signal;
  try {
    await driver.spawn({ ...spec, flavor: { ...spec.flavor, memory: mib(settings.memory) } }, never);
    const [made] = await new Machines(host).named(id);
    const VM = machine(made!.Id);
    await host.run('Checkpoint-VM', { VM, SnapshotName: 'omnivisor verify' });
    const disk = async () => (await host.get('Get-VMHardDiskDrive', { VM }, Drive))[0]!.Path;
    const before = await disk();
    await driver.reboot(id, 'hard', []);
    return { before, after: await disk() };
  } finally {
    await driver.destroy(id);
    await driver.close();
    host.close();
  }
};

/** The conformance suite over a Windows host; what it makes there carries a cloud id of its own, or `omnivisor-verify`. */
export const realHost = (
  settings: z.output<typeof VerifySettings>,
  source: (file: string, format: 'vhd' | 'vhdx') => ImageSource,
  { migrates, asksGuests, opensPorts }: Prepared,
  told?: DriverUnderTest['told'],
): DriverUnderTest => {
  const switches = settings.switch ? { physnet1: settings.switch } : {};
  const options = { ...hypervOptions(settings.hyperv, CLOUD), switches };
  const host = new HostConnection(options.nodes[0]!);
  const machines = new Machines(host);
  const files = new HostFiles(host);
  const paths = async () => {
    const facts = (await host.get('Get-HostFact', {}, HostFact))[0]!;
    return new Paths(facts.Root, facts.ComputerName);
  };
  let driver: HypervisorDriver;
  const connection = new MortalProcesses();
  const driverOver = async (processes: MortalProcesses, cloudId = CLOUD) => {
    const nodes = options.nodes.map((node) => ({ ...node, open: processes.over(node.open) }));
    const made = new HyperVDriver({ ...options, nodes, cloudId });
    await made.probe(AbortSignal.timeout(60_000));
    return made;
  };
  const open = async (cloudId = CLOUD) => {
    const made = await driverOver(connection, cloudId);
    if (cloudId === CLOUD) driver = made;
    return made;
  };

  const passes = async (id: ServerId, portId: string) => {
    const [vm] = await machines.named(id);
    const named = { VM: machine(vm!.Id), Name: portId };
    const [adapter] = await host.get('Get-VMNetworkAdapter', named, z.object({ SwitchName: z.string().nullable() }));
    return Boolean(adapter!.SwitchName);
  };

  let ports = 0;
  const nic = async () => flatNic(`fa:16:3e:0f:ff:${(ports++ % 256).toString(16).padStart(2, '0')}`);
  const guest = async (id: ServerId): Promise<GuestSpec> => {
    const spec = testGuest(id, CLOUD, { disks: rootFrom(source(settings.image, settings.format)) });
    return {
      ...spec,
      image: { ...spec.image, properties: settings.secureBoot ? { os_secure_boot: 'required' } : {} },
      flavor: { ...spec.flavor, memory: mib(settings.memory) },
      configDrive: new Map([
        ['openstack/latest/meta_data.json', Buffer.from(`{"uuid":"${id}","hostname":"conformance"}`)],
      ]),
    };
  };

  const foreign = async (name: string) => {
    const folder = `${(await paths()).root}\\verify`;
    await files.makeFolder(folder);
    const vmId = await machines.create(
      name,
      { generation: 2, secureBoot: null },
      { startup: mib(64), dynamic: null },
      folder,
    );
    await machines.setNotes(vmId, 'made by hand');
    await machines.start(vmId);
    return {
      untouched: async () => {
        const found = await machines.byId(vmId);
        return found?.State === 'Running' && found.Notes === 'made by hand';
      },
      remove: async () => {
        await machines.turnOff(vmId);
        await machines.remove(vmId);
        await files.remove(folder);
      },
    };
  };

  const disk = async () => {
    const folder = `${(await paths()).root}\\verify`;
    const path = `${folder}\\${randomUUID()}.vhdx`;
    await files.makeFolder(folder);
    await host.run('New-VHD', { Path: path, Dynamic: true, SizeBytes: 64 * MIB });
    return {
      disk: {
        diskId: randomUUID(),
        connection: { kind: 'file' as const, path },
        format: 'vhdx' as const,
        readOnly: false,
        bus: null,
        serial: 'verify',
        bootIndex: null,
      },
      exists: async () => (await files.items(folder)).some(({ Name }) => path.endsWith(Name)),
      remove: () => files.remove(path),
    };
  };

  /** A machine with a disk, and with an adapter that lets everything pass where there is a switch. */
  const adoptable = async () => {
    const { root } = await paths();
    const name = `omnivisor-verify-${randomUUID()}`;
    const folder = `${root}\\verify\\${name}`;
    const path = `${folder}\\disk.vhdx`;
    await files.makeFolder(folder);
    await host.run('New-VHD', { Path: path, Dynamic: true, SizeBytes: 64 * MIB });
    const vmId = await machines.create(
      name,
      { generation: 2, secureBoot: null },
      { startup: mib(64), dynamic: null },
      folder,
    );
    await new HostDisks(host, await paths()).attach(vmId, path, SLOTS[2].boot);
    const adapters = new Adapters(host);
    const port = settings.switch ? await nic() : null;
    const mac = port && plainMac(port.mac);
    if (port && mac) {
      await host.run('Add-VMNetworkAdapter', { VM: machine(vmId), Name: 'theirs', StaticMacAddress: mac });
      await adapters.plug(vmId, port, { switch: settings.switch!, vlan: null });
    }
    await machines.setNotes(vmId, 'made by hand');
    await machines.start(vmId);
    const wiring = async () => (mac ? adapters.wiringOf(vmId, mac) : null);
    const before = await wiring();
    const guard = { addresses: [{ mac: port?.mac ?? '', ip: '192.0.2.5' }], rules: [] };
    return {
      nativeId: vmId,
      nics: port ? [{ ...port, guard }] : [],
      ...(port ? { guarded: async () => (await wiring())?.macSpoofing === 'Off' } : {}),
      untouched: async () => {
        const found = await machines.byId(vmId);
        return (
          found?.State === 'Running' && found.Notes === 'made by hand' && isDeepStrictEqual(await wiring(), before)
        );
      },
      // An adopted one may have gone with its server.
      remove: async () => {
        if (await machines.byId(vmId)) {
          await machines.turnOff(vmId);
          await machines.remove(vmId);
        }
        await files.remove(folder);
      },
    };
  };

  const cutOff = async () => {
    connection.cut();
    return async () => connection.mend();
  };

  const patience = 120_000;
  const shell = (id: ServerId, command: string) => inShell(driver, id, command);
  return {
    backend: 'hyperv',
    level: 'L3',
    command: 'npm run verify:hyperv',
    recorded: false,
    ...(told ? { told } : {}),
    supports: [
      ...(['pausing', 'suspending', 'rebuilding', 'rescuing', 'resizing', 'crashDumps', 'snapshots'] as const),
      ...(['disks', 'diskGrowing', 'nics', 'adoption'] as const),
      ...(opensPorts ? (['consoleLog', 'consoles.serial'] as const) : []),
      ...(['consoleTickets.rdp', 'statistics'] as const),
      ...(asksGuests ? (['guestIntegration'] as const) : []),
      ...(migrates ? (['liveMigration', 'liveMigration.copied'] as const) : []),
    ],
    open: () => open(),
    reopen: () => open(),
    openOtherCloud: () => open('another-cloud'),
    guest,
    tooBig: async (id) => {
      const spec = await guest(id);
      return { ...spec, flavor: { ...spec.flavor, memory: mib(1 << 24) } };
    },
    failing: async (id) => {
      const spec = await guest(id);
      const wrong = source(settings.image, settings.format);
      const digest = async () => ({ ...(await wrong.digest()), sha256: '0'.repeat(64) });
      return { ...spec, disks: rootFrom({ ...wrong, digest }, gib(0)) };
    },
    sourceOf: (file, format) => source(file, format as 'vhd' | 'vhdx'),
    leftovers: async (id) => {
      const { guests, marks } = await paths();
      return [
        ...(await machines.named(id)).map(({ Name }) => `machine ${Name}`),
        ...[...(await files.items(guests)), ...(await files.items(marks))].flatMap(({ Name }) =>
          Name.startsWith(id) ? [Name] : [],
        ),
      ];
    },
    configDriveFiles: async (id) => {
      const folder = (await paths()).guest(id);
      const drive = (await files.items(folder)).find(({ Name }) => /\.iso$/i.test(Name))!;
      const bytes = await buffer(files.parts(`${folder}\\${drive.Name}`));
      return Object.keys(readConfigDrive(bytes, 17)).map((name) => name.replace(/;1$/, ''));
    },
    makeUnreachable: cutOff,
    stopHypervisor: cutOff,
    // Each takes minutes on a host: of each change the first two steps are begun, and what comes after them is not.
    crashMoments: [1, 2],
    crashesAreSampled: true,
    crashDuring: async (change, id, moment, devices) => {
      const processes = new MortalProcesses();
      const mortal = await driverOver(processes);
      processes.cutAfter(moment);
      const cut = await perform(mortal, change, await guest(id), devices).then(
        () => false,
        () => true,
      );
      await mortal.close();
      return cut;
    },
    foreignGuest: () => foreign(`omnivisor-verify-${randomUUID()}`),
    inTheWay: (id) => foreign(id),
    adoptable,
    disk,
    diskUnit: 64 * MIB,
    readOnlyDisks: false,
    diskSerials: false,
    countsRequests: false,
    ...(settings.switch ? { nic, passes } : {}),
    ...(settings.linux && opensPorts
      ? {
          firstConsoleText: /is booting/,
          inside: {
            up: (id) => shellIsUp(driver, id, patience),
            switchOff: async (id) => void (await shell(id, 'poweroff')),
            memory: {
              write: async (id, letter) => void (await shell(id, `echo ${letter} >/run/letter`)),
              read: async (id) => (await shell(id, 'cat /run/letter 2>/dev/null || echo -')).trim(),
            },
          },
          linux: {
            spec: async (id) => ({ ...(await guest(id)), ...(settings.switch ? { nics: [await nic()] } : {}) }),
            up: (id) => shellIsUp(driver, id, patience),
            run: shell,
          },
        }
      : {}),
    patience,
  };
};
