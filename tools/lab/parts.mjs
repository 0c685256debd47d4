import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Refused, run } from '../services/process.mjs';

const PATIENCE = 3_600_000;

/** @param {string} command @param {readonly string[]} args @returns {Promise<string>} what it wrote @throws Refused when it failed */
export const must = async (command, args) => {
  const { code, stdout, stderr } = await run(command, args, { timeout: PATIENCE });
  if (code !== 0) throw new Refused(`${command} failed: ${stderr.trim().slice(-2000)}`);
  return stdout;
};

/** A root file system of Debian 12 with these packages and no manuals. @param {string} root @param {readonly string[]} packages */
export const debianRoot = (root, packages) => {
  const sources = ['/etc/apt/sources.list.d/debian.sources', '/etc/apt/sources.list'].find((path) => existsSync(path));
  return must('mmdebstrap', [
    ...['--quiet', '--variant=minbase', '--mode=root', `--include=${packages.join()}`],
    ...['doc', 'man', 'locale'].map((name) => `--dpkgopt=path-exclude=/usr/share/${name}/*`),
    '--aptopt=APT::Install-Recommends "false"',
    ...['bookworm', root, ...(sources ? [sources] : [])],
  ]);
};

/** Lines of a shell: the initial RAM disk of the root file system `$root` knows a virtio disk with ext4, and no other. */
export const VIRTIO_RAMDISK = `sed -i s/^MODULES=.*/MODULES=list/ "$root/etc/initramfs-tools/initramfs.conf"
printf 'virtio_pci\\nvirtio_blk\\next4\\n' >>"$root/etc/initramfs-tools/modules"
chroot "$root" update-initramfs -u -k all`;

/**
 * A folder of parts that are built once; those of the name that were built by another recipe go.
 * @param {{ cache: string, name: string, recipe: string }} of the same recipe, the same parts, but for the versions that
 *   the mirror has today
 * @param {(folder: string) => Promise<void>} build as root
 * @param {(line: string) => void} say
 * @returns {Promise<string>}
 * @throws Refused
 */
export const keptParts = async ({ cache, name, recipe }, build, say) => {
  const folder = join(cache, `${name}-${recipe}`);
  if (existsSync(folder)) return folder;
  if (process.getuid?.() !== 0) throw new Refused(`the first run builds a ${name}, which needs root`);
  const half = `${folder}.${process.pid}`;
  mkdirSync(half, { recursive: true });
  try {
    say(`building ${name} in ${folder}: some minutes`);
    await build(half);
    for (const file of readdirSync(cache))
      if (file.startsWith(`${name}-`) && join(cache, file) !== half) rmSync(join(cache, file), { recursive: true });
    renameSync(half, folder);
    return folder;
  } catch (error) {
    rmSync(half, { recursive: true, force: true });
    throw error;
  }
};
