import type { FileHandle } from 'node:fs/promises';
import { type Bytes, type ImageFormat, ms } from '@omnivisor/contracts';
import { type Sandbox, type ToolLimits, toolPath } from '../sandbox/sandbox.js';

const GIB = 1024 ** 3;
const VHD_FOOTER = 512;
/** Address space of a tool. The most that any format took was 224 MiB, of which 24 were used. */
export const TOOL_MEMORY = (512 * 1024 ** 2) as Bytes;

/** Where the disk lies within a file, when that is not all of it. */
export interface Stretch {
  readonly offset: number;
  readonly size: number;
}

/** QEMU's driver for each form that can be read, and options that leave it nothing to guess. */
const READERS: { readonly [F in ImageFormat]?: { readonly driver: string; readonly [option: string]: string } } = {
  raw: { driver: 'raw' },
  ami: { driver: 'raw' },
  qcow2: { driver: 'qcow2' },
  // Of makers it does not know, QEMU would compute the size from the geometry.
  vhd: { driver: 'vpc', force_size_calc: 'current_size' },
  'vhd-fixed': { driver: 'raw' },
  vhdx: { driver: 'vhdx' },
  vmdk: { driver: 'vmdk' },
  'vmdk-sparse': { driver: 'vmdk' },
  vdi: { driver: 'vdi' },
  ova: { driver: 'vmdk' },
  ploop: { driver: 'parallels' },
};

const WRITERS: { readonly [F in ImageFormat]?: readonly string[] } = {
  raw: ['raw'],
  qcow2: ['qcow2', 'compat=1.1'],
  // Without it the size would be rounded up to whole cylinders.
  vhd: ['vpc', 'subformat=dynamic,force_size=on'],
  vhdx: ['vhdx', 'subformat=dynamic'],
  vmdk: ['vmdk', 'subformat=streamOptimized,adapter_type=lsilogic'],
  'vmdk-sparse': ['vmdk', 'subformat=monolithicSparse,adapter_type=lsilogic'],
  vdi: ['vdi'],
};

export const canRead = (form: ImageFormat): boolean => READERS[form] !== undefined;
export const canWrite = (form: ImageFormat): boolean => WRITERS[form] !== undefined;

/**
 * The name of a file of theirs for QEMU's tools: driver and protocol both said, so that nothing is probed, and that
 * nothing lies under it, whatever it says itself.
 * @param size of the file
 */
export const sourceName = (form: ImageFormat, size: number, index: number, stretch?: Stretch): string => {
  const reader = READERS[form]!;
  const whole = { driver: 'file', filename: toolPath(index) };
  const part = form === 'vhd-fixed' ? { offset: 0, size: size - VHD_FOOTER } : stretch;
  const isRaw = reader.driver === 'raw';
  const file = part && !isRaw ? { driver: 'raw', ...part, file: whole } : whole;
  return `json:${JSON.stringify({ ...reader, ...(part && isRaw ? part : {}), backing: null, file })}`;
};

/** A minute, and then what a slow machine needs for each GiB of the disk. */
export const limitsFor = (virtualSize: number, output: number): ToolLimits => {
  const gibibytes = Math.ceil(virtualSize / GIB);
  return {
    memory: TOOL_MEMORY,
    cpu: 60 + 120 * gibibytes,
    file: output as Bytes,
    wall: ms(1_000 * (120 + 300 * gibibytes)),
  };
};

/** Room for the tables of any format, on top of all data. */
export const outputBound = (virtualSize: number): number => Math.ceil(virtualSize * 1.05) + 128 * 1024 * 1024;

/** Converts what was inspected. @throws ToolFailed */
export const convert = async (
  sandbox: Sandbox,
  source: {
    readonly handle: FileHandle;
    readonly form: ImageFormat;
    readonly size: number;
    readonly stretch?: Stretch;
    readonly virtualSize: number;
  },
  target: { readonly handle: FileHandle; readonly form: ImageFormat },
  signal?: AbortSignal,
): Promise<void> => {
  const [driver, options] = WRITERS[target.form]!;
  await sandbox.run(
    'qemu-img',
    [
      ...['convert', '-O', driver!],
      ...(options === undefined ? [] : ['-o', options]),
      ...[sourceName(source.form, source.size, 0, source.stretch), toolPath(1)],
    ],
    {
      files: [
        { handle: source.handle, write: false },
        { handle: target.handle, write: true },
      ],
      limits: limitsFor(source.virtualSize, outputBound(source.virtualSize)),
      ...(signal ? { signal } : {}),
    },
  );
};
