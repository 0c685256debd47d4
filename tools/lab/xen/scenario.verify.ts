import { appendFileSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LabSettings, SLOWNESS } from '../../../apps/compute-agent/src/drivers/xen/testing/lab.js';
import { AllHypervisors, PHYSICAL_NETWORK } from '../../e2e/all-hypervisors.js';
import { RunningCloud } from '../../e2e/running-cloud.js';
import { type Done, Walk } from '../../e2e/scenario.js';
import { flavorsFor, refusedBy, sharedThings, wantedOf } from '../../e2e/scenario-things.js';

/** Run by tools/lab/xen.mjs, which has put what it was told into the environment. */
const { port, key, knownHosts, image, shown } = LabSettings.parse(JSON.parse(process.env.OMNIVISOR_LAB_XEN!));
const minutes = (count: number) => count * 60_000;
/** Kept for the support matrix. */
const SHOWN = 'a server goes through the steps that all hypervisors share, with the same events in the log';
const keep = (what: 'tried' | 'passed') => appendFileSync(shown, `${JSON.stringify(['scenario', SHOWN, what])}\n`);

describe('a cloud with Xen', () => {
  let cloud: RunningCloud;
  let hosts: AllHypervisors;
  const walks = new Map<string, readonly Done[]>();

  beforeAll(async () => {
    keep('tried');
    // What starts the cloud tells its services; the agents are told below.
    process.env.OMNIVISOR_PATIENCE = `${SLOWNESS}`;
    cloud = await RunningCloud.start({ bootstrap: false });
    const environment = {
      OMNIVISOR_PATIENCE: `${SLOWNESS}`,
      OMNIVISOR_XEN_HOST: `root@127.0.0.1:${port}`,
      OMNIVISOR_XEN_KEY: key,
      OMNIVISOR_XEN_KNOWN_HOSTS: knownHosts,
      OMNIVISOR_XEN_BRIDGES: `${PHYSICAL_NETWORK}=xenbr0`,
    };
    const xen = { backend: 'xen', environments: [environment, environment] } as const;
    hosts = await AllHypervisors.start(cloud, ['fake'], [xen], 60 * SLOWNESS);
  }, minutes(20));
  afterAll(async () => {
    await hosts?.stop();
    await cloud?.stop();
  }, minutes(2));

  /** The test image says so on its console when it has read its config drive. */
  const isUp = async (server: string) => {
    const { output } = await cloud.admin.post('compute', `/servers/${server}/action`, { 'os-getConsoleOutput': {} });
    return /finished: Datasource ConfigDrive/.test(output);
  };

  it(
    'takes a server through the same steps as on any other',
    async () => {
      const common = await sharedThings(cloud, readFileSync(image));
      const walk = async (host: string, pace?: ConstructorParameters<typeof Walk>[3]) => {
        const flavors = await flavorsFor(cloud, host, [160, 192]);
        const walk = new Walk(cloud.admin, host, { ...common, flavors }, pace);
        walks.set(host, walk.done);
        await walk.walk().catch((error) => {
          throw new Error(`${error.message}\n${hosts.log(host)}`, { cause: error });
        });
      };
      await walk('fake');
      let since = Date.now();
      const tellOf = ({ step, events }: Done) => {
        console.log(`${step}, ${((Date.now() - since) / 1000).toFixed(1)} s: ${[events].flat().join(', ')}`);
        since = Date.now();
      };
      await walk('xen', { seconds: 60 * SLOWNESS, hears: isUp, tell: tellOf });
      expect(walks.get('xen')!.length).toBeGreaterThanOrEqual(25);
    },
    minutes(90),
  );

  it('does every one of them', () => {
    expect(refusedBy(walks.get('xen')!)).toEqual([]);
  });

  it('has the same events in the log as any other', () => {
    expect(walks.get('xen')).toEqual(wantedOf(walks.get('fake')!, []));
    keep('passed');
  });
});
