import { ms } from '@omnivisor/contracts';
import { at, thousandMoments, withoutMoment, worldThen } from '@omnivisor/eventsourcing/testing';
import { VirtualClock } from '@omnivisor/platform/testing';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ImageCloud, startImageCloud } from './testing/image-cloud.js';

const READS = [
  ['?limit=3', 'p1'],
  ['?sort=name:asc&visibility=all', 'admin'],
  ['?member_status=all', 'p2'],
  ['?tag=t', 'p1'],
] as const;

const ask = async (of: ImageCloud, as: string, method: string, path: string, body?: unknown, type?: string) => {
  const answer = await of.app.fastify.inject({
    method: method as 'GET',
    url: `/image/v2/images${path}`,
    headers: { 'x-auth-token': as, ...(body === undefined ? {} : { 'content-type': type ?? 'application/json' }) },
    ...(body === undefined ? {} : { payload: Buffer.isBuffer(body) ? body : JSON.stringify(body) }),
  });
  return { status: answer.statusCode, text: answer.body };
};

const clock = new VirtualClock();
let cloud: ImageCloud;
let then: ImageCloud;
let goTo: (position: number) => Promise<void>;
const images: string[] = [];

/** A random life of a project's images. */
const live = async (choices: readonly number[]) => {
  for (const [n, choice] of choices.entries()) {
    await clock.advance(ms(1_500));
    const id = images[choice % Math.max(1, images.length)] ?? '';
    const change = (method: string, path: string, body?: unknown, as = 'p1', type?: string) =>
      ask(cloud, as, method, `/${id}${path}`, body, type);
    switch (choice % 8) {
      case 0: {
        const body = { name: `i${n}`, disk_format: 'raw', container_format: 'bare', visibility: 'shared', tags: ['t'] };
        const made = await ask(cloud, 'p1', 'POST', '', body);
        images.push(JSON.parse(made.text).id);
        break;
      }
      case 1:
        await change('PUT', '/file', Buffer.from(`bytes ${n}`), 'p1', 'application/octet-stream');
        break;
      case 2: {
        const patch = [{ op: 'replace', path: '/name', value: `renamed-${n}` }];
        await change('PATCH', '', patch, 'p1', 'application/openstack-images-v2.1-json-patch');
        break;
      }
      case 3:
        await change('PUT', `/tags/t${n}`);
        break;
      case 4:
        await change('POST', '/members', { member: 'p2' });
        break;
      case 5:
        await change('PUT', '/members/p2', { status: 'accepted' }, 'p2');
        break;
      case 6:
        await change('POST', '/actions/deactivate', {}, 'admin');
        break;
      default:
        if (n % 3 === 0) await change('DELETE', '');
    }
  }
};

beforeAll(async () => {
  cloud = await startImageCloud({ clock });
  await live(fc.sample(fc.nat(1_000), { numRuns: 150, seed: 3 }));
  const past = worldThen({ store: cloud.log, clock });
  goTo = past.goTo;
  then = await startImageCloud({ clock: past.clock, log: past.store });
});
afterAll(async () => {
  await then.stop();
  await cloud.stop();
});

describe('asking for the past of images', () => {
  it('says at a thousand moments what was said then', async () => {
    for (const [n, moment] of (await thousandMoments(cloud.log)).entries()) {
      await goTo(moment);
      const id = images[n % images.length];
      const one = n % 4 === 1 ? `/${id}/members` : `/${id}`;
      const [path, as] = n % 2 ? ([one, 'p1'] as const) : READS[(n / 2) % READS.length]!;
      const said = await ask(then, as, 'GET', path);
      const says = await ask(cloud, as, 'GET', at(path, moment));
      expect([moment, path, says.status, withoutMoment(says.text)]).toEqual([moment, path, said.status, said.text]);
    }
  }, 60_000);

  it('has no bytes of the past', async () => {
    expect(await ask(cloud, 'p1', 'GET', at(`/${images[0]}/file`, 1))).toMatchObject({ status: 400 });
  });
});
