import { execFileSync } from 'node:child_process';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '../../..');
const INIT = 'guest-init';

/**
 * What guests of the lab are made of: the test image as one raw file, the kernel inside and its ramdisk as files of their
 * own; and for the suite, which starts more than a hundred, a ramdisk that comes up sooner and a disk of one MiB.
 * @param {string} cache of the test image @param {string} folder for the rest
 */
export const guestParts = (cache, folder) => {
  const image = join(root, 'tools/image/image.mjs');
  const built = execFileSync('node', [image, '--cache', cache], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  }).trim();
  const raw = join(folder, 'test.raw');
  execFileSync('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', built, raw]);
  const take = (name) => {
    // Its boot partition begins at the first MiB.
    execFileSync('mcopy', ['-n', '-i', `${raw}@@1M`, `::/${name}`, join(folder, name)]);
    return join(folder, name);
  };
  const [kernel, ramdisk, small, disk] = [take('vmlinuz'), take('initrd.img'), 'small.img', 'disk.raw'];
  // The kernel unpacks one archive after the other.
  const more = execFileSync('cpio', ['--quiet', '-o', '-H', 'newc'], { cwd: here, input: `${INIT}\n` });
  const pad = Buffer.alloc((4 - (readFileSync(ramdisk).length % 4)) % 4);
  writeFileSync(join(folder, small), Buffer.concat([readFileSync(ramdisk), pad, more]));
  writeFileSync(join(folder, disk), '');
  truncateSync(join(folder, disk), 1 << 20);
  return { image: raw, kernel, ramdisk, small: { ramdisk: join(folder, small), disk: join(folder, disk), init: INIT } };
};
