import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { AgentConfig } from '../../apps/compute-agent/src/config.js';
import { parsed } from '../arguments.mjs';
import { whyNoImage } from '../image/needs.mjs';
import { readOpenrc } from './client.mjs';
import { cloudsYaml, openrc } from './clients.mjs';
import { dueImage, howToInstall, whyImageless } from './needs.mjs';
import { linkSettings, startOptions as optionsOf, publicUrlOf, START } from './options.mjs';
import { isAlive } from './processes.mjs';
import { Progress } from './progress.mjs';
import { PASSED, saidToAgents } from './services.mjs';
import { currentServices } from './state.mjs';

const login = { username: 'demo', password: "p-w'_1", project: 'demo' };

const startOptions = (args: string[], environment?: NodeJS.ProcessEnv) =>
  optionsOf(parsed({ args, options: START }).values, environment);

describe('options of npm start', () => {
  it('are one agent, one gateway, on the loopback', () =>
    expect(startOptions([])).toMatchObject({
      agents: 1,
      gateways: 1,
      fakeHosts: 0,
      listen: '127.0.0.1',
      detach: false,
    }));
  it.each([['--agents', 'many'], ['--port', '0'], ['--port', '70000'], ['--gateways', '0'], ['--nonsense']])(
    'refuse %s %s with the reason',
    (...args) => expect(() => startOptions(args.filter((a) => a !== undefined))).toThrow(args[0]!.replace(/^-+/, '')),
  );
});

it('several agents are not started with one set of dedicated processors', () => {
  const environment = { OMNIVISOR_CPU_DEDICATED_SET: '2-3' };
  expect(startOptions(['--agents', '1'], environment)).toMatchObject({ agents: 1 });
  expect(() => startOptions(['--agents', '2'], environment)).toThrow(/OMNIVISOR_CPU_DEDICATED_SET is for one agent/);
});

describe('the test image', () => {
  const due = (...args: string[]) => dueImage('/nowhere', startOptions(args));
  it('is made for hosts, once, unless it is not wanted', () => {
    expect([due(), due('--agents', '0', '--fake-hosts', '1')]).toEqual([true, true]);
    for (const args of [['--agents', '0'], ['--skip-image'], ['--skip-bootstrap']]) expect(due(...args)).toBe(false);
  });
  it.runIf(whyNoImage() === null)('has what builds it installed for real hypervisors only', () => {
    const lacking = [['cpio', 'cpio'] as const];
    const pretending = startOptions(['--agents', '0', '--fake-hosts', '1']);
    expect(whyImageless(startOptions([]), lacking)).toBe(null);
    expect(whyImageless(pretending, [])).toBe(null);
    expect(whyImageless(pretending, lacking)).toContain('installed: cpio');
  });
});

describe('what clients see of the API', () => {
  it.each([
    [{ listen: '127.0.0.1' }, 'http://127.0.0.1:8780'],
    [{ listen: '0.0.0.0' }, 'http://127.0.0.1:8780'],
    [{ listen: '::1' }, 'http://[::1]:8780'],
    [{ listen: '0.0.0.0', publicUrl: 'https://cloud.example/' }, 'https://cloud.example'],
  ])('of %j is %s', (options, url) => expect(publicUrlOf({ port: 8780, ...options })).toBe(url));
  it('is fixed, unless a trusted proxy says it and the caller does not', () => {
    const here = { listen: '127.0.0.1', port: 8780 };
    const told = { ...here, publicUrl: 'https://cloud.example' };
    expect(linkSettings(here, undefined)).toEqual({ OMNIVISOR_PUBLIC_URL: 'http://127.0.0.1:8780' });
    expect(linkSettings(here, '192.0.2.1')).toEqual({});
    expect(linkSettings(told, '192.0.2.1')).toEqual({ OMNIVISOR_PUBLIC_URL: 'https://cloud.example' });
  });
  it('is an address of the web', () =>
    expect(() => startOptions(['--public-url', 'ftp://cloud.example'])).toThrow('http'));
});

describe('what is missing on a system without apt', () => {
  const packages = ['procps', 'nftables', 'python3-pip'];
  it('is told by the names it has there', () => {
    expect(howToInstall(packages, 'ID=fedora\n')).toContain('dnf install procps-ng nftables python3-pip');
    expect(howToInstall(packages, 'NAME=x\nID="arch"\n')).toContain('pacman -S procps-ng nftables python-pip');
  });
  it('is told by the names of Debian where others are not known', () =>
    expect(howToInstall(packages, 'ID=plan9\n')).toContain('procps nftables python3-pip (names of Debian)'));
});

describe('progress', () => {
  const shown = async (isTTY: boolean) => {
    const texts: string[] = [];
    const progress = new Progress({ isTTY, write: (text: string) => texts.push(text) });
    await progress.step('build', () => {});
    progress.say('said');
    await progress.step('start', () => Promise.reject(new Error('no'))).catch(() => {});
    return texts.join('');
  };
  it('is plain lines in a pipe', async () =>
    expect(await shown(false)).toMatch(/^build: done in \d\.\d s\nsaid\nstart: failed after \d\.\d s\n$/));
  it('is a moving line on a terminal', async () => {
    const text = await shown(true);
    expect(text).toContain('⠋ build');
    expect(text).toMatch(/✓ build \(\d\.\d s\)\n/);
  });
});

describe('files for clients', () => {
  it('name the cloud, the project and the user', () => {
    expect(openrc('http://127.0.0.1:1', login)).toContain("export OS_PROJECT_NAME='demo'");
    expect(cloudsYaml('http://127.0.0.1:1', { demo: login })).toContain('omnivisor-demo:');
  });
});

describe('OSSN-0097 files for clients', () => {
  const evil = `$(touch x) \`id\` "$HOME" 'a' \\ # : - !`;
  const odd = { username: evil, password: evil, project: evil };
  it('are words for a shell, whatever is in them', () => {
    const folder = mkdtempSync(join(tmpdir(), 'omnivisor-openrc-'));
    const file = join(folder, 'openrc');
    writeFileSync(file, openrc('http://127.0.0.1:1', odd));
    const script = '. "$1"; printf "%s\\0" "$OS_USERNAME" "$OS_PASSWORD" "$OS_PROJECT_NAME"';
    const said = execFileSync('sh', ['-c', script, 'sh', file], { cwd: folder }).toString();
    expect([said, readdirSync(folder)]).toEqual([`${evil}\0`.repeat(3), ['openrc']]);
    expect(readOpenrc(file)).toMatchObject({ OS_USERNAME: evil, OS_PASSWORD: evil, OS_PROJECT_NAME: evil });
    rmSync(folder, { recursive: true });
  });
  it('are texts of YAML', () =>
    expect(parse(cloudsYaml('http://127.0.0.1:1', { demo: odd })).clouds['omnivisor-demo'].auth).toMatchObject({
      username: evil,
      password: evil,
      project_name: evil,
    }));
});

describe('the state of a run', () => {
  it('takes a process number that went to another for a process that has ended', () => {
    expect(isAlive({ pid: process.pid, began: '1' })).toBe(false);
    const gone = { pid: process.pid, began: '1' };
    const services = [{ name: 'scheduler', ...gone, state: 'running' as const, restarts: 0 }];
    expect(
      currentServices({ supervisor: gone, endpoint: '', ready: true, services }).map((s) => [s.pid, s.state]),
    ).toEqual([
      [null, 'stopped'],
      [null, 'stopped'],
    ]);
  });
  it('is an empty list when nothing runs', () => expect(currentServices(null)).toEqual([]));
});

describe('what services are told of the environment', () => {
  it.each([
    'CADF',
    'NOTIFICATIONS',
    'CHECKPOINT_DIR',
    'CHECKPOINT_BUCKET_URL',
    'SEALING_KEY_DAYS',
    'LIMIT_LOGINS',
    'IMAGE_FORMS_DAYS',
    'IMAGE_MIN_RATE',
    'IMPORT_PORTS',
  ])('has OMNIVISOR_%s', (name) => expect(PASSED.test(`OMNIVISOR_${name}`)).toBe(true));

  it.each(['MASTER_KEY_FILE', 'DATABASE_URL', 'PORT', 'NATS_CREDS', 'IMAGE_DIR', 'IMAGE_HMAC_KEY_FILE'])(
    'has no OMNIVISOR_%s of the caller',
    (name) => expect(PASSED.test(`OMNIVISOR_${name}`)).toBe(false),
  );
});

describe('what agents are told of the environment', () => {
  const told = (environment: Record<string, string>) => saidToAgents(AgentConfig, environment);

  it('is whatever they know, also by the name of a file', () => {
    const said = {
      OMNIVISOR_BRIDGES: 'physnet1=br-ex',
      OMNIVISOR_CPU_DEDICATED_SET: '4-7',
      OMNIVISOR_FAKE_VCPUS: '8',
      OMNIVISOR_LOG_LEVEL: 'debug',
      OMNIVISOR_SHARED_DISKS: '/srv/disks',
      OMNIVISOR_VSPHERE_URL: 'https://vcenter.example',
      OMNIVISOR_XEN_HOST_FILE: '/etc/omnivisor/xen-host',
      OMNIVISOR_XENSERVER_PASSWORD_FILE: '/etc/omnivisor/password',
    };
    expect(told(said)).toEqual(said);
  });

  it.each(['NATS_CA_FILE', 'NATS_CREDS', 'HEALTH_LISTEN', 'MASTER_KEY_FILE', 'DATABASE_URL', 'ADMIN_PASSWORD_FILE'])(
    'is not OMNIVISOR_%s, which is for others',
    (name) => expect(told({ [`OMNIVISOR_${name}`]: '/some/where' })).toEqual({}),
  );
});
