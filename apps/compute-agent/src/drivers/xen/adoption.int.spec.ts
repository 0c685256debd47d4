import { randomUUID } from 'node:crypto';
import { chmodSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mib, ms, ServerId } from '@omnivisor/contracts';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { fileSource, flatNic, rootFrom, testGuest } from '../common/test-guest.js';
import type { GuestNic } from '../hypervisor-driver.js';
import { XlDouble } from './testing/xl-double.js';
import { XenDriver } from './xen.driver.js';

const cloudId = 'test-cloud';
const mac = 'fa:16:3e:00:04:01';
const port = (change: Partial<GuestNic> = {}) => flatNic(mac, change);
/** What adds to the settings of an interface, a disk, the domain. */
const beside =
  (name: string) =>
  (...more: string[]) =>
    more.map((text) => `s/"${name}" : /${text}, &/`);
const [nic, disk, built] = [beside('bridge'), beside('vdev'), beside('max_vcpus')];
const mark = () => ({ cloudId, serverId: ServerId.parse(randomUUID()), attempt: 1, build: 0 });

describe('adopting a domain of Xen', { timeout: 30_000 }, () => {
  const double = new XlDouble();
  const tools = join(double.folder, 'tools');
  const blockDevice = readdirSync('/dev', { withFileTypes: true }).find((file) => file.isBlockDevice());
  const tool = (name: string, script: string) => {
    writeFileSync(join(tools, name), `#!/bin/sh\n${script}\n`);
    chmodSync(join(tools, name), 0o755);
  };
  /** What becomes of `xl list -l` on its way, as sed has it. */
  const altered = (how: string) => {
    tool('xl', `[ "$1$2" = list-l ] || exec env PATH="\${PATH#*:}" xl "$@"\nPATH=\${PATH#*:} xl "$@" | sed '${how}'`);
    const shell = double.shell(`${tools}:`);
    return new XenDriver({ cloudId, shell, root: double.root, type: 'pv', bridges: { physnet1: 'xenbr0' } });
  };
  let xen: XenDriver;
  let theirs: Awaited<ReturnType<XlDouble['adoptable']>>;
  let made = 0;

  beforeAll(async () => {
    mkdirSync(tools);
    xen = altered('');
    theirs = await double.adoptable(`theirs-${++made}`, mac);
  });
  afterEach(async () => {
    expect(await xen.list()).toEqual([]);
  });
  afterAll(() => double.close());

  const domain = async () => {
    const listed = JSON.parse(await double.xl('list', '-l')) as { config: { c_info: { uuid: string } } }[];
    return listed.find(({ config }) => config.c_info.uuid === theirs.nativeId)?.config;
  };

  it('says what it has', async () => {
    expect(await xen.adoption.candidates()).toEqual([
      {
        ...{ nativeId: theirs.nativeId, name: `theirs-${made}`, power: 'running', vcpus: 1, memory: 16 },
        ...{ disks: [{ name: 'xvda', size: 6 }], nics: [{ mac, network: 'xenbr0' }] },
      },
    ]);
  });

  it('leaves out guests of clouds that keep theirs in another folder', async () => {
    const id = randomUUID();
    const { remove } = await double.foreign(id, `uuid = "${id}"\n`);
    expect((await xen.adoption.candidates()).map(({ nativeId }) => nativeId)).toEqual([theirs.nativeId]);
    await expect(xen.adoption.adopt(id, mark(), [])).rejects.toThrow('no such guest');
    await remove();
  });

  it('says so soon when xl hangs', async () => {
    tool('xl', `[ "$1$2" = list-l ] && exec sleep 60\nPATH=\${PATH#*:} xl "$@"`);
    // What the driver gives a minute has a moment.
    tool('timeout', `shift\nPATH=\${PATH#*:} exec timeout 0.5 env "PATH=$PATH" "$@"`);
    await expect(xen.adoption.candidates()).rejects.toMatchObject({ code: 'unavailable' });
    rmSync(join(tools, 'timeout'));
    altered('');
  });

  it.skipIf(!blockDevice)('lists it though a disk of it cannot be read', async () => {
    tool('blockdev', 'exit 1');
    const { adoption } = altered(`s|"pdev_path" : ".*"|"pdev_path" : "/dev/${blockDevice?.name}"|`);
    expect(await adoption.candidates()).toMatchObject([{ disks: [{ name: 'xvda', size: 0 }] }]);
    await expect(adoption.adopt(theirs.nativeId, mark(), [])).rejects.toThrow('xvda cannot be read');
    rmSync(join(tools, 'blockdev'));
    altered('');
  });

  it('is rebuilt only with disks that leave its own in their places', async () => {
    const many = await double.adoptable(`theirs-${++made}`, 'fa:16:3e:00:04:02', 'xvdd');
    const whole = mark();
    await xen.adoption.adopt(many.nativeId, whole, []);
    const image = join(double.folder, 'image.raw');
    writeFileSync(image, 'an image');
    const disks = rootFrom(fileSource(image));
    const spec = (swap: number, build: number) => ({
      ...testGuest(whole.serverId, cloudId, { disks: { ...disks, swap: mib(swap) } }),
      mark: { ...whole, build },
    });
    const { signal } = new AbortController();
    await expect(xen.rebuilding.rebuild(spec(1, 1), signal)).rejects.toMatchObject({ code: 'unsupported' });
    expect(await many.untouched()).toBe(true);
    await xen.rebuilding.rebuild(spec(0, 2), signal);
    expect(await xen.inspect(whole.serverId)).toMatchObject({ power: 'running', mark: { build: 2 } });
    await xen.destroy(whole.serverId);
  });

  it('starts it with what it had, and gives it back so that it starts without us', async () => {
    const before = await domain();
    const { serverId: id, ...rest } = mark();
    await xen.adoption.adopt(theirs.nativeId, { serverId: id, ...rest }, []);
    await xen.powerOff(id, ms(0));
    await expect(xen.adoption.release(id)).rejects.toMatchObject({ code: 'fault' });
    await xen.powerOn(id, []);
    expect(await domain()).toEqual(before);
    await xen.adoption.release(id);
    expect(await domain()).toEqual(before);
    expect((await xen.adoption.candidates()).map(({ nativeId }) => nativeId)).toEqual([theirs.nativeId]);
  });

  it('gives back an interface that was cut off as it was', async () => {
    const { serverId: id, ...rest } = mark();
    const nic = port();
    await xen.adoption.adopt(theirs.nativeId, { serverId: id, ...rest }, [nic]);
    const device = readdirSync(join(double.folder, 'net')).find((name) => name.startsWith('vif'))!;
    const passes = () => double.passes(id, nic.portId, { device, mac });
    await xen.nics.cutOff(id, nic.portId);
    expect(passes()).toBe(false);
    await xen.adoption.release(id);
    expect([passes(), readdirSync(join(double.folder, 'state', 'nft'))]).toEqual([true, []]);
  });

  it('is refused with ports that are not what it has, or that nothing would guard', async () => {
    const vlan = { kind: 'provider', networkType: 'vlan', physicalNetwork: 'physnet1', segmentationId: 7 } as const;
    for (const [nic, code] of [
      [port({ mac: 'fa:16:3e:00:04:99' }), 'fault'],
      [port({ attachment: vlan }), 'unsupported'],
      [port({ guard: { addresses: [], rules: [] } }), 'unsupported'],
    ] as const)
      await expect(xen.adoption.adopt(theirs.nativeId, mark(), [nic])).rejects.toMatchObject({ code });
  });

  it.each([
    ...['s/"pv"/"hvm"/', 's/"raw"/"qcow2"/', 's/"xvda"/"sda"/', 's/"disks" : /"pcidevs" : [{}], "disks" : /'],
    ...['s/vif-bridge/vif-openvswitch/', 's/"kernel" : /"bootloader" : "pvgrub", "was" : /'],
    ...disk('"direct_io_safe" : true', '"is_cdrom" : 1', '"discard_enable" : "False"'),
    ...nic('"backend_domid" : 3', '"backend_domname" : "net"', '"ip" : "192.0.2.1"', '"vlan" : "7"', '"mtu" : 1400'),
    ...nic('"rate_bytes_per_interval" : 100000, "rate_interval_usecs" : 50000', '"ifname" : "web"'),
    ...built(
      '"vcpu_hard_affinity" : [[0]]',
      '"vcpu_soft_affinity" : [[0, 1]]',
      '"iomem" : [{}]',
      '"tsc_mode" : "native"',
    ),
    ...built(
      '"type.pvh" : { "pvshim" : "True" }',
      '"cpuid" : [{}]',
      '"cpuid" : { "cpuid" : [{}], "msr" : [] }',
      '"arch_x86" : { "msr_relaxed" : "True" }',
    ),
    ...['"ssid_label" : "system_u:system_r:domU_t"', '"driver_domain" : "True"'].map((c) => `s/"uuid" : /${c}, &/`),
    ...['s/"weight" : 256/"weight" : 512/', 's/"weight" : /"cap" : 50, "weight" : /', 's/"uuid" : /"poolid" : 1, &/'],
    ...['s/"target_memkb" : [0-9]*/"target_memkb" : 8192/', 's/"max_vcpus" : 1/"max_vcpus" : 4/'],
  ])('is refused where it would be another after its next start: %s', async (how) => {
    await expect(altered(how).adoption.adopt(theirs.nativeId, mark(), [port()])).rejects.toMatchObject({
      ...{ code: 'unsupported', message: expect.stringMatching(/ cannot be adopted$/) },
    });
    altered('');
  });

  it.each([
    ...nic('"mtu" : 1400', '"devid" : 1, "model" : "rtl8139", "trusted" : "True", "ip" : null'),
    ...built('"vcpu_hard_affinity" : [], "localtime" : "False", "type.pv" : { "e820_host" : "<default>" }'),
    ...built('"arch_x86" : { "msr_relaxed" : "False" }', '"cpuid" : { "cpuid" : [], "msr" : [] }'),
    's/"target_memkb" : [0-9]*/"target_memkb" : 16380/',
  ])('is taken where that changes nothing: %s', async (how) => {
    const { serverId: id, ...rest } = mark();
    const { adoption } = altered(how);
    await adoption.adopt(theirs.nativeId, { serverId: id, ...rest }, [port({ mtu: 1400 })]);
    await adoption.release(id);
    altered('');
  });
});
