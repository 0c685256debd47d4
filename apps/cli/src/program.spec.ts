import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { conflict, notFound, unavailable } from '@omnivisor/contracts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Client } from './client.js';
import { exitCodes, run } from './program.js';

type Answers = Record<string, unknown>;
let lines: string[];
let errors: string[];
let asked: [string, unknown][];
beforeEach(() => {
  [lines, errors, asked] = [[], [], []];
});

const client = (answers: Answers): Client => ({
  ask: async (app, command, args) => {
    asked.push([`${app} ${command}`, args]);
    const answer = answers[`${app} ${command}`] ?? unavailable('nobody answers');
    if (answer instanceof Error) throw answer;
    return answer;
  },
  close: async () => {},
});
const output = { line: (l: string) => void lines.push(l), error: (l: string) => void errors.push(l) };
const omnivisor = (argv: string, answers: Answers = {}) => run(argv.split(' '), output, async () => client(answers));

const host = {
  id: 'h1',
  name: 'alpha',
  availabilityZone: 'nova',
  state: 'up',
  enabled: true,
  disabledReason: null,
  hypervisor: 'QEMU',
  node: 'alpha',
  quarantined: 0,
  healthy: true,
  probes: [{ backend: 'qemu', health: 'healthy', reason: 'a guest ran', version: null }],
};

describe('the command line', () => {
  it('prints a table, or JSON', async () => {
    expect(await omnivisor('host list', { 'scheduler host-list': [host] })).toBe(exitCodes.ok);
    expect(lines[0]).toMatch(/^NAME +ID +ZONE +STATE/);
    expect(lines[1]).toMatch(/^alpha +h1 +nova +up/);
    lines = [];
    await omnivisor('host list --json', { 'scheduler host-list': [host] });
    expect(JSON.parse(lines.join('\n'))).toEqual([host]);
  });
  it('waits until a host is emptied, or says why it is not', async () => {
    const asked = { ...host, enabled: false, maintenance: { on: true, state: 'asked', error: null } };
    const answers = (state: string, error: string | null = null) => ({
      'scheduler host-maintenance-on': asked,
      'scheduler host-list': [{ ...asked, healthy: error !== null, maintenance: { on: true, state, error } }],
    });
    expect(await omnivisor('host maintenance alpha on --reason disk', answers('done'))).toBe(exitCodes.ok);
    expect(lines[0]).toBe('host alpha is being emptied; this may take hours');
    expect(lines.at(-1)).toMatch(/^alpha +h1 +nova +up, unhealthy, in maintenance +no/);
    const failed = answers('failed', 'emptying the host was refused: NO_HOSTS_\u001b[2J\nAVAILABLE()');
    expect(await omnivisor('host maintenance alpha on', failed)).not.toBe(exitCodes.ok);
    expect(errors).toEqual([
      'omnivisor: host alpha is not emptied: emptying the host was refused: NO_HOSTS_?[2J AVAILABLE()',
    ]);
    lines = [];
    expect(await omnivisor('host maintenance alpha on --no-wait', answers('done'))).toBe(exitCodes.ok);
    expect(lines.at(-1)).toMatch(/^alpha +h1 +nova +up, being emptied/);
    expect(await omnivisor('host maintenance alpha perhaps')).not.toBe(exitCodes.ok);
  });
  it('does not wait for a host that is out of reach', async () => {
    const asked = { ...host, enabled: false, maintenance: { on: true, state: 'asked', error: null } };
    const maintain = (...seen: object[]) =>
      omnivisor('host maintenance alpha on', { 'scheduler host-maintenance-on': asked, 'scheduler host-list': seen });
    const error = 'the host was retired';
    const codes = await Promise.all([
      maintain({ ...asked, state: 'down' }),
      maintain({ ...asked, state: 'retired', maintenance: { on: true, state: 'failed', error } }),
      maintain(),
    ]);
    expect(codes).toEqual([exitCodes.failed, exitCodes.failed, exitCodes.failed]);
    expect(errors.sort()).toEqual([
      'omnivisor: host alpha is down, and was being emptied: that goes on when its agent is back; host list tells',
      'omnivisor: host alpha is gone',
      'omnivisor: host alpha is not emptied: the host was retired',
    ]);
  });
  it('trusts nobody where the file of trusted keys has none', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'keys-'));
    writeFileSync(join(folder, 'keys'), '# none yet\n');
    expect(await omnivisor(`audit verify --key ${join(folder, 'keys')}`)).toBe(exitCodes.failed);
    expect(errors).toEqual([`omnivisor: ${join(folder, 'keys')} has no key`]);
    expect(asked).toEqual([]);
    rmSync(folder, { recursive: true });
  });
  it('fails when sealing has stopped, although what is sealed is as it was', async () => {
    const report = { ok: true, events: 5, checkpoints: 1, unsealed: 2, firstBad: null, problem: null };
    const verified = (sealing: string | null) =>
      omnivisor('audit verify', { 'api-gateway audit-verify': { ...report, sealing } });
    expect(await verified(null)).toBe(exitCodes.ok);
    expect(await verified('the log ends before position 9, which was sealed')).toBe(exitCodes.failed);
  });
  it('says plainly that the cloud is away', async () => {
    const code = await run(['host', 'list'], { line: () => {}, error: (l) => errors.push(l) }, async () => {
      throw unavailable('the NATS server at nats://x does not answer; is the cloud running?');
    });
    expect(code).toBe(exitCodes.unavailable);
    expect(errors).toEqual(['omnivisor: the NATS server at nats://x does not answer; is the cloud running?']);
  });
  it('ends non-zero with the words of the service that refuses', async () => {
    expect(await omnivisor('audit why x', { 'api-gateway audit-why': notFound('no server x') })).toBe(1);
    expect(errors).toEqual(['omnivisor: no server x']);
  });
  it('ends with 2 for what it does not know, and 0 for help', async () => {
    expect(await omnivisor('dance')).toBe(exitCodes.usage);
    expect(await omnivisor('audit list --limit many')).toBe(exitCodes.usage);
    expect(await omnivisor('--help')).toBe(exitCodes.ok);
    expect(asked).toEqual([]);
  });
  it('lets no text of others drive the terminal', async () => {
    await omnivisor('host list', { 'scheduler host-list': [{ ...host, name: 'a\u001b[2J' }] });
    expect(lines[1]).toMatch(/^a\?\[2J/);
  });
});

describe('audit', () => {
  it('tells a story as a tree, with reasons and hypervisor calls', async () => {
    const node = { at: '2026-01-01T00:00:01.000Z', who: 'w', reasons: [], call: null, effects: [] };
    const call = { operation: 'spawn', host: 'alpha', hypervisor: 'QEMU 7002022' };
    const spawned = { ...node, service: 'compute-agent', what: 'spawned', call };
    const claimed = { ...node, service: 'scheduler', what: 'claimed', reasons: ['2 hosts considered'] };
    const asked = { ...node, service: 'api-gateway', what: 'asked', effects: [claimed, spawned] };
    const requests = [{ requestId: 'req-1', at: 't', who: 'user u', effects: [asked] }];
    await omnivisor('audit why s', { 'api-gateway audit-why': { requests, more: false } });
    expect(lines).toEqual([
      't  user u  (req-1)',
      '  00:00:01.000  [api-gateway] asked',
      '    00:00:01.000  [scheduler] claimed',
      '          2 hosts considered',
      '    00:00:01.000  [compute-agent] spawned',
      '          hypervisor call: spawn on alpha, QEMU 7002022',
    ]);
  });
  it('decides placements again when asked to, and fails when one comes out differently', async () => {
    const node = {
      at: '2026-01-01T00:00:01.000Z',
      who: 'w',
      reasons: [],
      call: null,
      effects: [],
      service: 's',
      what: 'w',
    };
    const claimed = { ...node, type: 'AllocationClaimed', position: 7 };
    const requests = [{ requestId: 'req-1', at: 't', who: 'u', effects: [{ ...node, effects: [claimed] }] }];
    const result = { position: 7, attempt: 1, note: null, recorded: { host: 'a' } };
    const ask = (recomputed: object) =>
      omnivisor('audit why s --full', {
        'api-gateway audit-why': { requests, more: false },
        'scheduler placement-recompute': [{ ...result, ...recomputed }],
      });
    expect(await ask({ equal: true, again: { host: 'a' } })).toBe(exitCodes.ok);
    expect(asked.at(-1)).toEqual(['scheduler placement-recompute', { positions: [7] }]);
    expect(lines.at(-1)).toBe('decision of attempt 1 at position 7: equal when decided again from the log (host a)');
    expect(await ask({ equal: false, again: { host: null } })).toBe(1);
    expect(lines.at(-1)).toMatch(/DIFFERENT: recorded host a, decided again no host$/);
  });
  it('tells who did it', async () => {
    const deed = { at: 't', user: 'u1', name: 'ann', project: 'p', address: '192.0.2.1', what: 'stop requested' };
    await omnivisor('audit who s', { 'api-gateway audit-who': [{ ...deed, outcome: 'pending', requestId: 'req-1' }] });
    expect(lines[1]).toMatch(/^t +ann +p +192\.0\.2\.1 +stop requested +pending +req-1$/);
  });
  it('shows what differs between two moments', async () => {
    const rows = [
      { table: 'servers', key: 'a', change: 'changed', fields: { name: ['old', 'new'], host: [null, 'h'] } },
      { table: 'servers', key: 'b', change: 'added', fields: { name: [null, 'x'] } },
    ];
    await omnivisor('audit diff --from 3', { 'api-gateway audit-diff': { from: 3, to: 9, rows, more: false } });
    expect(asked).toEqual([['api-gateway audit-diff', { from: '3' }]]);
    expect(lines).toEqual([
      '~ servers a',
      '    name: "old" -> "new"',
      '    host: - -> "h"',
      '+ servers b',
      '2 rows differ between position 3 and 9',
    ]);
  });
  it('exports the log page by page, and leaves nothing behind when that fails', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'export-'));
    const file = join(folder, 'log.jsonl');
    const pages = [
      { items: [{ n: 1 }, { n: 2 }], next: 2 },
      { items: [{ n: 3 }], next: null },
    ];
    const answers = (page: () => unknown): Client => ({
      ask: async (_, command) => (command === 'audit-range' ? { after: 0, until: 3 } : page()),
      close: async () => {},
    });
    const ask = (page: () => unknown) =>
      run(`audit export --format cadf --out ${file}`.split(' '), output, async () => answers(page));
    const failing = () => {
      throw unavailable('gone');
    };
    expect(await ask(failing)).toBe(exitCodes.unavailable);
    expect(existsSync(file)).toBe(false);
    expect(await ask(() => pages.shift())).toBe(exitCodes.ok);
    expect(readFileSync(file, 'utf8')).toBe('{"n":1}\n{"n":2}\n{"n":3}\n');
    expect(await ask(() => pages.shift())).toBe(1);
    rmSync(folder, { recursive: true });
  });
  it('asks what would have been', async () => {
    const difference = { at: 't', serverId: 's', attempt: 1, was: null, wouldBe: 'h0+1', smallestChange: null };
    const counts = { decisions: 3, same: 2, moved: 0, placed: 1, refused: 0, untold: 0 };
    const answers = {
      'api-gateway audit-range': { after: 5, until: 9 },
      'scheduler placement-what-if': { ...counts, differences: [difference] },
    };
    await omnivisor('whatif --at 5 --with cpuAllocationRatio=8 --with hosts=1:h0', answers);
    const changes = { settings: { cpuAllocationRatio: 8 }, hosts: [{ like: 'h0', count: 1 }] };
    expect(asked.at(-1)).toEqual(['scheduler placement-what-if', { from: 5, to: 9, changes }]);
    expect(lines[1]).toMatch(/^t +s +1 +refused +h0\+1$/);
    expect(await omnivisor('whatif --at 5 --with more')).toBe(1);
  });
  it('erases what is personal only when that is confirmed', async () => {
    const found = { closed: 2, plain: 1, erased: false };
    const command = 'audit erase --user u1 --reason asked --by ann';
    const args = { subject: { kind: 'user', id: 'u1' }, reason: 'asked', by: 'ann', confirmed: false };
    expect(await omnivisor(command, { 'api-gateway audit-erase': found })).toBe(1);
    expect(asked.at(-1)).toEqual(['api-gateway audit-erase', args]);
    expect(lines[0]).toMatch(/^nothing is erased yet: --yes would .* 2 events of user u1$/);
    expect(lines[1]).toMatch(/^1 events of an older release have it in the clear/);
    const erased = { ...found, rows: 3, erased: true };
    expect(await omnivisor(`${command} --yes`, { 'api-gateway audit-erase': erased })).toBe(0);
    expect(asked.at(-1)).toEqual(['api-gateway audit-erase', { ...args, confirmed: true }]);
    expect(await omnivisor('audit erase --user u --project p --reason r')).toBe(1);
    expect(await omnivisor('audit erase --user u')).toBe(exitCodes.usage);
  });
  it('fails when the replay differs', async () => {
    const report = { equal: true, position: 7, tables: [{ table: 't', rows: 3 }], differences: [] };
    expect(await omnivisor('audit replay', { 'api-gateway audit-replay': report })).toBe(0);
    expect(lines).toEqual(['equal: 1 tables, 3 rows at position 7']);
    expect(await omnivisor('audit replay', { 'api-gateway audit-replay': { ...report, equal: false } })).toBe(1);
  });
});

describe('adopt and release', () => {
  const guest = {
    ...{ native_id: 'vm-1', name: 'old', power_state: 'running', vcpus: 2, memory_mb: 1024 },
    ...{ disks: [{ name: 'd', size: 2 ** 30 }], nics: [{ mac: '52:54:00:00:00:01', network: null }] },
  };
  const network = '11111111-1111-4111-8111-111111111111';
  it('list what can be adopted, and ask for one of them', async () => {
    expect(await omnivisor('adopt --host alpha', { 'api-gateway guest-list': [guest] })).toBe(0);
    expect(lines.at(-1)).toMatch(/^vm-1 +old +running +2 +1024 +1 GiB +52:54:00:00:00:01$/);
    const adopt = `adopt --host alpha --guest vm-1 --project p --port 52:54:00:00:00:01=${network},10.0.0.5`;
    expect(await omnivisor(adopt, { 'api-gateway guest-adopt': { server: 's1' } })).toBe(0);
    const ports = [{ mac: '52:54:00:00:00:01', network, fixed_ip: '10.0.0.5' }];
    const adoption = { guest: 'vm-1', project_id: 'p', ports };
    expect(asked.at(-1)).toEqual(['api-gateway guest-adopt', { host: 'alpha', adoption }]);
    expect(await omnivisor('release s1', { 'api-gateway guest-release': { server: 's1' } })).toBe(0);
  });
  it('want a project, and ports that can be read', async () => {
    expect(await omnivisor('adopt --host alpha --guest vm-1')).toBe(1);
    expect(await omnivisor('adopt --host alpha --guest vm-1 --project p --port here')).toBe(1);
  });
});

describe('guest', () => {
  const guest = {
    ...{ hostname: 'web', operating_system: null, addresses: ['10.0.0.5', 'fe80::1'] },
    services: [{ name: 'Heartbeat', answers: true }],
  };
  it('shows what a guest tells of itself', async () => {
    expect(await omnivisor('guest s1', { 'api-gateway guest-show': { guest } })).toBe(0);
    expect(asked.at(-1)).toEqual(['api-gateway guest-show', { server: 's1' }]);
    expect(lines).toEqual([
      ...['hostname   web', 'system     -', 'addresses  10.0.0.5, fe80::1'],
      ...['SERVICE    ANSWERS', 'Heartbeat  yes'],
    ]);
    expect(await omnivisor('guest s1 --json', { 'api-gateway guest-show': { guest } })).toBe(0);
    expect(JSON.parse(lines.at(-1)!)).toEqual(guest);
  });
  it('lets it drive no terminal', async () => {
    const evil = { ...guest, hostname: '\u001b[2Jweb', addresses: [] };
    expect(await omnivisor('guest s1', { 'api-gateway guest-show': { guest: evil } })).toBe(0);
    expect(lines.join()).toContain('hostname   ?[2Jweb');
  });
});

describe('move', () => {
  const at = (host: string, vmState: string, fault: object | null = null) => ({
    ...{ server: 's1', host, vm_state: vmState, task_state: null, migration_status: 'finished', fault },
  });
  const answers = {
    'api-gateway server-where': at('alpha', 'active'),
    'api-gateway server-move': at('beta', 'resized'),
    'api-gateway server-move-confirm': at('beta', 'active'),
  };
  it('goes all the way, and can leave the last step to somebody', async () => {
    expect(await omnivisor('move s1 --to beta', answers)).toBe(0);
    expect(asked.slice(1)).toEqual([
      ['api-gateway server-move', { server: 's1', host: 'beta' }],
      ['api-gateway server-move-confirm', { server: 's1' }],
    ]);
    expect(lines.at(-1)).toBe('server s1 is on beta');
    asked = [];
    expect(await omnivisor('move s1 --to beta --keep', answers)).toBe(0);
    expect(asked.map(([name]) => name)).toEqual(['api-gateway server-where', 'api-gateway server-move']);
  });
  it('goes on with one that waits for its confirmation', async () => {
    expect(
      await omnivisor('move s1 --to beta', { ...answers, 'api-gateway server-where': at('beta', 'resized') }),
    ).toBe(0);
    expect(asked.map(([name]) => name)).toEqual(['api-gateway server-where', 'api-gateway server-move-confirm']);
  });
  it('fails with the reason when there is no way', async () => {
    const failed = at('alpha', 'active', { message: 'No valid host was found.' });
    expect(await omnivisor('move s1 --to beta', { ...answers, 'api-gateway server-move': failed })).toBe(1);
    expect(errors).toEqual(['omnivisor: server s1 stays on alpha: No valid host was found.']);
    expect(await omnivisor('move s1')).toBe(exitCodes.usage);
  });
});

describe('config and doctor', () => {
  const well = {
    'api-gateway config-check': [],
    'scheduler config-check': [],
    'image-service config-check': [],
    'api-gateway health': { dependencies: [{ name: 'read model', ok: true, reason: null }] },
    'scheduler health': { dependencies: [] },
    'image-service health': { dependencies: [] },
    'scheduler host-list': [host],
  };
  it('are content with a cloud that is well', async () => {
    expect(await omnivisor('config check', well)).toBe(0);
    expect(await omnivisor('doctor', well)).toBe(0);
  });
  it('tell every problem at once', async () => {
    const ill = {
      ...well,
      'image-service config-check': unavailable('nobody answers'),
      'scheduler config-check': [{ name: 'X', problem: 'is not set' }],
    };
    expect(await omnivisor('config check --json', ill)).toBe(1);
    expect(JSON.parse(lines.join('\n'))).toHaveLength(2);
    expect(await omnivisor('doctor', { ...well, 'scheduler host-list': [{ ...host, state: 'down' }] })).toBe(1);
    const probes = [{ ...host.probes[0], health: 'unhealthy', reason: 'it does not answer' }];
    const ailing = { ...well, 'scheduler host-list': [{ ...host, healthy: false, probes }] };
    expect(await omnivisor('doctor', ailing)).toBe(1);
    expect(lines.at(-1)).toContain('up, qemu is unhealthy: it does not answer');
  });
});

it('doctor tells what a service rests on and is not well', async () => {
  const stopped = { name: 'read model', ok: false, reason: 'event X version 2 at position 7 is not known' };
  const answers = Object.fromEntries(
    ['api-gateway', 'scheduler', 'image-service'].flatMap((app) => [
      [`${app} config-check`, []],
      [`${app} health`, { dependencies: [stopped] }],
    ]),
  );
  expect(await omnivisor('doctor', { ...answers, 'scheduler host-list': [host] })).toBe(1);
  expect(lines.join('\n')).toMatch(/NOT OK +api-gateway +read model: event X version 2 at position 7 is not known/);
});

describe('enrolling a host', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'omnivisor-cli-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));
  const enrolled = { hostId: 'h1', name: 'alpha', availabilityZone: 'nova', jwt: 'a.b.c' };
  const keys = () => asked.map(([, args]) => (args as { publicKey: string }).publicKey);

  it('keeps the key here and writes a credential that only its owner reads', async () => {
    const file = join(dir, 'a.creds');
    expect(await omnivisor(`host enroll alpha --out ${file}`, { 'scheduler host-enroll': enrolled })).toBe(0);
    expect(readFileSync(file, 'utf8')).toContain('a.b.c');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(JSON.stringify(asked)).not.toMatch(/SU[A-Z2-7]{56}/);
    expect(await omnivisor(`host enroll alpha --out ${file}`, { 'scheduler host-enroll': enrolled })).toBe(1);
  });
  it('goes on with the same key when the answer was lost', async () => {
    const file = join(dir, 'a.creds');
    expect(await omnivisor(`host enroll alpha --out ${file}`)).toBe(exitCodes.unavailable);
    expect(await omnivisor(`host enroll alpha --out ${file}`, { 'scheduler host-enroll': enrolled })).toBe(0);
    expect(new Set(keys()).size).toBe(1);
  });
  it('leaves no file behind when it is refused', async () => {
    const file = join(dir, 'a.creds');
    await omnivisor(`host enroll alpha --out ${file}`, { 'scheduler host-enroll': conflict('enrolled already') });
    expect(existsSync(file)).toBe(false);
  });
});

describe('readers of feeds', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'omnivisor-cli-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));
  const reader = { name: 'siem', subjects: ['cadf.>'], expiresAt: '2026-06-01T00:00:00.000Z', revoked: false };

  it('are let in with a key that is made here', async () => {
    const file = join(dir, 'siem.creds');
    const answer = { 'scheduler feed-admit': { ...reader, jwt: 'a.b.c' } };
    expect(await omnivisor(`feed admit siem --feed cadf --feed events --days 7 --out ${file}`, answer)).toBe(0);
    expect(asked).toMatchObject([['scheduler feed-admit', { name: 'siem', feeds: ['cadf', 'events'], days: 7 }]]);
    expect(readFileSync(file, 'utf8')).toContain('a.b.c');
    expect(lines).toEqual([`siem may hear cadf.> until 2026-06-01T00:00:00.000Z with ${file}`]);
    expect(await omnivisor(`feed admit other --project p1 --out ${join(dir, 'o')}`, answer)).toBe(0);
    expect(asked[1]).toMatchObject(['scheduler feed-admit', { feeds: ['cadf'], project: 'p1', days: 90 }]);
    expect(await omnivisor(`feed admit x --feed all --out ${join(dir, 'x')}`, answer)).toBe(exitCodes.usage);
    expect(existsSync(join(dir, 'x'))).toBe(false);
  });

  it('are listed and revoked, with what is left to do', async () => {
    await omnivisor('feed list', { 'scheduler feed-list': [reader] });
    expect(lines[1]).toMatch(/^siem +cadf\.> +2026-06-01/);
    lines = [];
    const note = 'revoke U1 there';
    await omnivisor('feed revoke siem', { 'scheduler feed-revoke': { ...reader, revoked: true, note } });
    expect(lines).toEqual([expect.any(String), expect.stringMatching(/^siem .* revoked/), note]);
  });
});
