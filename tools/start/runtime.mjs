import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { run } from '../services/process.mjs';
import { reachablePlace } from './home.mjs';
import { ROOT } from './options.mjs';

/** Folders of node_modules that a service may need: those that package-lock.json does not keep for development. */
const runtimePackages = () => {
  const { packages } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8'));
  return Object.entries(packages)
    .filter(
      ([path, p]) =>
        path.startsWith('node_modules/') && !p.link && !p.dev && !p.devOptional && existsSync(join(ROOT, path)),
    )
    .map(([path]) => path)
    .filter((path, _, all) => !all.some((other) => path.startsWith(`${other}/node_modules/`)));
};

/** A tree that everybody may read, whatever the umask of the clone was. `share`: hard links where that goes. */
const copy = (from, to, { share }) => {
  mkdirSync(to, { recursive: true });
  chmodSync(to, 0o755);
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) copy(source, target, { share });
    else if (entry.isSymbolicLink()) symlinkSync(readlinkSync(source), target);
    else copyOpen(source, target, share);
  }
};

const copyOpen = (source, target, share = false) => {
  const { mode } = statSync(source);
  const open = (mode & 0o777) | 0o444 | (mode & 0o100 ? 0o111 : 0);
  if (share && open === (mode & 0o777))
    try {
      return linkSync(source, target);
    } catch {
      // Another file system: a copy then.
    }
  copyFileSync(source, target);
  chmodSync(target, open);
};

const workspaces = () =>
  ['apps', 'libs']
    .flatMap((top) => readdirSync(join(ROOT, top)).map((name) => `${top}/${name}`))
    .filter((p) => existsSync(join(ROOT, p, 'dist')));

/** Folders of an app or a library that run: its program, and the files that it serves. */
const runtimeFolders = (path) =>
  ['dist', 'assets'].map((name) => join(path, name)).filter((p) => existsSync(join(ROOT, p)));

const filesOf = (folder) =>
  readdirSync(folder, { withFileTypes: true }).flatMap((e) =>
    e.isDirectory() ? filesOf(join(folder, e.name)) : [join(folder, e.name)],
  );

const sha256 = (text) => createHash('sha256').update(text).digest('hex');

/** One word for the packages, one for the build: a part whose word is the same is there already. */
const words = () => {
  const built = workspaces().flatMap((path) => [
    ...runtimeFolders(path).flatMap((folder) => filesOf(join(ROOT, folder))),
    join(ROOT, path, 'package.json'),
  ]);
  const stats = built.map((file) => [file, statSync(file).size, statSync(file).mtimeMs]);
  return { packages: sha256(readFileSync(join(ROOT, 'package-lock.json'))), build: sha256(JSON.stringify(stats)) };
};

/** @returns {{ packages?: string, build?: string }} */
const readWords = (file) => {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return {};
  }
};

const place = (to) => {
  const fresh = `${to}.new`;
  rmSync(fresh, { recursive: true, force: true });
  const wanted = words();
  const here = existsSync(join(to, 'node_modules')) ? readWords(join(to, 'words')) : {};
  if (here.packages === wanted.packages && here.build === wanted.build) return;
  for (const path of workspaces()) {
    for (const folder of runtimeFolders(path)) copy(join(ROOT, folder), join(fresh, folder), { share: false });
    copyOpen(join(ROOT, path, 'package.json'), join(fresh, path, 'package.json'));
  }
  copyOpen(join(ROOT, 'package.json'), join(fresh, 'package.json'));
  if (here.packages === wanted.packages) renameSync(join(to, 'node_modules'), join(fresh, 'node_modules'));
  else {
    for (const path of runtimePackages()) copy(join(ROOT, path), join(fresh, path), { share: true });
    mkdirSync(join(fresh, 'node_modules', '@omnivisor'), { recursive: true });
    for (const path of workspaces())
      symlinkSync(`../../${path}`, join(fresh, 'node_modules', '@omnivisor', basename(path)));
  }
  writeFileSync(join(fresh, 'words'), JSON.stringify(wanted));
  rmSync(to, { recursive: true, force: true });
  renameSync(fresh, to);
};

/** @param {string} command @param {readonly string[]} args */
const works = (command, args, user) =>
  run(command, args, { user, cwd: '/' }).then(
    ({ code }) => code === 0,
    () => false,
  );

const runs = (node, user) => works(node, ['--version'], user);

/** Whether a user gets at the program where it is: the folders above may be closed, or the files by a umask. */
const reads = (user) => {
  const some = [
    'apps/api-gateway/dist/main.js',
    'libs/contracts/dist/index.js',
    'package.json',
    'node_modules/zod/package.json',
  ];
  const test = 'for file; do test -r "$file" || exit 1; done';
  return works('/bin/sh', ['-c', test, 'sh', ...some.map((file) => join(ROOT, file))], user);
};

/**
 * Where the services' user finds the program: the clone itself, or a copy under /var/lib when that user cannot pass the
 * folders above the clone.
 * @param {import('./home.mjs').User | undefined} user
 * @returns {Promise<{ root: string, node: string }>}
 */
export const runtime = async (user) => {
  if (!user) return { root: ROOT, node: process.execPath };
  let root = ROOT;
  const elsewhere = reachablePlace(ROOT);
  const prepare = () => {
    mkdirSync(elsewhere, { recursive: true });
    chmodSync(dirname(elsewhere), 0o755);
    chmodSync(elsewhere, 0o755);
  };
  if (!(await reads(user))) {
    prepare();
    root = join(elsewhere, 'runtime');
    place(root);
  }
  if (await runs(process.execPath, user)) return { root, node: process.execPath };
  prepare();
  const node = join(elsewhere, 'node');
  cpSync(process.execPath, `${node}.new`);
  chmodSync(`${node}.new`, 0o755);
  renameSync(`${node}.new`, node);
  if (!(await runs(node, user))) throw new Error(`${process.execPath} does not run as uid ${user.uid}, nor as a copy`);
  return { root, node };
};
