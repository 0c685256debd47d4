import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestPool } from '../../../../tools/doubles/xapi/testing/pool.js';
import { AgentConfig } from '../config.js';
import { openBest } from './open-best.js';

const folder = mkdtempSync(join(tmpdir(), 'open-best-'));
const password = join(folder, 'password');
writeFileSync(password, 'secret\n');
let pool: TestPool;
beforeAll(async () => {
  pool = await TestPool.start();
});
afterAll(async () => {
  await pool.stop();
  rmSync(folder, { recursive: true });
});

const xenserver = () => ({
  OMNIVISOR_XENSERVER_URLS: pool.double.url(),
  OMNIVISOR_XENSERVER_USER: 'root',
  OMNIVISOR_XENSERVER_PASSWORD_FILE: password,
});

/** @param stateDir of an agent that was here before */
const open = async (environment: Record<string, string>, stateDir = mkdtempSync(join(folder, 'agent-'))) => {
  const opened = await openBest(
    AgentConfig.parse({
      OMNIVISOR_NATS_URL: 'nats://127.0.0.1:1',
      OMNIVISOR_HOST_CREDS: '/nonexistent',
      OMNIVISOR_HOST_ID: randomUUID(),
      OMNIVISOR_CLOUD_ID: 'cloud',
      OMNIVISOR_STATE_DIR: stateDir,
      OMNIVISOR_BACKENDS: 'xenserver,fake',
      ...environment,
    }),
  );
  await opened.driver?.close();
  const found = opened.probes.map(({ backend, health }) => `${backend} is ${health}`);
  return { ...opened, backend: opened.driver?.backend ?? null, found, stateDir };
};

describe('what an agent drives at its first start', () => {
  it('is the first of its list that is healthy', async () => {
    const { backend, found } = await open(xenserver());
    expect(backend).toBe('xenserver');
    expect(found).toEqual(['xenserver is healthy', 'fake is healthy']);
  });

  it('is another when a backend is not configured, or not as it can be', async () => {
    const unnamed = await open({});
    expect(unnamed.probes[0]).toMatchObject({ health: 'undetected', reason: 'no address of a pool is configured' });
    const unreadable = await open({ ...xenserver(), OMNIVISOR_XENSERVER_PASSWORD_FILE: '/nonexistent' });
    expect(unreadable.probes[0]).toMatchObject({ health: 'unhealthy', reason: expect.stringContaining('ENOENT') });
    expect([unnamed.backend, unreadable.backend]).toEqual(['fake', 'fake']);
    // Nobody has chosen the second best for good.
    expect(await open(xenserver(), unreadable.stateDir)).toMatchObject({ backend: 'xenserver' });
    expect(await open(xenserver(), unnamed.stateDir)).toMatchObject({ backend: 'fake' });
  });
});

describe('what an agent drives at later starts', () => {
  it('is nothing else while that is away, and says why', async () => {
    const { stateDir } = await open(xenserver());
    pool.double.cutMember(0, 'refuse');
    const away = await open(xenserver(), stateDir);
    pool.double.cutMember(0, null);
    expect(away).toMatchObject({ backend: null, found: ['xenserver is unhealthy', 'fake is healthy'] });
    expect(away.probes[1]?.reason).toMatch(
      /; not taken up: this host is one of xenserver while OMNIVISOR_BACKENDS names it$/,
    );
    expect(await open(xenserver(), stateDir)).toMatchObject({ backend: 'xenserver' });
  });

  it('is the same where no new guest can run on it, so that those that are there are looked after', async () => {
    const fail = () => pool.double.faults.add({ method: 'VM.start', error: ['SR_BACKEND_FAILURE', ''], times: 1 });
    const { stateDir } = await open(xenserver());
    fail();
    expect(await open(xenserver(), stateDir)).toMatchObject({
      ...{ backend: 'xenserver', report: { health: 'unhealthy' } },
      found: ['xenserver is unhealthy', 'fake is healthy'],
    });
    fail();
    expect(await open(xenserver())).toMatchObject({ backend: 'fake' });
  });

  it('is the same when a better one has come since', async () => {
    const { stateDir, backend } = await open({});
    expect(backend).toBe('fake');
    expect(await open(xenserver(), stateDir)).toMatchObject({
      backend: 'fake',
      found: ['xenserver is healthy', 'fake is healthy'],
    });
  });

  it('is not asked of a file of another release, once operators name others', async () => {
    const stateDir = mkdtempSync(join(folder, 'agent-'));
    writeFileSync(join(stateDir, 'backend.json'), JSON.stringify({ backend: 'later' }));
    expect(await open(xenserver(), stateDir)).toMatchObject({ backend: 'xenserver' });
  });

  it('is another once operators no longer name that', async () => {
    const { stateDir } = await open({});
    const changed = { ...xenserver(), OMNIVISOR_BACKENDS: 'xenserver' };
    expect(await open(changed, stateDir)).toMatchObject({ backend: 'xenserver' });
    expect(await open({ ...xenserver(), OMNIVISOR_BACKENDS: 'fake,xenserver' }, stateDir)).toMatchObject({
      backend: 'xenserver',
    });
  });
});
