/**
 * What hosts cost: guests that a QEMU host starts from an image that it has already, 20 at once and one at a time, and what
 * an agent with many guests takes to keep them. A part of bench:images; prints JSON.
 */
import { alone, atRest, startBenchCloud } from './bench-cloud.mjs';
import { concurrently, cpuSeconds, loadAverage, pssMib, quantile } from './measure.mjs';

const say = (line) => console.error(line);
const round = (n, digits = 2) => Number(n.toFixed(digits));
const AT_ONCE = 20;
const ONE_BY_ONE = 10;
/** Guests of a fake host: those whose memory is asked for, and those that are kept at rest. */
const [MANY, MOST] = [500, 2_000];
/** Seconds of one look at an agent at rest, a whole round of it, and how many there are. */
const [REST, LOOKS] = [30, 4];

const withCloud = async (backend, work) => {
  const cloud = await startBenchCloud(backend);
  try {
    return await work(cloud);
  } finally {
    const problem = cloud.stop();
    if (problem) console.error(problem);
  }
};

/** Milliseconds from when the log placed a server to when it heard that its guest runs: the host's part, without its boot. */
const spawnTimes = async ({ admin }, ids) => {
  const times = [];
  for (const id of ids) {
    const url = new URL(`${admin.endpoint('compute')}/../../audit/v1/events`);
    url.search = new URLSearchParams({ resource_id: id, limit: '100' }).toString();
    const answer = await fetch(url, { headers: { 'x-auth-token': admin.token } });
    const { events } = await answer.json();
    const at = (type) => Date.parse(events.find((e) => e.type === type).time);
    times.push(at('ServerSpawned') - at('ServerScheduled'));
  }
  return times;
};

const timesOf = (times) => ({
  p50Ms: quantile(times, 0.5),
  p90Ms: quantile(times, 0.9),
  mostMs: Math.max(...times),
});

const spawning = () =>
  withCloud('qemu', async (cloud) => {
    const { admin, create } = cloud;
    const made = [];
    const make = async (name) => {
      const id = await create(name);
      made.push(id);
      return id;
    };
    // The host fetches the image once.
    await alone({ admin, create: make }, 1, 'first');
    made.length = 0;
    say('guests of a QEMU host, one at a time');
    await alone({ admin, create: make }, ONE_BY_ONE, 'one');
    const one = await spawnTimes(cloud, made.splice(0));
    say(`${AT_ONCE} at once`);
    const from = performance.now();
    await concurrently(AT_ONCE, AT_ONCE, (i) => make(`many-${i}`));
    await atRest(admin);
    const seconds = (performance.now() - from) / 1_000;
    const { servers } = await admin.get('compute', '/servers');
    for (const { id } of servers) await admin.delete('compute', `/servers/${id}`);
    await admin.until(
      'no server',
      60_000,
      async () => (await admin.get('compute', '/servers')).servers.length === 0,
      250,
    );
    return { one: timesOf(one), many: { seconds: round(seconds), ...timesOf(await spawnTimes(cloud, made)) } };
  });

const keeping = () =>
  withCloud('fake', async ({ admin, create, services }) => {
    const agent = services.filter(({ name }) => name.startsWith('fake'));
    const memory = () => round(Object.values(pssMib(agent))[0], 0);
    const used = () => Object.values(cpuSeconds(agent))[0];
    say(`an agent with ${MANY} fake guests`);
    await concurrently(MANY, 16, (i) => create(`s-${i}`));
    await atRest(admin);
    const withMany = memory();
    say(`an agent with ${MOST} fake guests, at rest`);
    await concurrently(MOST - MANY, 16, (i) => create(`t-${i}`));
    await atRest(admin);
    const looks = [];
    for (let i = 0; i < LOOKS; i += 1) {
      const before = used();
      await new Promise((resolve) => setTimeout(resolve, REST * 1_000));
      looks.push(round(((used() - before) / REST) * 100));
    }
    return { memoryMib: withMany, memoryOfMostMib: memory(), idlePercent: quantile(looks, 0.5), looks };
  });

const before = loadAverage();
const spawned = await spawning();
const kept = await keeping();
const bars = [
  ['guest of QEMU, from its place to its start, p50 ms', spawned.one.p50Ms, 400],
  [`agent with ${MANY} fake guests, PSS MiB`, kept.memoryMib, 120],
  [`agent with ${MOST} fake guests at rest, % of a core`, kept.idlePercent, 2],
].map(([name, measured, bar]) => ({ name, measured, bar, met: measured <= bar }));
const result = { load: { before, after: loadAverage() }, spawned, kept, bars };
console.log(JSON.stringify(result, null, 2));
