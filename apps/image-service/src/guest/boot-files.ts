import type { FileTree } from './fs/volume.js';
import { KERNEL_HEAD, type KernelFacts, kernelFacts } from './kernel.js';

/** A kernel and the initial RAM disk that goes with it. */
export interface BootFiles {
  readonly tree: FileTree;
  readonly kernel: string;
  readonly initramfs: string | null;
  /** Its release, as far as the file's name says. */
  readonly release: string | null;
  /** What the kernel says of itself; null for what is none. */
  readonly facts: KernelFacts | null;
}
type Candidate = Omit<BootFiles, 'facts'>;

/** Kernels of one guest that are looked into; and how many are ranked before that: no guest has more. */
const MAX_KERNELS = 32;
const MAX_FOUND = 256;

const FOLDERS = ['/boot', '/'];
const KERNEL = /^(?:vmlinu[xz]|bzImage|kernel)(?:-(.+))?$/;
const LEFT_OUT = /rescue|\.old$|\.bak$|\.efi\.signed$/;

/** Compares releases as people do: 6.10 is newer than 6.9. */
const newer = new Intl.Collator('en', { numeric: true }).compare;

const initramfsNames = (release: string | null): string[] =>
  release === null
    ? ['initrd.img', 'initrd', 'initramfs.img', 'initramfs']
    : [
        ...[`initrd.img-${release}`, `initrd-${release}`, `initrd-${release}.img`],
        ...[`initramfs-${release}.img`, `initramfs-${release}`],
      ];

/**
 * The newest kernel of a disk: the one that a boot loader starts unless it was told otherwise. One that starts anywhere
 * goes before those that start on Xen only, which are often the unpacked file of the same kernel.
 */
export const findBootFiles = async (trees: readonly FileTree[]): Promise<BootFiles | null> => {
  const found: Candidate[] = [];
  for (const tree of trees) {
    const seen = new Set<number>();
    for (const folder of FOLDERS) {
      const node = await tree.find(folder);
      // In a file system for /boot alone it may be a link to the folder it is in.
      if (!node || seen.has(node.id)) continue;
      seen.add(node.id);
      const names = new Set(await tree.names(folder));
      for (const name of names) {
        const match = KERNEL.exec(name);
        if (!match || LEFT_OUT.test(name)) continue;
        if (found.length >= MAX_FOUND) break;
        const release = match[1] ?? null;
        const initramfs = initramfsNames(release).find((n) => names.has(n)) ?? null;
        const path = (file: string) => `${folder === '/' ? '' : folder}/${file}`;
        found.push({ tree, kernel: path(name), initramfs: initramfs && path(initramfs), release });
      }
    }
  }
  // A name without a release is usually a link to one with it.
  found.sort((a, b) => newer(b.release ?? '', a.release ?? ''));
  const ranked = [...found.filter((f) => f.initramfs !== null), ...found.filter((f) => f.initramfs === null)];
  let best: BootFiles | null = null;
  for (const one of ranked.slice(0, MAX_KERNELS)) {
    const facts = kernelFacts((await one.tree.read(one.kernel, KERNEL_HEAD)) ?? Buffer.alloc(0));
    if (facts?.boot === 'any') return { ...one, facts };
    if (best === null || (best.facts === null && facts !== null)) best = { ...one, facts };
  }
  return best;
};
