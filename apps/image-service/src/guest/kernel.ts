import { gunzipSync } from 'node:zlib';

export interface KernelFacts {
  /** `uname -r`; null when the file does not say. */
  readonly release: string | null;
  readonly boot: 'any' | 'xen';
}

/** As much of a kernel's file as has to be read. */
export const KERNEL_HEAD = 64 * 1024;

const isElf = (b: Buffer) => b.toString('latin1', 0, 4) === '\x7fELF';

/** The first bytes of what gzip packed; null when they cannot be had. */
const unpackedHead = (head: Buffer): Buffer | null => {
  try {
    return gunzipSync(head, {
      finishFlush: 2 /* Z_SYNC_FLUSH: the rest is not here */,
      maxOutputLength: 16 * 1024 * 1024,
    });
  } catch {
    return null;
  }
};

/**
 * What the first bytes of a kernel's file say. A bzImage starts on anything that looks like a PC, Xen included. A bare
 * ELF file, packed or not, has no way in for a PC: that is how kernels were shipped that are paravirtual and start on Xen
 * only.
 * @returns null when it is no kernel for x86
 */
export const kernelFacts = (head: Buffer): KernelFacts | null => {
  if (head.length >= 0x210 && head.toString('latin1', 0x202, 0x206) === 'HdrS') {
    const at = head.readUInt16LE(0x20e) + 0x200;
    const end = head.indexOf(0, at);
    const text = at > 0x200 && end > at && end - at < 256 ? head.toString('latin1', at, end) : '';
    return { release: /^[\w.+~-]{1,64}/.exec(text)?.[0] ?? null, boot: 'any' };
  }
  if (isElf(head)) return { release: null, boot: 'xen' };
  const unpacked = head[0] === 0x1f && head[1] === 0x8b ? unpackedHead(head) : null;
  return unpacked && isElf(unpacked) ? { release: null, boot: 'xen' } : null;
};

/** True for a PE file that carries a signature: a loader for secure boot. */
export const isSignedPe = (head: Buffer): boolean => {
  if (head.length < 0x40 || head.toString('latin1', 0, 2) !== 'MZ') return false;
  const at = head.readUInt32LE(0x3c);
  if (at + 24 + 112 + 40 > head.length || head.toString('latin1', at, at + 4) !== 'PE\0\0') return false;
  const magic = head.readUInt16LE(at + 24);
  const directories = at + 24 + (magic === 0x20b ? 112 : 96);
  return head.readUInt32LE(directories + 4 * 8 + 4) > 0;
};
