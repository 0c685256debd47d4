import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ApiCloud } from '../simulate/api-cloud.js';
import { everyRoute, filled, nameOf, ownNames, queryKeys, type Route } from './paths.js';
import { type Belongings, settleMighty } from './people.js';
import { bodiesOf, contentType } from './samples.js';
import { Watch } from './watch.js';

/** Milliseconds; `npm run fuzz -- --minutes N` sets it. */
const TIME = Number(process.env.OMNIVISOR_FUZZ_SECONDS ?? 30) * 1_000;

let api: ApiCloud;
let mighty: Belongings;
let round = 0;
let clouds = 0;

/** Files, sockets, timers: what is done at once is none. */
const handlesNow = () => process.getActiveResourcesInfo().filter((kind) => kind !== 'Immediate').length;
const collect = () => {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
  return process.memoryUsage().heapUsed;
};
const held = async () => ({ heap: collect(), handles: handlesNow(), events: await api.cloud.store.head() });
let atFirst: Awaited<ReturnType<typeof held>>;

const begin = async () => {
  api = await ApiCloud.start();
  clouds += 1;
  mighty = await settleMighty(api, `fuzz${round++}`);
  atFirst = await held();
};
const expectNoGrowth = async () => {
  const now = await held();
  expect(now.handles).toBeLessThanOrEqual(atFirst.handles + 4);
  // The cloud's log, read models and histories are in memory here.
  expect(now.heap - atFirst.heap).toBeLessThan(16e6 + (now.events - atFirst.events) * 12_000);
};
/** Requests may take away the very user that makes them, or the domain of all users. */
const revive = async () => {
  try {
    mighty = await settleMighty(api, `fuzz${round++}`);
  } catch {
    await expectNoGrowth();
    await api.stop();
    await begin();
  }
};
beforeAll(begin);
afterAll(() => api?.stop());

const routes = everyRoute();
/** Where in a sample something else is put. */
const pathsIn = (value: unknown, at: readonly string[] = []): (readonly string[])[] => [
  at,
  ...(typeof value === 'object' && value !== null
    ? Object.entries(value).flatMap(([key, inner]) => pathsIn(inner, [...at, key]))
    : []),
];
const replaced = (value: unknown, [key, ...rest]: readonly string[], by: unknown): unknown => {
  if (key === undefined) return by;
  if (Array.isArray(value)) return value.map((own, i) => (`${i}` === key ? replaced(own, rest, by) : own));
  const record = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
  return { ...record, [key]: replaced(record[key], rest, by) };
};

const anyText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 300 }),
  fc.string({ unit: 'grapheme' }),
  fc.uuid(),
  fc.ipV4(),
  fc.ipV6(),
  fc.integer().map(String),
  fc.date({ noInvalidDate: true }).map((d) => d.toISOString()),
);
const anyValue = fc.oneof(
  anyText,
  fc.jsonValue({ maxDepth: 3 }),
  fc.integer(),
  fc.double(),
  fc.constantFrom(null, true),
);
const seldom = <T>(arbitrary: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 7, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary });

const anyRequest = fc.record({
  route: fc.nat({ max: routes.length - 1 }),
  /** Undefined: one's own. */
  names: fc.array(seldom(anyText), { minLength: 4, maxLength: 4 }),
  query: fc.array(fc.tuple(fc.oneof(fc.nat(100), anyText), anyText), { maxLength: 3 }),
  sample: fc.nat(20),
  changes: fc.array(fc.tuple(fc.nat(50), anyValue), { maxLength: 3 }),
  body: seldom(fc.oneof(fc.json(), anyText, fc.uint8Array({ maxLength: 200 }).map(Buffer.from))),
  version: seldom(fc.nat(110)),
  token: seldom(anyText.filter((text) => /^[\x21-\x7e]*$/.test(text))),
});
type AnyRequest = typeof anyRequest extends fc.Arbitrary<infer R> ? R : never;

const pathOf = (route: Route, { names, query }: AnyRequest): string => {
  const path = filled(
    route,
    ownNames(route, mighty).map((own, i) => names[i] ?? own),
  );
  const keys = queryKeys(route);
  const pairs = query.map(([key, value]): [string, string] => [
    typeof key === 'number' ? keys[key % keys.length]! : key,
    value,
  ]);
  return pairs.length === 0 ? path : `${path}?${new URLSearchParams(pairs)}`;
};

const bodyOf = (route: Route, { sample, changes, body }: AnyRequest): unknown => {
  if (route.spec.method === 'GET' || route.spec.method === 'HEAD') return undefined;
  if (body !== undefined) return body;
  const bodies = bodiesOf(route.spec, mighty);
  return changes.reduce<unknown>(
    (value, [at, by]) => {
      const paths = pathsIn(value);
      return replaced(value, paths[at % paths.length]!, by);
    },
    bodies[sample % bodies.length],
  );
};

it(
  'takes any request on any route without an error of its own, and keeps nothing but the log of it',
  async () => {
    const answers: Record<number, number> = {};
    await fc.assert(
      fc.asyncProperty(anyRequest, async (request) => {
        const route = routes[request.route]!;
        const { service, method } = route.spec;
        const watch = new Watch(api);
        const [path, body] = [pathOf(route, request), bodyOf(route, request)];
        const version =
          request.version === undefined ? route.version : `${service === 'compute' ? 2 : 1}.${request.version}`;
        const answer = await api.call(service, method, path, {
          token: request.token ?? mighty.token,
          version,
          ...(body === undefined ? {} : { body }),
          headers: { 'content-type': contentType(route.spec) },
        });
        answers[answer.status] = (answers[answer.status] ?? 0) + 1;
        watch.look(
          route,
          answer,
          `${nameOf(route)} at ${version}: ${path} ${body instanceof Buffer ? body.toString('hex') : JSON.stringify(body)}`,
        );
        expect(watch.wrong).toEqual([]);
        expect(await watch.left()).toEqual([]);
        if (answer.status === 401 && request.token === undefined) await revive();
      }),
      { numRuns: 10_000_000, interruptAfterTimeLimit: TIME },
    );
    console.log(`answers in ${TIME / 1_000} s, by status: ${JSON.stringify(answers)}; clouds: ${clouds}`);
    // Neither has all been refused, nor taken.
    expect((answers[200] ?? 0) + (answers[201] ?? 0)).toBeGreaterThan(TIME / 1_000);
    expect(answers[400]).toBeGreaterThan(TIME / 1_000);
    await expectNoGrowth();
  },
  TIME + 60_000,
);
