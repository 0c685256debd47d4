import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { violations } from './boundaries.mjs';

const repository = fileURLToPath(new URL('../..', import.meta.url));
const root = mkdtempSync(join(tmpdir(), 'ov-boundaries-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const write = (file: string, text: string) => {
  mkdirSync(dirname(join(root, file)), { recursive: true });
  writeFileSync(join(root, file), text);
};
const manifest = (name: string, dependencies: string[], more = {}) =>
  JSON.stringify({
    name: `@omnivisor/${name}`,
    type: 'module',
    dependencies: Object.fromEntries(dependencies.map((d) => [`@omnivisor/${d}`, '0.1.0'])),
    ...more,
  });

const SERVER = 'apps/api-gateway/src/compute/server';

beforeEach(() => {
  rmSync(root, { recursive: true, force: true });
  for (const lib of ['contracts', 'eventsourcing', 'platform', 'openstack'])
    write(`libs/${lib}/package.json`, manifest(lib, lib === 'contracts' ? [] : ['contracts']));
  for (const app of ['api-gateway', 'scheduler', 'compute-agent', 'image-service', 'cli'])
    write(`apps/${app}/package.json`, manifest(app, ['contracts', 'platform', 'eventsourcing']));
  write(
    `${SERVER}/server-lifecycle.ts`,
    "import { invalid } from '@omnivisor/contracts';\nimport { evolve } from './server.js';\n",
  );
  write(`${SERVER}/server.ts`, "import type { Decider } from '@omnivisor/eventsourcing';\nexport const evolve = 1;\n");
});

/** Plants one file and gives what the check says of it. */
const planted = (file: string, text: string): string[] => {
  write(file, text);
  return violations(root);
};

describe('the import check', () => {
  it('has nothing to say about a clean tree', () => expect(violations(root)).toEqual([]));
  it('has nothing to say about this repository', () => expect(violations(repository)).toEqual([]));

  it.each([
    [
      'an app that imports another by name',
      'apps/cli/src/x.ts',
      "import { a } from '@omnivisor/scheduler';",
      'imports the app scheduler',
    ],
    [
      'an app that imports another by path',
      'apps/cli/src/x.ts',
      "import { a } from '../../scheduler/src/a.js';",
      'imports the app scheduler',
    ],
    [
      'a spec that imports another app',
      'apps/cli/src/x.spec.ts',
      "import { a } from '../../scheduler/src/a.js';",
      'imports the app scheduler',
    ],
    [
      'a lib that imports an app',
      'libs/platform/src/x.ts',
      "import '@omnivisor/scheduler';",
      'imports the app scheduler',
    ],
    [
      'a lib imported by path',
      'apps/cli/src/x.ts',
      "import { a } from '../../../libs/contracts/src/ids.js';",
      'leaves its project',
    ],
    [
      'a lib its package.json does not name',
      'apps/cli/src/x.ts',
      "import { a } from '@omnivisor/openstack';",
      'does not name',
    ],
    [
      'contracts with more than zod',
      'libs/contracts/src/x.ts',
      "import { a } from 'rxjs';",
      'contracts import zod only',
    ],
    [
      'a platform that knows the log',
      'libs/platform/src/x.ts',
      "import { a } from '@omnivisor/eventsourcing';",
      'knows nothing of clouds',
    ],
    [
      'a log that knows Nest',
      'libs/eventsourcing/src/deep/x.ts',
      "import { a } from '@nestjs/common';",
      'neither HTTP nor Nest',
    ],
    ['a compute host with a store', 'apps/compute-agent/src/x.ts', "import pg from 'pg';", 'no key to a store'],
    [
      'a command line that reads the log',
      'apps/cli/src/x.ts',
      "import { a } from '@omnivisor/eventsourcing';",
      'no key to a store',
    ],
    [
      'a log that knows OpenStack',
      'libs/eventsourcing/src/x.ts',
      "import { a } from '@omnivisor/openstack';",
      'neither HTTP nor Nest',
    ],
    [
      'OpenStack forms that know the platform',
      'libs/openstack/src/x.ts',
      "import { a } from '@omnivisor/platform';",
      'contracts only',
    ],
    [
      'a decider that imports a process',
      `${SERVER}/port-lifecycle.ts`,
      "import { a } from '@omnivisor/platform';",
      'Decider type only',
    ],
    [
      'a log on a driver of databases outside its adapters',
      'libs/eventsourcing/src/x.ts',
      "import pg from 'pg';",
      'runs on ports',
    ],
    [
      'a decider with Nest',
      `${SERVER}/port-lifecycle.ts`,
      "import { a } from '@nestjs/common';",
      'contracts and the Decider type only',
    ],
    [
      'a decider with node',
      `${SERVER}/port-lifecycle.ts`,
      "import { a } from 'node:fs';",
      'contracts and the Decider type only',
    ],
    [
      'a decider with a store, not a type',
      `${SERVER}/port-lifecycle.ts`,
      "import { CommandHandler } from '@omnivisor/eventsourcing';",
      'Decider type only',
    ],
    [
      'a decider that leans on an impure neighbour',
      `${SERVER}/server.ts`,
      "import { a } from 'node:crypto';",
      'Decider type only',
    ],
    [
      'a decider that reads the clock',
      `${SERVER}/port-lifecycle.ts`,
      'export const at = Date.now();',
      'Date.now() here',
    ],
    [
      'a decider that makes a date of now',
      `${SERVER}/port-lifecycle.ts`,
      'export const at = new Date();',
      'new Date() here',
    ],
    [
      'a filter that throws dice',
      'apps/scheduler/src/scheduling/filters/x.ts',
      'export const a = Math.random();',
      'Math.random() here',
    ],
    [
      'a weigher with node',
      'apps/scheduler/src/scheduling/weighers/x.ts',
      "import { cpus } from 'node:os';",
      'contracts and the Decider type only',
    ],
    [
      'a projection with Nest',
      `${SERVER}/server.projection.ts`,
      "import { a } from '@nestjs/common';",
      'runs on ports',
    ],
    ['a process manager with a timer', `${SERVER}/server.process.ts`, 'setTimeout(() => {}, 5);', 'setTimeout() here'],
    [
      'a driver that imports another',
      'apps/compute-agent/src/drivers/xen/x.ts',
      "import { a } from '../qemu/a.js';",
      'drivers/common',
    ],
    [
      'an agent that knows a driver from inside',
      'apps/compute-agent/src/agent/x.ts',
      "import { a } from '../drivers/qemu/qmp-client.js';",
      'native names',
    ],
    [
      'what drivers share, when it knows one of them',
      'apps/compute-agent/src/drivers/common/x.ts',
      "import { a } from '../qemu/a.js';",
      'drivers/common',
    ],
    [
      'a driver that knows the agent',
      'apps/compute-agent/src/drivers/xen/x.ts',
      "import { a } from '../../agent/a.js';",
      'drivers/common',
    ],
  ])('finds %s', (_, file, text, said) => {
    const found = planted(file, text);
    expect(found.filter((line) => line.startsWith(`${file}:1:`) && line.includes(said))).not.toEqual([]);
    expect(found.filter((line) => !line.startsWith(`${file}:1:`))).toEqual([]);
  });

  it('finds an app that offers itself to others', () => {
    write('apps/cli/package.json', manifest('cli', ['contracts'], { exports: './dist/main.js' }));
    expect(violations(root)).toEqual(['apps/cli/package.json:1: an app has no exports: nobody imports it']);
  });

  it('does not read comments', () =>
    expect(planted(`${SERVER}/port-lifecycle.ts`, "// import { a } from 'node:fs';\n/* Date.now() */\n")).toEqual([]));
});

describe('the compiler', () => {
  const options = JSON.stringify({
    extends: join(repository, 'tsconfig.base.json'),
    compilerOptions: { rootDir: 'src', outDir: 'dist', types: [] },
    include: ['src'],
  });
  const compile = () =>
    spawnSync(join(repository, 'node_modules/.bin/tsc'), ['-p', join(root, 'apps/cli')], { encoding: 'utf8' });

  it('refuses an app that reaches into another by path or by name', () => {
    write('apps/cli/tsconfig.json', options);
    write('apps/cli/src/clean.ts', 'export const clean = 1;');
    write('apps/scheduler/src/a.ts', 'export const a = 1;');
    expect(compile().status).toBe(0);
    write('apps/cli/src/by-path.ts', "import { a } from '../../scheduler/src/a.js';\nexport const b = a;");
    write('apps/cli/src/by-name.ts', "import { a } from '@omnivisor/scheduler';\nexport const b = a;");
    const { status, stdout } = compile();
    expect(status).not.toBe(0);
    expect(stdout).toMatch(/TS6059|TS6307/);
    expect(stdout).toMatch(/by-name\.ts.*TS2307/);
  });
});
