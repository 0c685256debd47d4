import { ms } from '@omnivisor/contracts';
import { at, thousandMoments, withoutMoment, worldThen } from '@omnivisor/eventsourcing/testing';
import type { VirtualClock } from '@omnivisor/platform/testing';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { memoryWorld } from '../core/gateway-core.fixtures.js';
import { type NetworkApp, networkApp, project } from './network-app.fixtures.js';

const READS = [
  ['/networks', 'demo'],
  ['/networks?sort_key=name&sort_dir=desc&limit=2', 'admin'],
  ['/subnets', 'demo'],
  ['/ports?fields=id&fields=name&fields=fixed_ips', 'demo'],
  ['/ports', 'admin'],
  ['/security-groups', 'demo'],
  ['/security-group-rules', 'demo'],
  [`/quotas/${project('demo')}`, 'demo'],
  [`/quotas/${project('demo')}/details.json`, 'admin'],
  ['/quotas', 'admin'],
  ['/network-ip-availabilities', 'admin'],
] as const;
const KINDS = ['networks', 'subnets', 'ports', 'security-groups', 'security-group-rules'] as const;
type Kind = (typeof KINDS)[number];

let cloud: NetworkApp;
let then: NetworkApp;
let goTo: (position: number) => Promise<void>;
const made: Record<Kind, string[]> = {
  networks: [],
  subnets: [],
  ports: [],
  'security-groups': [],
  'security-group-rules': [],
};

/** A random life of a project's networks. */
const live = async (choices: readonly number[]) => {
  const some = (kind: Kind, choice: number) => made[kind][choice % Math.max(1, made[kind].length)] ?? 'none';
  const make = async (kind: Kind, singular: string, body: object) => {
    const { status, body: answer } = await cloud.call('demo', 'POST', `/${kind}`, { [singular]: body });
    if (status === 201) made[kind].push(answer[singular].id);
  };
  for (const [n, choice] of choices.entries()) {
    await (cloud.core.clock as VirtualClock).advance(ms(1_500));
    const network_id = some('networks', choice);
    switch (choice % 11) {
      case 0:
        await make('networks', 'network', { name: `n${n}` });
        break;
      case 1:
        await make('subnets', 'subnet', { network_id, ip_version: 4, cidr: `10.${n}.0.0/24` });
        break;
      case 2:
      case 3:
        await make('ports', 'port', { network_id, name: `p${n}` });
        break;
      case 4:
        await make('security-groups', 'security_group', { name: `g${n}` });
        break;
      case 5: {
        const rule = { security_group_id: some('security-groups', choice), protocol: 'tcp', direction: 'ingress' };
        await make('security-group-rules', 'security_group_rule', { ...rule, port_range_min: n, port_range_max: n });
        break;
      }
      case 6:
        await cloud.call('demo', 'PUT', `/ports/${some('ports', choice)}`, { port: { name: `renamed-${n}` } });
        break;
      case 7:
        await cloud.call('demo', 'PUT', `/networks/${network_id}/tags/t${n}`);
        break;
      case 8:
        await cloud.call('admin', 'PUT', `/quotas/${project('demo')}`, { quota: { port: 50 + n } });
        break;
      case 9:
        await cloud.call('admin', 'DELETE', `/quotas/${project('demo')}`);
        break;
      default: {
        const kind = KINDS[n % KINDS.length]!;
        await cloud.call('demo', 'DELETE', `/${kind}/${some(kind, choice)}`);
      }
    }
  }
};

beforeAll(async () => {
  const world = memoryWorld();
  cloud = await networkApp(world);
  // The first list makes the project's default group.
  await cloud.call('demo', 'GET', '/security-groups');
  await live(fc.sample(fc.nat(1_000), { numRuns: 200, seed: 5 }));
  const { goTo: moveTo, ...past } = worldThen(world);
  goTo = moveTo;
  then = await networkApp({ ...memoryWorld(), ...past });
});
afterAll(async () => {
  await cloud.close();
  await then.close();
  expect([...cloud.errors, ...then.errors]).toEqual([]);
});

describe('asking for the past of networks', () => {
  it('says at a thousand moments what was said then', async () => {
    for (const [n, moment] of (await thousandMoments(cloud.core.store)).entries()) {
      await goTo(moment);
      const kind = KINDS[n % KINDS.length]!;
      const one = `/${kind}/${made[kind][n % made[kind].length]}`;
      const [path, as] = n % 2 ? ([one, 'demo'] as const) : READS[n % READS.length]!;
      const said = await then.call(as, 'GET', path);
      const says = await cloud.call(as, 'GET', at(path, moment));
      const text = withoutMoment(JSON.stringify(says.body));
      expect([moment, path, says.status, text]).toEqual([moment, path, said.status, JSON.stringify(said.body)]);
    }
  }, 120_000);
});
