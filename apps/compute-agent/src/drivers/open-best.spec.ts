import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestPool } from '../../../../tools/doubles/xapi/testing/pool.js';
import { AgentConfig } from '../config.js';
import { openBest } from './open-best.js';

const folder = mkdtempSync(join(tmpdir(), 'open-best-'));
let pool: TestPool;
beforeAll(async () => {
  pool = await TestPool.start();
});
afterAll(async () => {
  await pool.stop();
  rmSync(folder, { recursive: true });
});

const open = async (environment: Record<string, string>) => {
  const opened = await openBest(
    AgentConfig.parse({
      OMNIVISOR_NATS_URL: 'nats://127.0.0.1:1',
      OMNIVISOR_HOST_CREDS: '/nonexistent',
      OMNIVISOR_HOST_ID: randomUUID(),
      OMNIVISOR_CLOUD_ID: 'cloud',
      OMNIVISOR_STATE_DIR: folder,
      ...environment,
    }),
  );
  await opened.driver?.close();
  return opened;
};

describe('what an agent drives', () => {
  it('is the first of its list that is healthy', async () => {
    const password = join(folder, 'password');
    writeFileSync(password, 'secret\n');
    const { driver, probes } = await open({
      OMNIVISOR_BACKENDS: 'xenserver,fake',
      OMNIVISOR_XENSERVER_URLS: pool.double.url(),
      OMNIVISOR_XENSERVER_USER: 'root',
      OMNIVISOR_XENSERVER_PASSWORD_FILE: password,
    });
    expect(driver?.backend).toBe('xenserver');
    expect(probes.map(({ backend, health }) => [backend, health])).toEqual([
      ['xenserver', 'healthy'],
      ['fake', 'healthy'],
    ]);
  });

  it('is another when a backend is not configured, or not as it can be', async () => {
    const unnamed = await open({ OMNIVISOR_BACKENDS: 'xenserver,fake' });
    expect(unnamed.probes[0]).toMatchObject({ health: 'undetected', reason: 'no address of a pool is configured' });
    const unreadable = await open({
      OMNIVISOR_BACKENDS: 'xenserver,fake',
      OMNIVISOR_XENSERVER_URLS: pool.double.url(),
      OMNIVISOR_XENSERVER_PASSWORD_FILE: '/nonexistent',
    });
    expect(unreadable.probes[0]).toMatchObject({ health: 'unhealthy', reason: expect.stringContaining('ENOENT') });
    expect([unnamed.driver?.backend, unreadable.driver?.backend]).toEqual(['fake', 'fake']);
  });
});
