import type { GuestFacts } from '@omnivisor/contracts';
import { Unreadable } from '../disk.js';
import { NtfsVolume } from '../fs/ntfs.js';
import type { FileTree } from '../fs/volume.js';
import { Hive, type Key } from './hive.js';

const FOLDER = '/Windows';
const CONFIG = `${FOLDER}/System32/config`;
const STORE = `${FOLDER}/System32/DriverStore/FileRepository`;
const START = { boot: 0, disabled: 4 } as const;
const FIRST_WINDOWS_11 = 22_000;

/** Services of drivers that decide where a guest can start, mostly by the names that they are known by. */
const DRIVERS: Readonly<Record<string, string>> = {
  ...{ viostor: 'viostor', vioscsi: 'vioscsi', netkvm: 'netkvm', balloon: 'balloon' },
  ...{ pvscsi: 'pvscsi', vmxnet3ndis5: 'vmxnet3', vmxnet3ndis6: 'vmxnet3' },
  ...{ lsi_sas: 'lsi_sas', lsi_sas2: 'lsi_sas2', lsi_sas2i: 'lsi_sas2i', lsi_sas3i: 'lsi_sas3i', lsi_scsi: 'lsi_scsi' },
  ...{ atapi: 'atapi', intelide: 'intelide', msahci: 'msahci', storahci: 'storahci', stornvme: 'stornvme' },
  ...{ xenbus: 'xenbus', xenvbd: 'xenvbd', xenvif: 'xenvif', xennet: 'xennet' },
  ...{ vmbus: 'vmbus', storvsc: 'storvsc', netvsc: 'netvsc' },
  ...{ e1g60: 'e1000', e1iexpress: 'e1000e', e1i63x64: 'e1000e', e1i65x64: 'e1000e', e1i68x64: 'e1000e' },
};

/** Packages of drivers: what is in the store is installed when its device is first seen, which is too late for the disk. */
const PACKAGES: Readonly<Record<string, string>> = {
  ...{
    viostor: 'viostor',
    vioscsi: 'vioscsi',
    netkvm: 'netkvm',
    balloon: 'balloon',
    pvscsi: 'pvscsi',
    vmxnet3: 'vmxnet3',
  },
  ...{ xenbus: 'xenbus', xenvbd: 'xenvbd', xenvif: 'xenvif', xennet: 'xennet' },
  ...{ netvsc: 'netvsc', wnetvsc: 'netvsc', wstorvsc: 'storvsc', wvmbus: 'vmbus' },
  ...{ nete1g3e: 'e1000', net1ic64: 'e1000e' },
};

const AGENTS: Readonly<Record<string, string>> = {
  ...{ 'qemu-ga': 'qemu-guest-agent', vmtools: 'vmware-tools', 'cloudbase-init': 'cloudbase-init' },
  ...{ xensvc: 'xenserver-agent', xenagent: 'xenserver-agent' },
};

type Found = Pick<GuestFacts, 'windows' | 'bootDrivers' | 'otherDrivers' | 'agents' | 'unknown'>;

/** What is found of a Windows on the disk; undefined where there is none. */
export const inspectWindows = async (trees: readonly FileTree[]): Promise<Found | undefined> => {
  for (const tree of trees) {
    const { volume } = tree;
    if (!(volume instanceof NtfsVolume)) continue;
    const system = await hiveAt(tree, volume, 'SYSTEM');
    if (system) return lookAt(tree, volume, system);
  }
  return undefined;
};

/** True for a disk whose first sector finds what starts a Windows. */
export const hasBootManager = async (trees: readonly FileTree[]): Promise<boolean> => {
  for (const tree of trees) if (await tree.exists('/bootmgr')) return true;
  return false;
};

const hiveAt = async (tree: FileTree, volume: NtfsVolume, name: string): Promise<Hive | undefined> => {
  const node = await tree.find(`${CONFIG}/${name}`);
  return node?.kind === 'file' ? Hive.open(await volume.open(node)) : undefined;
};

const lookAt = async (tree: FileTree, volume: NtfsVolume, system: Hive): Promise<Found> => {
  const { boot, other, agents } = await servicesIn(system, tree);
  for (const name of await tree.names(STORE)) {
    const driver = driverBy(PACKAGES, /^([^.]{1,32})\.inf_/.exec(name)?.[1]);
    if (driver !== undefined) other.add(driver);
  }
  let unknown: string | null = null;
  let product: { product: string | null; build: string | null } = { product: null, build: null };
  try {
    product = await productOf(await hiveAt(tree, volume, 'SOFTWARE'));
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    // Its drivers are known all the same.
    unknown = error.message;
  }
  return {
    windows: { ...product, left: await leftAs(tree, volume) },
    bootDrivers: [...boot].sort(),
    otherDrivers: [...other].filter((driver) => !boot.has(driver)).sort(),
    ...{ agents: [...agents].sort(), unknown },
  };
};

const leftAs = async (tree: FileTree, volume: NtfsVolume): Promise<'clean' | 'hibernated' | 'dirty'> => {
  const head = await tree.read('/hiberfil.sys', 4);
  if (head && /^hibr$/i.test(head.toString('latin1'))) return 'hibernated';
  return (await volume.isDirty()) ? 'dirty' : 'clean';
};

const plain = (text: string): string => text.replace(/[^\w .()+-]/g, '').slice(0, 64);

const productOf = async (software: Hive | undefined): Promise<{ product: string | null; build: string | null }> => {
  const key = await software?.key(['Microsoft', 'Windows NT', 'CurrentVersion']);
  if (!software || !key) return { product: null, build: null };
  // That of Windows XP is another text in CurrentBuild.
  const build = (await software.text(key, 'CurrentBuildNumber')) ?? (await software.text(key, 'CurrentBuild')) ?? null;
  const name = await software.text(key, 'ProductName');
  // Windows 11 goes on to call itself by the name of the one before.
  const product = Number(build) >= FIRST_WINDOWS_11 ? name?.replace(/^Windows 10\b/, 'Windows 11') : name;
  return { product: product === undefined ? null : plain(product), build: build === null ? null : plain(build) };
};

const driverBy = (table: Readonly<Record<string, string>>, name: string | undefined): string | undefined => {
  const key = name?.toLowerCase() ?? '';
  return Object.hasOwn(table, key) ? table[key] : undefined;
};

/**
 * Services of the control set that starts. Those that Windows puts off by a `StartOverride` count as they are: it goes by the
 * number of the machine that did not need them, and a new server is another machine.
 */
const servicesIn = async (system: Hive, tree: FileTree) => {
  const found = { boot: new Set<string>(), other: new Set<string>(), agents: new Set<string>() };
  const select = await system.key(['Select']);
  const current = select && (await system.number(select, 'Current'));
  const set = `ControlSet${String(current ?? 1).padStart(3, '0')}`;
  const services = await system.key([set, 'Services']);
  if (!services) throw new Unreadable('its registry has no services');
  const seen = new Set<string>();
  for await (const service of system.children(services)) {
    const driver = driverBy(DRIVERS, service.name);
    const agent = driverBy(AGENTS, service.name);
    if ((driver === undefined && agent === undefined) || seen.has(service.name.toLowerCase())) continue;
    seen.add(service.name.toLowerCase());
    const start = await system.number(service, 'Start');
    if (start === undefined || start >= START.disabled) continue;
    if (agent !== undefined) found.agents.add(agent);
    if (driver !== undefined && (await tree.exists(await fileOf(system, service))))
      (start === START.boot ? found.boot : found.other).add(driver);
  }
  return found;
};

/** Where a driver's file lies, which its service says in one of several ways, or not at all. */
const fileOf = async (system: Hive, service: Key): Promise<string> => {
  const told = ((await system.text(service, 'ImagePath')) ?? '').replaceAll('\\', '/');
  const path = told.replace(/^(\/SystemRoot|%SystemRoot%|\/\?\?\/\w:\/Windows|\w:\/Windows)\//i, '').slice(0, 256);
  return `${FOLDER}/${path === '' ? `System32/drivers/${service.name.slice(0, 64)}.sys` : path}`;
};
