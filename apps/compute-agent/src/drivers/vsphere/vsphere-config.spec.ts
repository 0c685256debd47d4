import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { VsphereDriver } from './vsphere.driver.js';
import { VsphereSettings, vsphereOptions } from './vsphere-config.js';

const folder = mkdtempSync(join(tmpdir(), 'vsphere-config-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = (name: string, content: string) => {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
};
const options = (environment: Record<string, string>) =>
  vsphereOptions(VsphereSettings.parse(environment), 'cloud', folder);

describe('the configuration of a vCenter', () => {
  it('is read from the environment and the files it names', () => {
    const environment = {
      OMNIVISOR_VSPHERE_URL: 'https://vcenter.example',
      OMNIVISOR_VSPHERE_PASSWORD_FILE: file('password', 'secret\n'),
      OMNIVISOR_VSPHERE_CA_FILE: file('ca.pem', 'PEM'),
      OMNIVISOR_VSPHERE_DATACENTER: 'Halle 1',
      OMNIVISOR_VSPHERE_MEMBER: 'esx1.example',
      OMNIVISOR_VSPHERE_NETWORKS: 'physnet1=dvs-1,physnet2=VM Network',
      OMNIVISOR_VSPHERE_CREATE_PORT_GROUPS: 'true',
    };
    expect(options(environment)).toEqual({
      cloudId: 'cloud',
      stateDir: join(folder, 'vsphere'),
      access: {
        url: 'https://vcenter.example',
        ...{ user: 'omnivisor@vsphere.local', password: 'secret', trust: { kind: 'authorities', pem: 'PEM' } },
      },
      ...{ datacenter: 'Halle 1', cluster: null, member: 'esx1.example' },
      ...{ datastore: null, resourcePool: null, folder: null },
      physicalNetworks: { physnet1: 'dvs-1', physnet2: 'VM Network' },
      createPortGroups: true,
    });
  });

  it('is refused when a password would go over the network in the clear', () => {
    for (const url of ['http://vcenter.example', 'vcenter.example', 'https://user:secret@vcenter.example'])
      expect(VsphereSettings.safeParse({ OMNIVISOR_VSPHERE_URL: url }).success).toBe(false);
  });

  it('is that of no vCenter when it has no address, and needs no password then', async () => {
    const driver = new VsphereDriver(options({}));
    expect(await driver.probe(new AbortController().signal)).toMatchObject({ health: 'undetected' });
    await driver.close();
  });
});
