import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { XenServerDriver } from './xenserver.driver.js';
import { XenServerSettings, xenserverOptions } from './xenserver-config.js';

const folder = mkdtempSync(join(tmpdir(), 'xenserver-config-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = (name: string, content: string) => {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
};
const fingerprint = Array.from({ length: 32 }, () => 'Ab').join(':');
const options = (environment: Record<string, string>) =>
  xenserverOptions(XenServerSettings.parse(environment), 'cloud', folder);

describe('the configuration of a pool', () => {
  it('is read from the environment and the files it names', () => {
    const environment = {
      OMNIVISOR_XENSERVER_URLS: 'https://xs1.example, https://[2001:db8::2]:8443',
      OMNIVISOR_XENSERVER_PASSWORD_FILE: file('password', 'secret\n'),
      OMNIVISOR_XENSERVER_CA_FILE: file('ca.pem', 'PEM'),
      OMNIVISOR_XENSERVER_MEMBER: 'xs1',
      OMNIVISOR_XENSERVER_NETWORKS: 'physnet1=eth1,physnet2=Network 2',
      OMNIVISOR_XENSERVER_CREATE_VLANS: 'true',
    };
    expect(options(environment)).toEqual({
      cloudId: 'cloud',
      stateDir: join(folder, 'xenserver'),
      access: {
        urls: ['https://xs1.example', 'https://[2001:db8::2]:8443'],
        user: 'omnivisor',
        password: 'secret',
        trust: { kind: 'authorities', pem: 'PEM' },
      },
      ...{ member: 'xs1', repository: null, template: null },
      physicalNetworks: { physnet1: 'eth1', physnet2: 'Network 2' },
      createVlans: true,
    });
    expect(options({ ...environment, OMNIVISOR_XENSERVER_FINGERPRINTS: fingerprint }).access.trust).toEqual({
      kind: 'pinned',
      fingerprints: [fingerprint],
    });
  });

  it.each([
    ['URLS', 'http://xs1.example'],
    ['URLS', 'https://root:secret@xs1.example'],
    ['URLS', 'xs1.example'],
    ['FINGERPRINTS', 'ab:cd'],
    ['NETWORKS', 'physnet1'],
    ['NETWORKS', 'physnet1=eth1,physnet1=eth2'],
    ['CREATE_VLANS', 'perhaps'],
    ['MEMBER', ''],
  ])('does not take OMNIVISOR_XENSERVER_%s=%s', (name, value) => {
    expect(XenServerSettings.safeParse({ [`OMNIVISOR_XENSERVER_${name}`]: value }).success).toBe(false);
  });

  it('may leave out encryption on this machine only', () => {
    const urls = ['http://127.0.0.1:8080', 'http://[::1]', 'http://localhost'].join();
    expect(XenServerSettings.parse({ OMNIVISOR_XENSERVER_URLS: urls }).OMNIVISOR_XENSERVER_URLS).toHaveLength(3);
  });

  it('that names no pool makes a driver that has nothing to drive', async () => {
    const driver = new XenServerDriver(options({}));
    expect(await driver.probe(new AbortController().signal)).toMatchObject({
      health: 'undetected',
      reason: 'no address of a pool is configured',
    });
    await driver.close();
  });
});
