#!/usr/bin/env node
/**
 * node tools/image/image.mjs [--out FILE] [--cache DIR]: builds the test image, or finds the one that was built before
 *
 * Prints the path of the qcow2. Progress goes to stderr. Needs Debian 12 or its like on x86-64; as root it installs what is
 * missing, otherwise it says what to install.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, linkSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { argumentsOf } from '../arguments.mjs';
import { install, missing, packagesOf } from '../services/debian.mjs';
import { Refused } from '../services/process.mjs';
import { IMAGE_NEEDS, whyNoImage } from './needs.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const isRoot = process.getuid() === 0;

/** Packages that are taken apart and never installed: what starts the kernel, the shell, the guest agent and its libraries. */
const UNPACKED = [
  ...['shim-signed', 'grub-efi-amd64-signed', 'busybox-static'],
  ...['qemu-guest-agent', 'libglib2.0-0', 'libpcre2-8-0', 'libnuma1', 'liburing2', 'libudev1'],
];

const { values: options } = argumentsOf(import.meta.url, {
  options: { out: { type: 'string' }, cache: { type: 'string' } },
});
const home = process.env.OMNIVISOR_HOME ?? resolve(here, '../../.omnivisor');
const cache = resolve(options.cache ?? join(home, 'cache', 'image'));
const env = {
  ...process.env,
  LC_ALL: 'C',
  DEBIAN_FRONTEND: 'noninteractive',
  PATH: `${process.env.PATH}:/usr/sbin:/sbin`,
};

const say = (text) => process.stderr.write(`${text}\n`);
const read = (command, ...args) =>
  execFileSync(command, args, { encoding: 'utf8', env, stdio: ['ignore', 'pipe', 'pipe'] });
const run = (command, args, cwd) => {
  const { status, stderr, error } = spawnSync(command, args, {
    cwd,
    env,
    encoding: 'utf8',
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  if (status !== 0)
    throw new Refused(`${command} ${args[0]} failed: ${(error?.message ?? stderr).trim().slice(-2000)}`);
};

const installTools = async () => {
  const packages = packagesOf(missing(IMAGE_NEEDS));
  if (packages.length > 0 && !isRoot) throw new Refused(`to build the test image, install: ${packages.join(' ')}`);
  await install(packages, say);
};

/** The kernel that carries Debian's signature, as secure boot demands; the meta package names the newest. */
const kernelPackage = () => {
  const find = () =>
    /Depends: (linux-image-\S+-cloud-amd64)$/m.exec(read('apt-cache', 'depends', 'linux-image-cloud-amd64'))?.[1];
  try {
    return find() ?? '';
  } catch {
    return '';
  }
};

const candidate = (name) => /Candidate: (\S+)/.exec(read('apt-cache', 'policy', name))?.[1] ?? 'none';

/** All that the image is made of, in one word: the same word, the same image. */
const recipe = (packages) => {
  const hash = createHash('sha256');
  const files = readdirSync(here, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  for (const path of files.map((entry) => join(entry.parentPath ?? entry.path, entry.name)).sort())
    if (!path.endsWith('.spec.ts'))
      hash.update(relative(here, path)).update('\0').update(readFileSync(path)).update('\0');
  for (const [name, version] of packages) hash.update(`${name}=${version}\n`);
  return hash.digest('hex').slice(0, 16);
};

const download = (packages) => {
  const dir = join(cache, 'packages');
  mkdirSync(dir, { recursive: true });
  const wanted = packages.map(([name, version]) => `${name}_${version.replaceAll(':', '%3a')}_amd64.deb`);
  for (const file of readdirSync(dir)) if (!wanted.includes(file)) rmSync(join(dir, file));
  packages.forEach(([name, version], i) => {
    if (existsSync(join(dir, wanted[i]))) return;
    say(`downloading ${name} ${version}`);
    run('apt-get', ['download', '-q', `${name}=${version}`], dir);
  });
  return dir;
};

/** The files in the image have to belong to root, whoever builds it. */
const asRoot = () => {
  if (isRoot) return [];
  if (existsSync('/usr/bin/fakeroot')) return ['fakeroot'];
  if (spawnSync('unshare', ['-r', 'true']).status === 0) return ['unshare', '-r'];
  throw new Refused('to build the test image without being root, install: fakeroot');
};

const place = (built, out) => {
  if (!out) return built;
  const path = resolve(out);
  mkdirSync(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}`;
  try {
    linkSync(built, temporary);
  } catch {
    copyFileSync(built, temporary);
  }
  renameSync(temporary, path);
  return path;
};

/** Name and version of what the image is made of, as the package lists have it. */
const ingredients = () => {
  const kernel = kernelPackage();
  if (!kernel) throw new Refused('the package linux-image-cloud-amd64 is not known here: run apt-get update as root');
  return [kernel, ...UNPACKED].map((name) => [name, candidate(name)]);
};

const imageOf = (packages) => {
  const built = join(cache, `omnivisor-test-${recipe(packages)}.qcow2`);
  if (existsSync(built)) return built;
  const dir = download(packages);
  say(`building the test image with ${packages[0][0]}`);
  const [command, ...args] = [...asRoot(), 'bash', join(here, 'build.sh'), built, dir];
  run(command, args);
  for (const file of readdirSync(cache))
    if (file.startsWith('omnivisor-test-') && join(cache, file) !== built) rmSync(join(cache, file));
  return built;
};

const build = async () => {
  const reason = whyNoImage();
  if (reason) throw new Refused(reason);
  await installTools();
  try {
    return place(imageOf(ingredients()), options.out);
  } catch (error) {
    // Old package lists name versions that the mirror no longer has, and none names nothing.
    if (!isRoot || !(error instanceof Refused)) throw error;
    run('apt-get', ['update', '-q']);
    return place(imageOf(ingredients()), options.out);
  }
};

/** Two at once would download into the same folder, so one waits for the other. */
const alone = async (action) => {
  const lock = join(cache, 'lock');
  if (process.env.OMNIVISOR_IMAGE_LOCK === lock) return action();
  mkdirSync(cache, { recursive: true });
  const { status } = spawnSync('flock', [lock, process.execPath, ...process.argv.slice(1)], {
    env: { ...process.env, OMNIVISOR_IMAGE_LOCK: lock },
    stdio: 'inherit',
  });
  process.exitCode = status ?? 1;
};

try {
  await alone(async () => console.log(await build()));
} catch (error) {
  if (!(error instanceof Refused)) throw error;
  say(error.message);
  process.exitCode = 1;
}
