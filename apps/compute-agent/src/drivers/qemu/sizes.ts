import { readFileSync } from 'node:fs';
import { wishesOf } from '@omnivisor/contracts';
import { type GuestSpec, HypervisorError } from '../hypervisor-driver.js';
import type { Size } from './definition.js';

const KIB = 1024;
const PAGES = '/sys/kernel/mm/hugepages';

/** Extra specs of Nova's `quota:` that limit processes and disks. */
const LIMITS = [
  'cpu_shares',
  'cpu_period',
  'cpu_quota',
  'disk_read_bytes_sec',
  'disk_write_bytes_sec',
  'disk_total_bytes_sec',
  'disk_read_iops_sec',
  'disk_write_iops_sec',
  'disk_total_iops_sec',
] as const;

const positive = (name: string, text: string | undefined, otherwise: number): number => {
  const number = Number(text ?? otherwise);
  if (Number.isInteger(number) && number > 0) return number;
  throw new HypervisorError('unsupported', `this host cannot serve ${name}=${text}`);
};

/**
 * vCPUs, memory and their limits, from flavor and image.
 * @throws HypervisorError `unsupported` for a topology that does not fit, or pages that the host does not have
 */
export const sizeOf = ({ image, flavor }: Pick<GuestSpec, 'image' | 'flavor'>): Size => ({
  vcpus: flavor.vcpus,
  memoryMib: flavor.memory,
  topology: topologyOf({ image, flavor }),
  hugePages: hugePagesOf({ image, flavor }),
  limits: Object.fromEntries(
    wishesOf({}, flavor.extraSpecs).flatMap(({ key, value }) => {
      const limit = LIMITS.find((name) => key === `quota:${name}`);
      return limit === undefined ? [] : [[limit, positive(key, value, 0)]];
    }),
  ),
});

/** Sockets, cores and threads as the flavor or the image wants them; what neither says is sockets, as Nova does. */
const topologyOf = ({ image, flavor }: Pick<GuestSpec, 'image' | 'flavor'>): Size['topology'] => {
  const said = (name: string) => flavor.extraSpecs[`hw:cpu_${name}`] ?? image.properties[`hw_cpu_${name}`];
  const at = (name: string, otherwise: number) => positive(`hw:cpu_${name}`, said(name), otherwise);
  const threads = at('threads', 1);
  const limit = (name: string) => said(`max_${name}`);
  const cores = said('cores')
    ? at('cores', 1)
    : limit('sockets') || said('sockets')
      ? flavor.vcpus / threads / at('sockets', positive('hw:cpu_max_sockets', limit('sockets'), 1))
      : 1;
  const sockets = flavor.vcpus / threads / cores;
  const fits = (name: string, value: number) =>
    Number.isInteger(value) && value >= 1 && value <= positive(`hw:cpu_max_${name}`, limit(name), 255);
  if (!fits('sockets', sockets) || !fits('cores', cores) || !fits('threads', threads))
    throw new HypervisorError('unsupported', `${flavor.vcpus} vCPUs cannot be laid out as the flavor or image asks`);
  if (said('sockets') && at('sockets', 1) !== sockets)
    throw new HypervisorError('unsupported', `${flavor.vcpus} vCPUs do not make ${said('sockets')} sockets`);
  return { sockets, cores, threads };
};

/** KiB of the pages that back the memory; null for the host's ordinary ones. */
const hugePagesOf = ({ image, flavor }: Pick<GuestSpec, 'image' | 'flavor'>): number | null => {
  const size = pageSizeFor(pagesWanted({ image, flavor }));
  const isLocked = wishesOf(image.properties, flavor.extraSpecs).some(({ name }) => name === 'locked_memory');
  // These are never swapped out.
  if (isLocked && size === null)
    throw new HypervisorError(
      'unsupported',
      'this host serves hw:locked_memory on large pages only (hw:mem_page_size)',
    );
  return size;
};

/** The image may choose where the flavor leaves it a choice, as with Nova. */
const pagesWanted = ({ image, flavor }: Pick<GuestSpec, 'image' | 'flavor'>): string | undefined => {
  const bought = flavor.extraSpecs['hw:mem_page_size'];
  const wished = image.properties.hw_mem_page_size;
  if (wished === undefined) return bought;
  if (bought === 'large' || bought === 'any') return wished;
  throw new HypervisorError('unsupported', `the flavor does not allow hw_mem_page_size=${wished}`);
};

const pageSizeFor = (wanted: string | undefined): number | null => {
  if (wanted === undefined || wanted === 'small' || wanted === '4' || wanted === '4KB') return null;
  const size = wanted === 'large' || wanted === 'any' ? 2048 : pageSize(wanted);
  const count = pages(size, 'nr_hugepages');
  if (count === 0 && wanted === 'any') return null;
  if (count === 0) throw new HypervisorError('unsupported', `this host has no pages of ${size} KiB (hw:mem_page_size)`);
  return size;
};

const pageSize = (text: string): number => {
  const [, number, unit = 'KB'] = /^(\d+)(KB|MB|GB)?$/.exec(text) ?? [];
  const factor = { KB: 1, MB: KIB, GB: KIB ** 2 }[unit];
  if (!number || !factor) throw new HypervisorError('unsupported', `this host cannot serve hw:mem_page_size=${text}`);
  return Number(number) * factor;
};

/** MiB of free pages of a size in KiB. */
export const freePages = (size: number): number => (pages(size, 'free_hugepages') * size) / KIB;

const pages = (size: number, file: 'nr_hugepages' | 'free_hugepages'): number => {
  try {
    return Number(readFileSync(`${PAGES}/hugepages-${size}kB/${file}`, 'utf8'));
  } catch {
    return 0;
  }
};
