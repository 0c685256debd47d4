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

/** Where GRUB keeps what it was told to start; RHEL up to 8 has it beside the EFI loader. */
const GRUB_FOLDERS = ['/boot/grub2', '/grub2', '/boot/grub', '/grub'];
const GRUBENV_SIZE = 1_024;
const MAX_LOADERS = 16;

/** The entry that GRUB was told to start, by its title or the name of its file: either has the kernel's release in it. */
const savedEntry = async (trees: readonly FileTree[]): Promise<string> => {
  const loaders = async (tree: FileTree) => (await tree.names('/EFI')).slice(0, MAX_LOADERS).map((n) => `/EFI/${n}`);
  for (const foldersOf of [async () => GRUB_FOLDERS, loaders])
    for (const tree of trees)
      for (const folder of await foldersOf(tree)) {
        const saved = /^saved_entry=(.+)$/m.exec((await tree.text(`${folder}/grubenv`, GRUBENV_SIZE)) ?? '')?.[1];
        if (saved === undefined) continue;
        // It may be left from a time when GRUB's settings asked for it.
        if (/\$\{saved_entry\}/.test((await tree.text(`${folder}/grub.cfg`)) ?? '')) return saved;
      }
  return '';
};

const initramfsNames = (release: string | null): string[] =>
  release === null
    ? ['initrd.img', 'initrd', 'initramfs.img', 'initramfs']
    : [
        ...[`initrd.img-${release}`, `initrd-${release}`, `initrd-${release}.img`],
        ...[`initramfs-${release}.img`, `initramfs-${release}`],
      ];

/**
 * The kernel that the boot loader of a disk starts: the newest, unless GRUB was told otherwise. One that starts anywhere
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
  const saved = await savedEntry(trees);
  // Of releases that begin alike the longest is meant.
  const [chosen] = found
    .flatMap(({ release }) => (release !== null && saved.includes(release) ? [release] : []))
    .sort((a, b) => b.length - a.length);
  const rank = ({ release, initramfs }: Candidate) =>
    (release !== null && release === chosen ? 0 : 2) + (initramfs !== null ? 0 : 1);
  // A name without a release is usually a link to one with it.
  found.sort((a, b) => rank(a) - rank(b) || newer(b.release ?? '', a.release ?? ''));
  let best: BootFiles | null = null;
  for (const one of found.slice(0, MAX_KERNELS)) {
    const facts = kernelFacts((await one.tree.read(one.kernel, KERNEL_HEAD)) ?? Buffer.alloc(0));
    if (facts?.boot === 'any') return { ...one, facts };
    if (best === null || (best.facts === null && facts !== null)) best = { ...one, facts };
  }
  return best;
};
