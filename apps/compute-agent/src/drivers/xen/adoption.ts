import { type MiB, mib, type ServerId } from '@omnivisor/contracts';
import { z } from 'zod';
import { type ForeignGuest, type GuestMark, HypervisorError } from '../hypervisor-driver.js';
import type { Definition, DomainType, Nic } from './definition.js';
import { asPlugged } from './guard.js';
import { type Guest, type Guests, isOn } from './guests.js';
import { ADOPT, CANDIDATES, RELEASE, SIZES } from './scripts.js';
import { type Domain, parseDomains } from './xl-output.js';

const GIB = 1024 ** 3;
const KIB_OF_MIB = 1024;
/** Links in the guest's folder to the disk and kernel that the domain came with, for what reads them. */
const LINKS = { root: 'root-adopted.raw', kernel: 'root-adopted.kernel', ramdisk: 'root-adopted.ramdisk' } as const;

/** A domain as `xl list -l` tells of it; what has its default value is not there. */
const Settings = z.object({
  domid: z.number(),
  config: z.looseObject({
    c_info: z.looseObject({
      type: z.string(),
      name: z.string(),
      uuid: z.string().default(''),
      poolid: z.number().default(0),
    }),
    b_info: z.looseObject({
      max_vcpus: z.number().default(1),
      avail_vcpus: z.array(z.number()).optional(),
      max_memkb: z.number().default(0),
      target_memkb: z.number().optional(),
      sched_params: z.record(z.string(), z.unknown()).default({}),
      kernel: z.string().default(''),
      ramdisk: z.string().default(''),
      cmdline: z.string().default(''),
      bootloader: z.string().default(''),
      bootloader_args: z.array(z.string()).default([]),
    }),
    disks: z
      .array(
        z.looseObject({
          pdev_path: z.string().default(''),
          vdev: z.string(),
          format: z.string().default(''),
          readwrite: z.number().default(0),
          script: z.string().default(''),
          backend_domid: z.number().default(0),
          backend_domname: z.string().default(''),
        }),
      )
      .default([]),
    nics: z
      .array(
        z.looseObject({
          mac: z.string(),
          mtu: z.number().default(0),
          bridge: z.string().default(''),
          script: z.string().default(''),
        }),
      )
      .default([]),
  }),
});
type Config = z.output<typeof Settings>['config'];
interface Stranger {
  readonly domain: Domain;
  readonly config: Config;
}

/** What the probes of any agent run. */
const PROBE_NAME = /^omnivisor-probe-/;

const strangers = async ({ host, root }: Guests): Promise<Stranger[]> => {
  const text = await host.look(CANDIDATES, [root]);
  const [, head, listed, settings] = /^([\s\S]*?)^domains\n([\s\S]*?)\nsettings\n([\s\S]*)$/m.exec(text) ?? [];
  if (settings === undefined)
    throw new HypervisorError('fault', 'the Xen host gave an answer that is none', text.slice(0, 500));
  const taken = new Set(head!.split('\n').map((line) => line.replace(/^taken /, '')));
  const domains = parseDomains(listed!).filter(
    // A cloud that keeps its guests in another folder names them as we do ours.
    ({ domid, uuid, name }) => domid !== 0 && !taken.has(uuid) && name !== uuid && !PROBE_NAME.test(name),
  );
  // Between the two, one may have come or gone.
  const all = z.array(z.unknown()).parse(JSON.parse(settings));
  return domains.flatMap((domain) => {
    const found = Settings.safeParse(all.find((one) => (one as { domid?: unknown } | null)?.domid === domain.domid));
    return found.success ? [{ domain, config: found.data.config }] : [];
  });
};

const sizesOf = async ({ host, root }: Guests, { disks }: Config): Promise<number[]> =>
  disks.length === 0
    ? []
    : (await host.look(SIZES, [root, ...disks.map((disk) => disk.pdev_path)])).trim().split('\n').map(Number);

/** What xl lists may be some KiB less. */
const memoryOf = ({ b_info: { max_memkb: kib } }: Config): MiB => mib(Math.round(kib / KIB_OF_MIB));

const POWER = { running: 'running', paused: 'paused', off: 'shutdown', crashed: 'crashed' } as const;

/** Domains that are no guests of any cloud. */
export const candidates = async (guests: Guests): Promise<ForeignGuest[]> =>
  Promise.all(
    (await strangers(guests)).map(async ({ domain, config }) => {
      const sizes = await sizesOf(guests, config);
      return {
        nativeId: domain.uuid,
        name: domain.name,
        power: POWER[domain.state],
        vcpus: config.b_info.max_vcpus,
        memory: memoryOf(config),
        disks: config.disks.map(({ vdev }, i) => ({ name: vdev, size: sizes[i] ?? 0 })),
        nics: config.nics.map(({ mac, bridge }) => ({ mac: mac.toLowerCase(), network: bridge || null })),
      };
    }),
  );

const unsupported = (what: string): never => {
  throw new HypervisorError('unsupported', `${what} cannot be adopted`);
};

/** Names of settings with a value that is not the default, beside those named. */
const others = (settings: object, ...named: readonly string[]): string[] =>
  Object.entries(settings)
    .filter(([name, value]) => !named.includes(name) && value && value !== '<default>')
    .filter(([, value]) => !Array.isArray(value) || value.length > 0)
    .map(([name]) => name);

/** What the schedulers of Xen give a domain of which nobody says more; -1 stands for it too. */
const SHARES: Readonly<Record<string, number>> = { weight: 256, cap: 0, period: 10_000, budget: 4_000, extratime: 1 };
/** Settings of one value that somebody has to have asked for, the last of them under the processor or the type. */
const ASKED = [
  ...['ssid_label', 'ssidref', 'exec_ssid_label', 'exec_ssidref', 'driver_domain'],
  ...['tsc_mode', 'localtime', 'rtc_timeoffset', 'disable_migrate', 'nested_hvm', 'msr_relaxed'],
  ...['e820_host', 'pvshim', 'pvshim_path', 'pvshim_cmdline', 'pvshim_extra'],
];
const UNASKED: readonly unknown[] = ['default', 'False'];
const DEFAULT_MTU = 1500;

const refuseSettings = ({ b_info: built, c_info: made }: Config): void => {
  // What is asked of the CPU is a list, or from Xen 4.17 on two.
  const lists = Object.entries({ ...built, ...Object(built.cpuid) }).filter(([, value]) => Array.isArray(value));
  // Pinned CPUs, devices of the machine, NUMA nodes, features of the CPU: all that has several values.
  for (const kind of others(Object.fromEntries(lists), 'avail_vcpus', 'bootloader_args'))
    unsupported(`a guest with ${kind}`);
  const parts = ['arch_x86', 'type.pv', 'type.pvh'].map((part) => Object(built[part]) as object);
  const single: Record<string, unknown> = Object.assign({}, made, built, ...parts);
  for (const kind of others(single).filter((name) => ASKED.includes(name)))
    if (!UNASKED.includes(single[kind])) unsupported(`a guest with ${kind}`);
  for (const [name, value] of Object.entries(built.sched_params))
    if (name in SHARES && value !== -1 && value !== SHARES[name]) unsupported(`a guest with ${name} of the scheduler`);
  if (made.poolid !== 0) unsupported('a guest in a pool of CPUs');
  if ((built.avail_vcpus?.length || built.max_vcpus) < built.max_vcpus) unsupported('a guest with vCPUs that are off');
  // Either may be some KiB off.
  const balloon = built.max_memkb - (built.target_memkb ?? built.max_memkb);
  if (Math.abs(balloon) > KIB_OF_MIB) unsupported('a guest with less memory than it may have');
};

const refuseDisks = ({ disks }: Config): void => {
  for (const { vdev, format, script, backend_domid: from, backend_domname: name, ...rest } of disks) {
    if (!/^xvd[a-y]$/.test(vdev) || format !== 'raw' || script || from !== 0 || name)
      unsupported('a guest with other disks than raw ones of dom0, with names like xvda');
    for (const kind of ['is_cdrom', 'removable', 'direct_io_safe']) if (rest[kind]) unsupported(`a disk with ${kind}`);
    if (rest.readwrite !== 0 && rest.discard_enable === 'False') unsupported('a disk without discard');
  }
};

/** Beside what is written again: what Xen sets by itself, and a model, which only emulated ones have. */
const NIC_SETTINGS = ['mac', 'mtu', 'bridge', 'script', 'devid', 'nictype', 'model'] as const;

const refuseNics = (config: Config, ports: readonly Nic[]): void => {
  for (const { trusted, ...nic } of config.nics) {
    if (!nic.bridge || !/^(.*\/)?vif-bridge$|^$/.test(nic.script)) unsupported('a guest with interfaces on no bridge');
    for (const kind of others(nic, ...NIC_SETTINGS)) unsupported(`a guest whose interfaces have ${kind}`);
    if (trusted === 'False') unsupported('a guest whose interfaces trust no backend');
    const port = ports.find(({ mac }) => mac === nic.mac.toLowerCase());
    if (![0, DEFAULT_MTU, port?.mtu].includes(nic.mtu)) unsupported(`an interface with an MTU of ${nic.mtu} here`);
  }
};

/**
 * @throws HypervisorError `unsupported` for what it would be without when it is started the next time. Not for limits of
 * grants and event channels, placement on NUMA nodes and claims of memory, which are Xen's own from then on
 */
const typeOf = (config: Config, ports: readonly Nic[]): DomainType => {
  const { b_info: built, c_info: made, disks, nics, ...rest } = config;
  const type = z.enum(['pv', 'pvh']).safeParse(made.type).data ?? unsupported(`a guest of type ${made.type}`);
  for (const [kind, value] of Object.entries(rest))
    if (Array.isArray(value) && value.length > 0) unsupported(`a guest with ${kind}`);
  refuseSettings(config);
  refuseDisks(config);
  refuseNics(config, ports);
  if (built.bootloader ? !/(^|\/)pygrub$/.test(built.bootloader) || built.bootloader_args.length > 0 : !built.kernel)
    unsupported('a guest with another boot loader than pygrub');
  return type;
};

/** What it is from now on. */
const definitionOf = (
  { domain, config }: Stranger,
  mark: GuestMark,
  nics: readonly Nic[],
  sizes: readonly number[],
): Definition => {
  const { b_info: built, disks } = config;
  const type = typeOf(config, nics);
  const root = disks.findIndex(({ vdev }) => vdev === 'xvda');
  if (root < 0) return unsupported('a guest without a disk xvda');
  if (!sizes[root]) throw new HypervisorError('fault', 'the disk xvda cannot be read');
  for (const nic of nics) {
    const own = config.nics.find(({ mac }) => mac.toLowerCase() === nic.mac);
    if (!own) throw new HypervisorError('fault', 'the guest has no network interface with that MAC address');
    if (own.bridge !== nic.bridge) throw new HypervisorError('fault', 'the interface is on another network');
    // The filter knows devices by names that only the driver gives.
    if (nic.guard) unsupported('an interface with port security');
  }
  const direct = built.bootloader ? null : built;
  const files = {
    [LINKS.root]: disks[root]!.pdev_path,
    ...(direct ? { [LINKS.kernel]: direct.kernel } : {}),
    ...(direct?.ramdisk ? { [LINKS.ramdisk]: direct.ramdisk } : {}),
  };
  const strange = config.nics.filter(({ mac }) => nics.every((nic) => nic.mac !== mac.toLowerCase()));
  return {
    ...mark,
    ...{ stage: 'settled', type, ephemeral: null, swap: null, config: null, rescue: null, before: null },
    ...{ rebuilding: null, shared: null },
    size: {
      vcpus: built.max_vcpus,
      memory: memoryOf(config),
      disk: Math.ceil(sizes[root] / GIB),
    },
    boot: {
      root: LINKS.root,
      kernel: direct ? LINKS.kernel : null,
      ramdisk: direct?.ramdisk ? LINKS.ramdisk : null,
      commandLine: direct?.cmdline ?? '',
    },
    nics: [...nics],
    disks: disks
      .filter((_, i) => i !== root)
      .map(({ vdev, pdev_path: path, readwrite }) => ({
        ...{ diskId: `adopted-${vdev}`, path, device: vdev, readOnly: readwrite === 0 },
      })),
    adopted: {
      ...{ uuid: domain.uuid, name: domain.name, files },
      nics: strange.map(({ mac, bridge }) => `mac=${mac},bridge=${bridge}`),
    },
  };
};

/** It goes on as it is; what it is started with from now on is made of what it was started with. */
export const adopt = async (
  guests: Guests,
  nativeId: string,
  mark: GuestMark,
  nics: readonly Nic[],
): Promise<Guest> => {
  const { serverId: id } = mark;
  const known = await guests.findOrNothing(id);
  if (known) {
    if (known.definition.adopted?.uuid === nativeId && known.definition.attempt === mark.attempt) return known;
    throw new HypervisorError('fault', 'another guest stands for this server');
  }
  const found = (await strangers(guests)).find(({ domain }) => domain.uuid === nativeId);
  if (!found) throw new HypervisorError('fault', 'there is no such guest to adopt');
  const definition = definitionOf(found, mark, nics, await sizesOf(guests, found.config));
  // What could not be started again is refused before it is ours.
  guests.config(definition);
  const { uuid, name, files } = definition.adopted!;
  const args = [JSON.stringify(definition), uuid, name, ...Object.entries(files).flat()];
  const said = (await guests.call(id, ADOPT, args)).trim();
  if (said === 'taken') throw new HypervisorError('fault', `something that is not ours has the place of server ${id}`);
  if (said === 'gone') throw new HypervisorError('fault', 'there is no such guest to adopt');
  return guests.get(id);
};

export const release = async (guests: Guests, id: ServerId): Promise<void> => {
  const guest = await guests.findOrNothing(id);
  if (!guest) return;
  const { adopted, boot, stage } = guest.definition;
  if (!adopted) throw new HypervisorError('fault', 'the guest was not adopted');
  // A domain of Xen is there as long as it runs.
  if (!isOn(guest)) throw new HypervisorError('fault', 'a guest that is off would be lost: start it first');
  if (stage !== 'settled' || boot.root !== LINKS.root)
    throw new HypervisorError('fault', 'the guest has a disk by now that is not its own');
  const cutOff = guest.definition.nics.filter(({ guard }) => guard?.cutOff).map(asPlugged);
  await guests.call(id, RELEASE, [cutOff.join(' ')]);
};
