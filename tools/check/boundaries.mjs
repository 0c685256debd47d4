#!/usr/bin/env node
/**
 * node tools/check/boundaries.mjs [FOLDER]: who may import whom, as far as the compiler cannot see it
 * (docs/architecture.md, "Imports point one way"). Prints each violation as `file:line: what`, and exits with 1 when there
 * is one.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { argumentsOf } from '../arguments.mjs';

const isSpec = (file) => /\.(spec|fixtures)\.ts$/.test(file) || /(^|\/)(testing|conformance)(\/|\.ts$)/.test(file);

/** Comments out, strings kept, line numbers kept. */
const withoutComments = (text) =>
  text.replace(
    /\/\*[\s\S]*?\*\/|(^|[\s;{}(,])\/\/[^\n]*/g,
    (match, before = '') => before + match.replace(/[^\n]/g, ''),
  );

const IMPORT =
  /(?:^|\n)[ \t]*(?:import|export)\s+(type\s+)?([^'";]*?)\s*from\s*'([^']+)'|(?:^|\n)[ \t]*import\s*'([^']+)'|\bimport\(\s*'([^']+)'/g;

/** @returns {{ from: string, line: number, typeOnly: boolean, names: string[] }[]} */
export const importsOf = (text) =>
  [...text.matchAll(IMPORT)].map((m) => ({
    from: m[3] ?? m[4] ?? m[5],
    line: text.slice(0, m.index + m[0].length).split('\n').length,
    typeOnly: m[1] !== undefined || ((m[2] ?? '').replace(/[{}\s]/g, '') !== '' && allTypes(m[2])),
    names: (m[2] ?? '')
      .replace(/[{}]/g, '')
      .split(',')
      .map(
        (n) =>
          n
            .trim()
            .replace(/^type\s+/, '')
            .split(/\s/)[0],
      )
      .filter(Boolean),
  }));
const allTypes = (clause) =>
  clause
    .replace(/[{}]/g, '')
    .split(',')
    .map((n) => n.trim())
    .filter(Boolean)
    .every((n) => n.startsWith('type '));

const IMPURE =
  /\bDate\.now\(|\bnew Date\(\s*\)|\bMath\.random\(|\bperformance\.now\(|\bset(?:Timeout|Interval|Immediate)\(|\brandomUUID\(|\bprocess\.(?:env|hrtime)/;

/** Files that decide: same input, same output, for ever. */
const isPure = (file) =>
  /(-lifecycle|-decider|\.decider)\.ts$/.test(file) ||
  /^apps\/scheduler\/.*\/(filters|weighers)\//.test(file) ||
  file.startsWith('libs/contracts/src/');

/** Files on ports: Nest only wires them and time comes from the Clock. */
const isOnPorts = (file) =>
  /\.(process|projection)\.ts$/.test(file) || /^libs\/eventsourcing\/src\/[^/]+\.ts$/.test(file);

/** They ask the services, and reach neither the log nor a database. */
const STORELESS = ['apps/compute-agent', 'apps/cli'];

const DRIVERS = 'apps/compute-agent/src/drivers';
/** The backend whose folder a file lies in. @param {string} file */
const backendOf = (file) => new RegExp(`^${DRIVERS}/([a-z]+)/`).exec(file)?.[1];

const walk = (folder) =>
  readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (entry.name === 'node_modules' || entry.name === 'dist') return [];
    const path = join(folder, entry.name);
    return entry.isDirectory() ? walk(path) : entry.name.endsWith('.ts') ? [path] : [];
  });

const subfolders = (folder) =>
  existsSync(folder)
    ? readdirSync(folder, { withFileTypes: true })
        .filter((e) => e.isDirectory())
        .map((e) => e.name)
    : [];

/** @returns {string[]} one line for each violation in the repository at `root` */
export const violations = (root) => {
  const found = [];
  const apps = subfolders(join(root, 'apps'));
  const libs = subfolders(join(root, 'libs'));
  const manifests = new Map(
    [...apps.map((a) => `apps/${a}`), ...libs.map((l) => `libs/${l}`)]
      .filter((p) => existsSync(join(root, p, 'package.json')))
      .map((p) => [p, JSON.parse(readFileSync(join(root, p, 'package.json'), 'utf8'))]),
  );
  for (const [project, manifest] of manifests)
    if (project.startsWith('apps/') && (manifest.exports ?? manifest.main) !== undefined)
      found.push(`${project}/package.json:1: an app has no exports: nobody imports it`);

  const texts = new Map(
    ['apps', 'libs']
      .filter((top) => existsSync(join(root, top)))
      .flatMap((top) => walk(join(root, top)))
      .map((path) => [relative(root, path).split(sep).join('/'), withoutComments(readFileSync(path, 'utf8'))]),
  );

  const target = (file, from) =>
    relative(root, resolve(root, dirname(file), from))
      .split(sep)
      .join('/')
      .replace(/\.js$/, '.ts');

  // What a pure file imports for its value has to be pure as well.
  const pure = new Set([...texts.keys()].filter((f) => isPure(f) && !isSpec(f)));
  for (const file of pure)
    for (const i of importsOf(texts.get(file)))
      if (i.from.startsWith('.') && !i.typeOnly && texts.has(target(file, i.from))) pure.add(target(file, i.from));

  for (const [file, text] of texts) {
    const [top, name] = file.split('/');
    const project = `${top}/${name}`;
    const manifest = manifests.get(project);
    const spec = isSpec(file);
    const say = (line, what) => found.push(`${file}:${line}: ${what}`);
    for (const { from, line, typeOnly, names } of importsOf(text)) {
      const relativeTarget = from.startsWith('.') ? target(file, from) : null;
      const own = /^@omnivisor\/([a-z-]+)/.exec(from)?.[1];

      if (own !== undefined && apps.includes(own) && own !== name)
        say(line, `imports the app ${own}: apps meet in libs/contracts and on the bus`);
      if (relativeTarget !== null && !relativeTarget.startsWith(`${project}/`)) {
        if (relativeTarget.startsWith('apps/'))
          say(line, `imports the app ${relativeTarget.split('/')[1]}: apps meet in libs/contracts and on the bus`);
        else if (!spec) say(line, `leaves its project by a path (${from}); a lib is imported by its name`);
      }
      if (
        own !== undefined &&
        libs.includes(own) &&
        own !== name &&
        !spec &&
        manifest?.dependencies?.[`@omnivisor/${own}`] === undefined
      )
        say(line, `imports @omnivisor/${own}, which its package.json does not name`);
      if (spec) continue;

      if (project === 'libs/contracts' && !from.startsWith('.') && from !== 'zod')
        say(line, `contracts import zod only, not ${from}`);
      if (project === 'libs/platform' && own !== undefined && own !== 'contracts' && own !== 'platform')
        say(line, `the platform knows nothing of clouds: ${from}`);
      if (project === 'libs/eventsourcing' && (own === 'openstack' || from.startsWith('@nestjs/')))
        say(line, `the log knows neither HTTP nor Nest: ${from}`);
      if (project === 'libs/openstack' && own !== undefined && own !== 'contracts' && own !== 'openstack')
        say(line, `the OpenStack forms know contracts only: ${from}`);
      if (STORELESS.includes(project) && (own === 'eventsourcing' || /^(pg|@kurrent\/|@nats-io\/jetstream)/.test(from)))
        say(line, `a compute host and the command line hold no key to a store: ${from}`);

      if (pure.has(file) && project !== 'libs/contracts') {
        const contracts = from === '@omnivisor/contracts';
        const decider =
          from === '@omnivisor/eventsourcing' && typeOnly && names.every((n) => ['Decider', 'Aggregate'].includes(n));
        const others = from === 'immutable' || (typeOnly && from === 'zod');
        if (!from.startsWith('.') && !contracts && !decider && !others)
          say(line, `a decider, filter or weigher imports contracts and the Decider type only, not ${from}`);
      }
      if (
        isOnPorts(file) &&
        (from.startsWith('@nestjs/') || from === 'pg' || from.startsWith('node:fs') || from.startsWith('node:net'))
      )
        say(line, `runs on ports, so that it can be simulated; not on ${from}`);

      const driver = backendOf(file);
      if (driver !== undefined && relativeTarget !== null) {
        const inside = backendOf(relativeTarget) === driver;
        const shared = backendOf(relativeTarget) === 'common';
        const port = relativeTarget === `${DRIVERS}/hypervisor-driver.ts`;
        if (!inside && !shared && !port)
          say(line, `a driver imports drivers/common and the driver interface only, not ${from}`);
      }
      if (project === 'apps/compute-agent' && !file.startsWith(`${DRIVERS}/`) && relativeTarget !== null) {
        const backend = backendOf(relativeTarget);
        if (backend !== undefined && backend !== 'common')
          say(line, `native names stay in the folder of their driver; the agent knows the interface only, not ${from}`);
      }
    }
    if (!spec && (pure.has(file) || isOnPorts(file)))
      text.split('\n').forEach((line, n) => {
        const hit = IMPURE.exec(line);
        if (hit)
          say(
            n + 1,
            `${hit[0].replace(/\($/, '()')} here: time, ids and random numbers arrive with the command or by a port`,
          );
      });
  }
  return found.sort();
};

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [folder] = argumentsOf(import.meta.url, { allowPositionals: true }).positionals;
  const root = resolve(folder ?? join(dirname(fileURLToPath(import.meta.url)), '../..'));
  const found = violations(root);
  for (const line of found) console.error(line);
  console.log(found.length === 0 ? 'boundaries: clean' : `boundaries: ${found.length} violations`);
  process.exit(found.length === 0 ? 0 : 1);
}
