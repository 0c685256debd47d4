import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gib, mib, ms, ServerId } from '@omnivisor/contracts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { recordDisks } from '../../../../../tools/doubles/hyperv/disks/record-disks.mjs';
import { operationFailed } from '../../../../../tools/doubles/hyperv/errors.mjs';
import { HyperVHost } from '../../../../../tools/doubles/hyperv/host.mjs';
import { newAdapter, newDrive, newMachine } from '../../../../../tools/doubles/hyperv/state.mjs';
import { rootFrom, testGuest, withoutBytes } from '../common/test-guest.js';
import type { GuestNic, GuestSpec, PortGuard } from '../hypervisor-driver.js';
import { HyperVDriver, type HyperVDriverOptions } from './hyperv.driver.js';
import { ImageSweep } from './image-sweep.js';
import { Members } from './members.js';
import { HyperVNode } from './node.js';
import { migratesTo } from './testing/bench.js';
import { Images, InProcess, machineOf } from './testing/double.js';

const cloudId = 'test-cloud';
const never = new AbortController().signal;
const SERVICE = 'Microsoft Virtual System Migration Service';
const images = new Images();
beforeAll(() => images.open());
afterAll(() => images.close());

let dir: string;
let hosts: HyperVHost[];
let drivers: HyperVDriver[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'hyperv-host-'));
  hosts = [];
  drivers = [];
});
afterEach(async () => {
  for (const driver of drivers) await driver.close();
  for (const host of hosts) await host.close();
  rmSync(dir, { recursive: true });
});

const hostWith = async (facts = {}, drive?: string) => {
  const folder = join(dir, `host-${hosts.length}`);
  const host = await new HyperVHost(folder, { facts, ...(drive ? { drive } : {}) }).open();
  hosts.push(host);
  return host;
};
const driverOver = (over: HyperVHost[], options: Partial<HyperVDriverOptions> = {}) => {
  const driver = new HyperVDriver({
    cloudId,
    nodes: over.map((host) => ({ name: host.facts.name, open: new InProcess(host).open, answerTimeout: 1_000 })),
    switches: { physnet1: 'External' },
    generation: 2,
    dynamicMemoryRatio: 1,
    ...options,
  });
  drivers.push(driver);
  return driver;
};
const guest = (change: Partial<GuestSpec> = {}): GuestSpec & { id: ServerId } => {
  const id = ServerId.parse(randomUUID());
  const spec = testGuest(id, cloudId, { disks: rootFrom(images.record(64 << 20)), ...change });
  return { ...spec, id, flavor: { ...spec.flavor, memory: mib(64) } };
};
const nic = (change: Partial<GuestNic> = {}): GuestNic => ({
  portId: randomUUID(),
  mac: 'fa:16:3e:00:00:01',
  mtu: 1500,
  model: null,
  attachment: { kind: 'provider', networkType: 'vlan', physicalNetwork: 'physnet1', segmentationId: 7 },
  guard: null,
  ...change,
});

describe('the probe', () => {
  const report = async (facts: object) => driverOver([await hostWith(facts)]).probe(AbortSignal.timeout(5_000));

  it('switches a guest on, and leaves nothing of it', async () => {
    const host = await hostWith();
    expect(await driverOver([host]).probe(AbortSignal.timeout(5_000))).toMatchObject({
      health: 'healthy',
      version: 'Windows Server 2022 Standard, build 20348',
      hypervisorType: 'hyperv',
      // As an image asks for it: `img_hv_requested_version` of `>=10.0.20348`.
      hypervisorVersion: 10_020_348,
    });
    expect(host.calls.map(({ name }) => name)).toContain('Start-VM');
    expect(host.vms.size).toBe(0);
  });

  it.each([
    [1, 'BIOS'],
    [2, 'UEFI'],
  ] as const)('tells what firmware generation %i, which guests get by default, has', async (generation, firmware) => {
    const { traits } = await driverOver([await hostWith()], { generation }).probe(never);
    expect(traits.filter((trait) => trait.startsWith('CUSTOM_DEFAULT_'))).toEqual([
      `CUSTOM_DEFAULT_FIRMWARE_${firmware}`,
    ]);
  });

  it.each([
    [7601, 'Windows Server 2008 R2'],
    [9200, 'Windows Server 2012'],
    [9600, 'Windows Server 2012 R2'],
  ])('tells build %i apart and refuses it: %s', async (build, name) => {
    const found = await report({ build, product: `${name} Standard` });
    expect(found).toMatchObject({ health: 'unhealthy' });
    expect(found.reason).toMatch(`(${name}, build ${build}): Omnivisor drives Windows Server 2016 to 2025`);
  });

  it.each([
    [{ module: false }, 'undetected', /Hyper-V role/],
    [{ managementService: 'Stopped' }, 'unhealthy', /vmms does not answer/],
    [{ account: { isHyperVAdministrator: false } }, 'unhealthy', /no member of Hyper-V Administrators/],
    [{ languageMode: 'ConstrainedLanguage' }, 'unhealthy', /ConstrainedLanguage.*signature/],
    [{ memory: 32 << 20 }, 'unhealthy', /has no room/],
    [{ switches: [] }, 'unhealthy', /no virtual switch External/],
  ])('says what is in the way: %o', async (facts, health, reason) => {
    expect(await report(facts)).toMatchObject({ health, reason: expect.stringMatching(reason) });
  });

  it('says so when there is no host at all', async () => {
    expect(await driverOver([]).probe(never)).toMatchObject({ health: 'undetected' });
  });

  it.each([
    [
      'off',
      { enabled: false, authentication: 'Kerberos', delegatesTo: ['Microsoft Virtual System Migration Service/B'] },
    ],
    [
      'without Kerberos',
      { enabled: true, authentication: 'CredSSP', delegatesTo: ['Microsoft Virtual System Migration Service/B'] },
    ],
    ['without delegation', { enabled: true, authentication: 'Kerberos', delegatesTo: ['cifs/B'] }],
  ])('finds no live migration where it is %s', async (_, migration) => {
    const driver = driverOver([await hostWith({ migration })]);
    await driver.probe(AbortSignal.timeout(5_000));
    expect(driver.liveMigration).toBeUndefined();
  });

  it('keeps a guest when this host may speak in its name to others, but not to the target', async () => {
    const migration = (other: string) => ({
      ...{ enabled: true, authentication: 'Kerberos' },
      delegatesTo: [`Microsoft Virtual System Migration Service/${other}`],
    });
    const domain = 'corp.example';
    const facts = [
      { name: 'HV1', domain, migration: migration('HV9') },
      { name: 'HV2', domain, migration: migration('HV1') },
    ];
    const [source, target] = await Promise.all(
      facts.map(async (each) => {
        const driver = driverOver([await hostWith(each)]);
        await driver.probe(AbortSignal.timeout(5_000));
        return driver;
      }),
    );
    const spec = guest();
    await source!.spawn(spec, never);
    const offer = await source!.liveMigration!.offer(spec.id);
    const ticket = await target!.liveMigration!.receive(spec, offer, { disks: 'auto', attached: [] }, never);
    expect(JSON.parse(ticket)).toMatchObject({ host: 'HV2.corp.example' });
    await expect(source!.liveMigration!.send(spec.id, ticket, { signal: never })).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('delegation'),
    });
    expect(await source!.inspect(spec.id)).toMatchObject({ stage: 'settled', power: 'running' });
  });

  it('knows a cluster shared volume again from another host, and no disk of its own', async () => {
    const migration = {
      ...{ enabled: true, authentication: 'Kerberos' },
      delegatesTo: ['Microsoft Virtual System Migration Service/HV9'],
    };
    const reach = async (name: string, root: string) => {
      const driver = driverOver([await hostWith({ name, root, migration }, join(dir, 'drive'))]);
      await driver.probe(AbortSignal.timeout(5_000));
      return driver.liveMigration!.reach();
    };
    const volume = 'C:\\ClusterStorage\\Volume1\\Omnivisor';
    const [one, two] = [await reach('HV1', volume), await reach('HV2', volume)];
    expect(one.storage).toMatch(/^[0-9a-f-]{36} c:\\clusterstorage/);
    expect(two).toMatchObject({ storage: one.storage, sees: [one.storage] });
    expect(await reach('HV3', 'C:\\ProgramData\\Omnivisor')).toMatchObject({ storage: null, sees: [] });
  });
});

describe('a guest', () => {
  it('is what its spec says, in the words of Hyper-V', async () => {
    const host = await hostWith();
    const driver = driverOver([host], { dynamicMemoryRatio: 2 });
    const port = nic({
      guard: {
        addresses: [{ mac: 'fa:16:3e:00:00:01', ip: '10.0.0.5' }],
        rules: [
          {
            direction: 'ingress',
            ethertype: 'IPv4',
            protocol: 'tcp',
            portMin: 22,
            portMax: 22,
            remotePrefixes: ['0.0.0.0/0'],
          },
        ],
      },
    });
    const spec = guest({ nics: [port], configDrive: new Map([['a', Buffer.from('b')]]) });
    await driver.spawn(
      { ...spec, image: { ...spec.image, properties: { os_secure_boot: 'required', os_type: 'windows' } } },
      never,
    );
    const vm = machineOf(host, spec.id);
    expect(vm).toMatchObject({
      Generation: 2,
      State: 'Running',
      startAction: 'Nothing',
      stopAction: 'ShutDown',
      firmware: { secureBoot: 'On', template: 'MicrosoftWindows' },
      memory: { startup: 32 << 20, dynamic: true, maximum: 64 << 20 },
      com: [`\\\\.\\pipe\\omnivisor-${spec.id}`, null],
      metering: true,
    });
    expect(vm.adapters).toMatchObject([
      { mac: 'FA163E000001', switch: 'External', vlan: 7, macSpoofing: 'Off', dhcpGuard: 'On', routerGuard: 'On' },
    ]);
    expect(vm.adapters[0].acls.map((acl: { Action: string }) => acl.Action).sort()).toEqual([
      ...['Allow', 'Allow', 'Allow', 'Deny', 'Deny'],
    ]);
    const root = vm.drives.find((drive: { kind: string; path: string }) => /root-/.test(drive.path));
    expect(host.disks.info(host.local(root.path))).toMatchObject({ type: 'Differencing', format: 'VHDX' });
    // It is safe before it is connected.
    const names = host.calls.map(({ name }) => name);
    expect(names.lastIndexOf('Add-VMNetworkAdapterExtendedAcl')).toBeLessThan(
      names.indexOf('Connect-VMNetworkAdapter'),
    );
  });

  it('gets the rules of a port anew, and only what changed', async () => {
    const host = await hostWith();
    const driver = driverOver([host]);
    const rule: PortGuard['rules'][number] = {
      direction: 'ingress',
      ethertype: 'IPv4',
      protocol: 'tcp',
      portMin: 22,
      portMax: 22,
      remotePrefixes: ['10.0.0.0/8'],
    };
    const addresses = [{ mac: 'fa:16:3e:00:00:01', ip: '10.0.0.5' }];
    const port = nic({ guard: { addresses, rules: [rule] } });
    const spec = guest({ nics: [port] });
    await driver.spawn(spec, never);
    host.calls.length = 0;
    await driver.nics.attach(spec.id, port);
    expect(
      host.calls.filter(({ name }) => /-VMNetworkAdapterExtendedAcl$/.test(name) && !name.startsWith('Get')),
    ).toEqual([]);
    await driver.nics.attach(spec.id, {
      ...port,
      guard: { addresses, rules: [{ ...rule, portMin: 80, portMax: 80 }] },
    });
    const ports = machineOf(host, spec.id).adapters[0].acls.map((acl: { LocalPort: string }) => acl.LocalPort);
    expect(ports).toContain('80');
    expect(ports).not.toContain('22');
  });

  it('of generation 1 boots from IDE, and takes no network interface while it runs', async () => {
    const host = await hostWith();
    const driver = driverOver([host], { generation: 1 });
    const spec = guest({ disks: rootFrom(images.record(64 << 20, 'vhd')) });
    await driver.spawn(spec, never);
    const vm = machineOf(host, spec.id);
    expect(vm.drives).toContainEqual(
      expect.objectContaining({ kind: 'HardDiskDrive', type: 'IDE', number: 0, location: 0 }),
    );
    expect(
      host.disks.info(host.local(vm.drives.find((d: { kind: string }) => d.kind === 'HardDiskDrive').path)),
    ).toMatchObject({
      format: 'VHD',
      type: 'Differencing',
    });
    await expect(driver.nics.attach(spec.id, nic())).rejects.toMatchObject({ code: 'unsupported' });
    await driver.powerOff(spec.id, ms(0));
    await driver.nics.attach(spec.id, nic());
  });

  it('has a VHD made whole where its root is to be larger', async () => {
    const host = await hostWith();
    const spec = guest({ disks: rootFrom(images.record(64 << 20, 'vhd'), gib(1)) });
    await driverOver([host], { generation: 1 }).spawn(spec, never);
    const { path } = machineOf(host, spec.id).drives.find((d: { kind: string }) => d.kind === 'HardDiskDrive');
    expect(host.disks.info(host.local(path))).toMatchObject({ format: 'VHDX', size: 1024 ** 3, parent: null });
  });

  it('is fetched once for all that are made of it, and its bytes are checked', async () => {
    const host = await hostWith();
    const driver = driverOver([host]);
    const disks = rootFrom(images.record(64 << 20));
    const [one, two] = [guest({ disks }), guest({ disks })];
    await Promise.all([driver.spawn(one, never), driver.spawn(two, never)]);
    const source = images.record(64 << 20);
    const wrong = { ...source, digest: async () => ({ ...(await source.digest()), sha256: '0'.repeat(64) }) };
    const third = guest({ disks: rootFrom(wrong) });
    await expect(driver.spawn(third, never)).rejects.toMatchObject({ code: 'fault' });
    expect((await driver.list()).map((g) => g.mark.serverId).sort()).toEqual([one.id, two.id].sort());
  });
});

describe('machines of others', () => {
  const theirs = (host: HyperVHost, change: object = {}) => {
    const parameters = { Name: 'theirs', Generation: 2, MemoryStartupBytes: 64 << 20, Path: 'C:\\Theirs', root: '' };
    const vm = { ...newMachine(parameters), ...change };
    host.vms.set(vm.Id, vm);
    return vm;
  };

  it('are candidates with whatever they have for disks', async () => {
    const host = await hostWith();
    const driver = driverOver([host]);
    const [passed, gone] = ['Disk 2 50.00 GB Bus 0 Lun 0 Target 3', 'C:\\Theirs\\gone.vhdx'].map((path) =>
      theirs(host, { drives: [newDrive(path)] }),
    );
    expect(await driver.adoption.candidates()).toMatchObject([
      { nativeId: passed!.Id, disks: [{ name: passed!.drives[0]!.path, size: 0 }] },
      { nativeId: gone!.Id, disks: [{ name: 'gone.vhdx', size: 0 }] },
    ]);
    await expect(driver.adoption.adopt(passed!.Id, guest().mark, [])).rejects.toMatchObject({ code: 'unsupported' });
  });

  it('may be anything; a guest of ours is not taken for gone that cannot be read', async () => {
    const host = await hostWith();
    const driver = driverOver([host]);
    const spec = guest();
    await driver.spawn(spec, never);
    theirs(host, { Generation: 0 });
    expect(await driver.list()).toMatchObject([{ mark: spec.mark }]);
    machineOf(host, spec.id).Generation = 0;
    await expect(driver.list()).rejects.toMatchObject({ code: 'fault' });
    await expect(driver.inspect(spec.id)).rejects.toMatchObject({ code: 'fault' });
  });
});

describe('new disks that cannot be made', () => {
  it('leave the guest running', async () => {
    const host = await hostWith();
    const driver = driverOver([host]);
    const spec = guest();
    await driver.spawn(spec, never);
    const next = withoutBytes({ ...spec, mark: { ...spec.mark, build: 1 } });
    await expect(driver.rebuilding.rebuild(next, never)).rejects.toMatchObject({ code: 'unavailable' });
    await expect(driver.rescuing.rescue(withoutBytes(spec), never)).rejects.toMatchObject({ code: 'unavailable' });
    expect(host.calls.map(({ name }) => name)).not.toContain('Stop-VM');
    expect(await driver.inspect(spec.id)).toMatchObject({ stage: 'settled', power: 'running' });
  });
});

describe('a move with its disks', () => {
  const pair = async () => {
    const domain = 'corp.example';
    const [one, two] = [
      await hostWith({ name: 'HV1', domain, migration: migratesTo('HV2') }),
      await hostWith({ name: 'HV2', domain, migration: migratesTo('HV1') }),
    ];
    one.peers.set('HV2', two);
    const [source, target] = [driverOver([one]), driverOver([two])];
    for (const driver of [source, target]) await driver.probe(AbortSignal.timeout(5_000));
    const receive = async (spec: GuestSpec & { id: ServerId }) => {
      const offer = await source.liveMigration!.offer(spec.id);
      return target.liveMigration!.receive(spec, offer, { disks: 'copied', attached: [] }, never);
    };
    return { one, two, source, target, receive };
  };

  it('has the image that they stand on fetched first, and kept for it', async () => {
    const { two, source, target, receive } = await pair();
    const spec = guest();
    await source.spawn(spec, never);
    const ticket = await receive(spec);
    const folder = two.local('C:\\ProgramData\\Omnivisor\\images');
    const node = new HyperVNode({ name: 'B', open: new InProcess(two).open });
    await new ImageSweep().soon(new Members([node]), Date.now() + 48 * 60 * 60_000);
    node.close();
    expect(readdirSync(folder)).toHaveLength(1);
    await source.liveMigration!.send(spec.id, ticket, { signal: never });
    await target.liveMigration!.accept(spec.id);
    const { path } = machineOf(two, spec.id).drives[0];
    expect(two.disks.info(two.local(path)).parent).toBe(join(folder, readdirSync(folder)[0]!));
    await target.powerOff(spec.id, ms(0));
    await target.powerOn(spec.id, []);
    expect(await target.inspect(spec.id)).toMatchObject({ stage: 'settled', power: 'running' });
  });

  it('is refused where they stand on one of their own, as after a resize', async () => {
    const { source, receive } = await pair();
    const spec = guest();
    await source.spawn(spec, never);
    await source.powerOff(spec.id, ms(0));
    const flavor = { ...spec.flavor, vcpus: 2 };
    await source.resizing.resize(spec.id, flavor, never);
    await source.resizing.confirmResize(spec.id);
    await source.powerOn(spec.id, []);
    await expect(receive({ ...spec, flavor })).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('do not come along'),
    });
  });
});

it('leaves a machine as it was when it cannot be adopted', async () => {
  const host = await hostWith();
  const driver = driverOver([host]);
  const path = 'C:\\Theirs\\disk.vhdx';
  mkdirSync(host.local('C:\\Theirs'), { recursive: true });
  recordDisks.create(host.local(path), { format: 'VHDX', type: 'Dynamic', size: 1 << 30 });
  const vm = newMachine({ Name: 'theirs', Generation: 2, MemoryStartupBytes: 64 << 20, Path: 'C:\\Theirs', root: '' });
  vm.drives.push(newDrive(path) as never);
  vm.adapters.push({ ...newAdapter('theirs'), mac: 'FA163E000001', macSpoofing: 'On' } as never);
  host.vms.set(vm.Id, vm);
  const before = structuredClone(vm);
  const { mark } = guest();
  const guarded = (ip: string) => nic({ guard: { addresses: [{ mac: 'fa:16:3e:00:00:01', ip }], rules: [] } });
  await expect(driver.adoption.adopt(vm.Id, mark, [guarded('2001:db8::5')])).rejects.toMatchObject({
    code: 'unsupported',
  });
  expect(host.calls.map(({ name }) => name).filter((name) => !name.startsWith('Get-'))).toEqual([]);
  host.failNext('Connect-VMNetworkAdapter', operationFailed('failed on purpose'));
  await expect(driver.adoption.adopt(vm.Id, mark, [guarded('10.0.0.5')])).rejects.toMatchObject({ code: 'fault' });
  expect(vm).toEqual(before);
  expect(await driver.list()).toEqual([]);
  await driver.adoption.adopt(vm.Id, mark, [guarded('10.0.0.5')]);
  expect(await driver.list()).toMatchObject([{ mark }]);
});

it('counts what comes and goes through each network interface, in whole MiB', async () => {
  const host = await hostWith();
  const driver = driverOver([host]);
  const [first, later] = [nic(), nic({ mac: 'fa:16:3e:00:00:02' })];
  const spec = guest({ nics: [first] });
  await driver.spawn(spec, never);
  await driver.nics.attach(spec.id, later);
  const { adapters } = machineOf(host, spec.id);
  adapters[0].traffic = { in: 3, out: 2 };
  const bytes = (mib: number) => ({ bytes: mib * 2 ** 20, packets: null, errors: null, drops: null });
  expect((await driver.statistics.read(spec.id)).nics).toEqual([
    { portId: first.portId, mac: first.mac, received: bytes(3), sent: bytes(2) },
    { portId: later.portId, mac: later.mac, received: bytes(0), sent: bytes(0) },
  ]);
  adapters[1].traffic = null;
  expect((await driver.statistics.read(spec.id)).nics[1]).toMatchObject({ received: null, sent: null });
});

it('gives up waiting for a migration that does not end', async () => {
  const host = await hostWith();
  const driver = driverOver([host], { migrationEndsWithin: 150 });
  host.facts.migration = { enabled: true, authentication: 'Kerberos', delegatesTo: [`${SERVICE}/HV2`] };
  await driver.probe(AbortSignal.timeout(5_000));
  const spec = guest();
  await driver.spawn(spec, never);
  const { Id } = machineOf(host, spec.id);
  host.migrations.set(Id, { percent: 40, stopped: false });
  await expect(driver.liveMigration!.recover(spec.id)).rejects.toMatchObject({ code: 'unavailable' });
  host.migrations.delete(Id);
  await driver.liveMigration!.recover(spec.id);
});

it('freezes the file systems of a guest that can, for a snapshot, and not those of one that cannot', async () => {
  const host = await hostWith();
  const driver = driverOver([host]);
  const spec = guest();
  await driver.spawn(spec, never);
  for (const vss of [false, true]) {
    machineOf(host, spec.id).guest.vss = vss;
    const disk = await driver.snapshots.exportDisk(spec.id, 'root', 'vhdx', never);
    expect(disk.quiesced).toBe(vss);
    disk.stream.destroy();
  }
  expect(machineOf(host, spec.id).snapshots).toEqual([]);
});

it("has the disk of a server that moves here as the guest's own, and no copy of it", async () => {
  const host = await hostWith();
  const folder = host.local('C:\\ProgramData\\Omnivisor\\images');
  for (const [format, size, wanted] of [
    ['vhdx', gib(0), { format: 'VHDX', size: 64 << 20 }],
    ['vhdx', gib(1), { format: 'VHDX', size: 1024 ** 3 }],
    ['vhd', gib(1), { format: 'VHDX', size: 1024 ** 3 }],
  ] as const) {
    const driver = driverOver([host], { generation: format === 'vhd' ? 1 : 2 });
    const spec = guest({ disks: rootFrom({ ...images.record(64 << 20, format), isPrivate: true }, size) });
    await driver.spawn(spec, never);
    const { path } = machineOf(host, spec.id).drives.find((d: { kind: string }) => d.kind === 'HardDiskDrive');
    expect(host.disks.info(host.local(path))).toMatchObject({ ...wanted, parent: null });
    expect(readdirSync(join(host.local(path), '..')).filter((name) => /vhdx?$/.test(name))).toHaveLength(1);
    expect(existsSync(folder) ? readdirSync(folder) : []).toEqual([]);
    await driver.destroy(spec.id);
  }
});

it('keeps the copy of an image while a guest stands on it, and for a day after', async () => {
  const host = await hostWith();
  const driver = driverOver([host]);
  const disks = rootFrom(images.record(64 << 20));
  const [one, two] = [guest({ disks }), guest({ disks })];
  for (const spec of [one, two]) await driver.spawn(spec, never);
  const folder = host.local('C:\\ProgramData\\Omnivisor\\images');
  const [file] = readdirSync(folder);
  const sweepAt = async (time: number) => {
    const fresh = new ImageSweep();
    const node = new HyperVNode({ name: 'A', open: new InProcess(host).open });
    await fresh.soon(new Members([node]), time);
    node.close();
    return readdirSync(folder);
  };
  const inTwoDays = Date.now() + 48 * 60 * 60_000;
  await driver.destroy(one.id);
  expect(await sweepAt(inTwoDays)).toEqual([file]);
  await driver.destroy(two.id);
  expect(await sweepAt(Date.now())).toEqual([file]);
  expect(await sweepAt(inTwoDays)).toEqual([]);
});
