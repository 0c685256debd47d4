import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ms, ServerId } from '@omnivisor/contracts';
import { SystemClock } from '@omnivisor/platform';
import { afterEach, expect, it } from 'vitest';
import { testGuest } from '../common/test-guest.js';
import { FakeDriver } from './fake.driver.js';
import { FakeHypervisor } from './fake-hypervisor.js';

const cloudId = 'test-cloud';
const id = ServerId.parse('0c2c7a4e-52a3-4b8e-8f4d-000000000001');
const stateDir = mkdtempSync(join(tmpdir(), 'omnivisor-fake-'));
afterEach(() => rmSync(stateDir, { recursive: true }));

it('keeps guests of a fake machine across the death of its process', async () => {
  const open = () => new FakeDriver(new FakeHypervisor({ clock: new SystemClock(), stateDir }), { cloudId });
  await open().spawn(testGuest(id, cloudId), new AbortController().signal);
  await open().powerOff(id, ms(0));
  const third = open();
  expect(await third.list()).toEqual([
    {
      mark: { cloudId, serverId: id, attempt: 1, build: 0 },
      stage: 'settled',
      power: 'shutdown',
      memory: 16,
      vcpus: 1,
    },
  ]);
  expect((await third.consoleLog?.tail(id, 1000))?.toString()).toContain('power on');
  await third.destroy(id);
  expect(readdirSync(stateDir)).toEqual([]);
  expect(await open().list()).toEqual([]);
});
