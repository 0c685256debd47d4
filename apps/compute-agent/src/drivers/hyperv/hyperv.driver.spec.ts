import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { mib, type ServerId } from '@omnivisor/contracts';
import { afterAll, beforeAll } from 'vitest';
import { recordDisks } from '../../../../../tools/doubles/hyperv/disks/record-disks.mjs';
import { operationFailed } from '../../../../../tools/doubles/hyperv/errors.mjs';
import { HyperVHost } from '../../../../../tools/doubles/hyperv/host.mjs';
import { newAdapter, newDrive, newMachine } from '../../../../../tools/doubles/hyperv/state.mjs';
import { rootFrom, testGuest } from '../common/test-guest.js';
import { readConfigDrive } from '../common/testing/read-config-drive.js';
import { describeHypervisorDriver } from '../conformance/index.js';
import { perform } from '../conformance/perform.js';
import type { GuestNic, GuestSpec } from '../hypervisor-driver.js';
import { HyperVDriver } from './hyperv.driver.js';
import { adapterOf, Images, InProcess, inside, leftovers, machineOf } from './testing/double.js';

const cloudId = 'test-cloud';
const dir = mkdtempSync(join(tmpdir(), 'hyperv-driver-'));
const migration = (peer: string) => ({
  enabled: true,
  authentication: 'Kerberos',
  delegatesTo: [`Microsoft Virtual System Migration Service/${peer}`],
});
const switches = ['External', 'Lab'].map((Name) => ({ Name, Id: randomUUID(), SwitchType: 'External' }));
const host = new HyperVHost(join(dir, 'one'), { facts: { name: 'HV1', switches, migration: migration('HV2') } });
const other = new HyperVHost(join(dir, 'two'), { facts: { name: 'HV2', migration: migration('HV1') } });
host.peers.set('HV2', other);
other.peers.set('HV1', host);
/** Two hosts with one drive. */
const pair = ['HV3', 'HV4'].map(
  (name, i) =>
    new HyperVHost(join(dir, name), {
      facts: { name, migration: migration(['HV4', 'HV3'][i]!) },
      drive: join(dir, 'shared'),
    }),
);
pair[0]!.peers.set('HV4', pair[1]!);
pair[1]!.peers.set('HV3', pair[0]!);
const hosts = [host, other, ...pair];
const hostOf = (id: ServerId) => hosts.find((one) => machineOf(one, id)) ?? host;
const images = new Images();

beforeAll(async () => {
  await images.open();
  for (const one of hosts) {
    one.moveTime = 40;
    await one.open();
  }
});
afterAll(async () => {
  images.close();
  for (const one of hosts) await one.close();
  rmSync(dir, { recursive: true });
});

const driverOver = async (over: HyperVHost, cloud = cloudId, processes = new InProcess(over)) => {
  const driver = new HyperVDriver({
    cloudId: cloud,
    nodes: [{ name: over.facts.name, open: processes.open, answerTimeout: 500 }],
    switches: { physnet1: 'External' },
    generation: 2,
    dynamicMemoryRatio: 1,
    softRebootPatience: 2_000,
  });
  await driver.probe(AbortSignal.timeout(5_000));
  return driver;
};

let made = 0;
const nic = (portId: string = randomUUID()): GuestNic => ({
  portId,
  mac: `fa:16:3e:00:01:${(++made % 256).toString(16).padStart(2, '0')}`,
  mtu: 1500,
  model: null,
  attachment: { kind: 'provider', networkType: 'vlan', physicalNetwork: 'physnet1', segmentationId: 7 },
  guard: null,
});

const image = () => images.record(64 << 20);
const guest = async (id: ServerId): Promise<GuestSpec> => {
  const spec = testGuest(id, cloudId, { disks: rootFrom(image()) });
  return { ...spec, flavor: { ...spec.flavor, memory: mib(64) } };
};

const acl = (change: object) => ({
  ...{ Direction: 'Inbound', Action: 'Allow', Weight: 5, LocalIPAddress: 'ANY', RemoteIPAddress: 'ANY' },
  ...{ LocalPort: 'ANY', RemotePort: 'ANY', Protocol: 'ANY', Stateful: false, IdleSessionTimeout: 0, IsolationID: 0 },
  ...change,
});

const foreignMachine = (name = `theirs-${++made}`) => {
  const vm = newMachine({ Name: name, Generation: 2, MemoryStartupBytes: 64 << 20, Path: 'C:\\Theirs', root: '' });
  const path = `C:\\Theirs\\${name}.vhdx`;
  mkdirSync(host.local('C:\\Theirs'), { recursive: true });
  recordDisks.create(host.local(path), { format: 'VHDX', type: 'Dynamic', size: 1 << 30 });
  vm.drives.push(newDrive(path) as never);
  vm.State = 'Running';
  vm.Notes = 'made by hand';
  vm.checkpointType = 'Disabled';
  const port = nic();
  const adapter = {
    ...newAdapter('theirs'),
    ...{ mac: port.mac.replaceAll(':', '').toUpperCase(), switch: 'Lab', macSpoofing: 'On', routerGuard: 'On' },
    trunk: { native: 4, allowed: '1-10' },
    acls: [
      acl({ Action: 'Deny', RemoteIPAddress: '192.0.2.0/24' }),
      acl({ Protocol: 'TCP', Stateful: true, Weight: 9 }),
    ],
  };
  vm.adapters.push(adapter as never);
  host.vms.set(vm.Id, vm);
  const facts = () => {
    const { drives: _, adapters = [], ...now } = structuredClone(host.vms.get(vm.Id) ?? {});
    // Which was made first does not matter.
    for (const { acls } of adapters) acls.sort((a: { Weight: number }, b: { Weight: number }) => a.Weight - b.Weight);
    return [now, adapters, readFileSync(host.local(path), 'utf8')];
  };
  const before = facts();
  const addresses = [{ mac: port.mac, ip: '10.0.0.5' }];
  return {
    nativeId: vm.Id,
    nics: [{ ...port, guard: { addresses, rules: [] } }],
    guarded: async () => {
      const [now] = host.vms.get(vm.Id).adapters;
      const denied = now.acls.filter(
        (one: { Action: string; Weight: number }) => one.Action === 'Deny' && one.Weight === 1,
      );
      return now.macSpoofing === 'Off' && now.switch === 'External' && now.vlan === 7 && denied.length === 2;
    },
    untouched: async () => isDeepStrictEqual(facts(), before),
    remove: async () => {
      host.vms.delete(vm.Id);
      rmSync(host.local(path));
    },
  };
};

const cutOff = (one: HyperVHost) => async () => {
  one.unreachable = true;
  return async () => {
    one.unreachable = false;
  };
};

describeHypervisorDriver({
  backend: 'hyperv',
  level: 'L1',
  remarks: [
    'VHD on generation 1 and VHDX on generation 2 with secure boot: bytes booted, in QEMU.',
    "Drivers for Hyper-V's own devices: inspected, in the test image.",
    'No Windows host was at hand; `npm run verify:hyperv` runs the suite on one.',
  ],
  supports: [
    ...(['pausing', 'suspending', 'rebuilding', 'rescuing', 'resizing', 'crashDumps', 'snapshots'] as const),
    ...([
      'disks',
      'diskGrowing',
      'nics',
      'liveMigration',
      'liveMigration.copied',
      'adoption',
      'consoleLog',
      'consoles.serial',
    ] as const),
    ...(['consoleTickets.rdp', 'statistics', 'guestIntegration'] as const),
  ],
  open: () => driverOver(host),
  reopen: () => driverOver(host),
  openOtherCloud: () => driverOver(host, 'another-cloud'),
  guest,
  tooBig: async (id) => {
    const spec = await guest(id);
    return { ...spec, flavor: { ...spec.flavor, memory: mib(1 << 20) } };
  },
  failing: async (id) => {
    host.failNext('Start-VM', operationFailed('failed on purpose'));
    return guest(id);
  },
  imageOf: async (size) => images.record(size * 1024 ** 3),
  sourceOf: (file, format) => images.source(file, format),
  leftovers: async (id) => leftovers(host, id),
  inside: {
    up: async () => {},
    switchOff: (id) => hostOf(id).guestShutsDown(machineOf(hostOf(id), id).Id),
    ignorePowerButton: async (id) => inside(hostOf(id), id).ignoreShutdown(),
    memory: {
      write: async (id, letter) => inside(hostOf(id), id).remember(letter),
      read: async (id) => inside(hostOf(id), id).recall(),
    },
    disk: {
      write: async (id, disk, letter) => inside(hostOf(id), id).write(disk, letter),
      read: async (id, disk) => inside(hostOf(id), id).read(disk),
    },
  },
  configDriveFiles: async (id) => {
    const dvd = machineOf(host, id).drives.find((drive: { kind: string }) => drive.kind === 'DvdDrive');
    return Object.keys(readConfigDrive(readFileSync(host.local(dvd.path)), 17)).map((name) => name.replace(/;1$/, ''));
  },
  firstConsoleText: /guest .* is up/,
  foreignGuest: async () => foreignMachine(),
  inTheWay: async (id) => foreignMachine(id),
  makeUnreachable: cutOff(host),
  stopHypervisor: cutOff(host),
  // More than any change makes.
  crashMoments: Array.from({ length: 60 }, (_, i) => i + 1),
  crashDuring: async (change, id, moment, devices) => {
    const processes = new InProcess(host);
    const driver = await driverOver(host, cloudId, processes);
    processes.cutAfter(moment);
    const cut = await perform(driver, change, await guest(id), devices).then(
      () => false,
      () => true,
    );
    await driver.close();
    return cut;
  },
  disk: async () => {
    const path = `C:\\Volumes\\${++made}.vhdx`;
    recordDisks.create(host.local(path), { format: 'VHDX', type: 'Dynamic', size: 1 << 20 });
    return {
      disk: {
        diskId: randomUUID(),
        connection: { kind: 'file', path },
        format: 'vhdx',
        readOnly: false,
        bus: null,
        serial: `volume-${made}`,
        bootIndex: null,
      },
      exists: async () => existsSync(host.local(path)),
      remove: async () => rmSync(host.local(path)),
    };
  },
  tellsHostname: async (id) => {
    machineOf(host, id).guest.facts = { FullyQualifiedDomainName: 'told.example', OSName: 'Test' };
    return 'told.example';
  },
  readOnlyDisks: false,
  nic: async () => nic(),
  passes: async (id, portId) => adapterOf(hostOf(id), id, portId).switch !== null,
  letterOf: async (file) => recordDisks.contentOf(file),
  countsRequests: false,
  // Each gap of a change is tried with a guest of its own.
  patience: 20_000,
  otherHost: {
    open: () => driverOver(other),
    spec: (spec) => spec,
    leftovers: async (id) => [other, ...pair].flatMap((one) => leftovers(one, id)),
    voidsTickets: false,
    shared: async () => ({ here: await driverOver(pair[0]!), there: await driverOver(pair[1]!) }),
  },
  adoptable: async () => foreignMachine(),
});
