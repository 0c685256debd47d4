#!/usr/bin/env node
/**
 * npm run lab:kernel -- [--cache FOLDER] [SPEC…]
 *
 * Debian's own kernel, in QEMU without hardware virtualisation: runs specs there, as root, for which the kernel of this
 * machine may lack parts, such as VLAN devices.
 *
 *   --cache  where the machine's parts are kept (.omnivisor-lab in the repository)
 *   SPEC     files of specs; those of networks, when none is named
 *
 * Needs Debian 12 or its like on x86-64, root for the first run, 2 GiB of memory and 1 GiB of disk.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { argumentsOf, askedWrongly } from '../arguments.mjs';
import { install, missing, packagesOf } from '../services/debian.mjs';
import { Refused } from '../services/process.mjs';
import { debianRoot, keptParts, must, VIRTIO_RAMDISK } from './parts.mjs';
import { LAB_NEEDS } from './xen/needs.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const init = join(root, 'tools/lab/kernel/init');
const NETWORKS = ['linux-network', 'physical-network', 'ipv6-network'].map(
  (name) => `apps/compute-agent/src/network/linux/${name}.e2e.spec.ts`,
);
/** What our networks are made with, and what Node needs. */
const PACKAGES = [
  ...['linux-image-amd64', 'kmod', 'iproute2', 'nftables', 'dnsmasq-base', 'busybox', 'curl', 'util-linux', 'procps'],
  ...['libstdc++6', 'libatomic1'],
];
const LIMIT = 3_600_000;

const { values, positionals } = argumentsOf(import.meta.url, {
  allowPositionals: true,
  options: { cache: { type: 'string' } },
});
const specs = positionals.length > 0 ? positionals : NETWORKS;
const unknown = specs.filter((spec) => !existsSync(join(root, spec)));
if (unknown.length > 0) askedWrongly(import.meta.url, `there is no ${unknown.join(', ')}`);
const say = (text) => console.error(text);

/** Makes a machine's parts of a root file system: $1 the root, $2 where they go. */
const PACK = `
set -eu
root=$1 lab=$2
${VIRTIO_RAMDISK}
install -m755 ${JSON.stringify(init)} "$root/sbin/lab-init"
install -m755 ${JSON.stringify(realpathSync(process.execPath))} "$root/usr/bin/node"
cp "$root"/boot/vmlinuz-* "$lab/vmlinuz"
cp "$root"/boot/initrd.img-* "$lab/initrd.img"
truncate -s 2G "$lab/root.ext4"
mke2fs -q -F -t ext4 -O ^has_journal -m 0 -d "$root" "$lab/root.ext4"
`;
const build = async (folder) => {
  const tree = join(folder, 'root');
  await debianRoot(tree, PACKAGES);
  await must('sh', ['-c', PACK, 'pack', tree, folder]);
  rmSync(tree, { recursive: true });
};
const recipe = () => {
  const hash = createHash('sha256').update(process.version);
  for (const file of [fileURLToPath(import.meta.url), init, join(root, 'tools/lab/parts.mjs')])
    hash.update(readFileSync(file));
  return hash.digest('hex').slice(0, 16);
};

/** @returns {Promise<number>} exit code of the specs */
const boot = (folder) =>
  new Promise((done, fail) => {
    const linux = `root=/dev/vda rw console=ttyS0 init=/sbin/lab-init mitigations=off quiet loglevel=4 -- ${specs.join(' ')}`;
    const child = spawn(
      'qemu-system-x86_64',
      [
        ...['-accel', 'tcg,thread=multi,tb-size=512', '-M', 'pc', '-cpu', 'max'],
        ...['-m', '2048', '-smp', '2', '-nic', 'none'],
        ...['-nodefaults', '-no-user-config', '-display', 'none', '-serial', 'stdio', '-no-reboot'],
        ...['-kernel', join(folder, 'vmlinuz'), '-initrd', join(folder, 'initrd.img'), '-append', linux],
        ...['-drive', `file=${join(folder, 'root.ext4')},format=raw,if=virtio,snapshot=on,cache=unsafe`],
        ...['-virtfs', `local,path=${root},mount_tag=repository,security_model=none,readonly=on`],
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => child.kill());
    const limit = setTimeout(() => child.kill(), LIMIT);
    let code;
    createInterface({ input: child.stdout }).on('line', (line) => {
      console.log(line);
      const [, ended] = /^lab: ended with (\d+)/.exec(line) ?? [];
      if (ended !== undefined) code = Number(ended);
    });
    child.once('error', fail).once('close', () => {
      clearTimeout(limit);
      if (code === undefined) fail(new Refused('the machine ended before its specs did'));
      else done(code);
    });
  });

try {
  await install(packagesOf(missing(LAB_NEEDS)), say);
  const cache = resolve(values.cache ?? join(root, '.omnivisor-lab'));
  process.exitCode = await boot(await keptParts({ cache, name: 'kernel', recipe: recipe() }, build, say));
} catch (error) {
  if (!(error instanceof Refused)) throw error;
  say(error.message);
  process.exitCode = 1;
}
