import { readdirSync, readFileSync } from 'node:fs';

/** Clock ticks of /proc/<pid>/stat in one second, on every Linux that Node runs on. */
const TICKS = 100;

const stat = (pid) => {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const f = text.slice(text.lastIndexOf(')') + 2).split(' ');
  // utime, stime, and those of children that have ended and been waited for: PostgreSQL's backends come and go.
  return {
    parent: Number(f[1]),
    own: (Number(f[11]) + Number(f[12])) / TICKS,
    ended: (Number(f[13]) + Number(f[14])) / TICKS,
  };
};

/** Processes below and including `roots`. @param {number[]} roots */
export const tree = (roots) => {
  const all = new Map();
  for (const name of readdirSync('/proc'))
    if (/^\d+$/.test(name))
      try {
        all.set(Number(name), stat(name));
      } catch {
        // ended meanwhile
      }
  const inside = new Set(roots.filter((pid) => all.has(pid)));
  for (let grown = true; grown; ) {
    grown = false;
    for (const [pid, { parent }] of all)
      if (!inside.has(pid) && inside.has(parent)) {
        inside.add(pid);
        grown = true;
      }
  }
  return new Map([...inside].map((pid) => [pid, all.get(pid)]));
};

/** CPU seconds that a set of services has used so far, by name. @param {{ name: string, pid: number }[]} services */
export const cpuSeconds = (services) =>
  Object.fromEntries(
    services.map(({ name, pid }) => [name, [...tree([pid]).values()].reduce((sum, s) => sum + s.own + s.ended, 0)]),
  );

/** CPU milliseconds that a set of services uses for each of the `n` calls of `work`. */
export const cpuMsEach = async (services, n, work) => {
  const before = total(cpuSeconds(services));
  await work();
  return ((total(cpuSeconds(services)) - before) * 1_000) / n;
};

export const total = (byName) => Object.values(byName).reduce((a, b) => a + b, 0);

/** Memory of a set of services in MiB: each shared page counted once over those that share it. */
export const pssMib = (services) =>
  Object.fromEntries(
    services.map(({ name, pid }) => [
      name,
      [...tree([pid]).keys()].reduce((sum, p) => {
        try {
          return sum + Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${p}/smaps_rollup`, 'utf8'))?.[1] ?? 0) / 1024;
        } catch {
          return sum; // ended meanwhile
        }
      }, 0),
    ]),
  );

export const loadAverage = () => Number(readFileSync('/proc/loadavg', 'utf8').split(' ')[0]);

export const quantile = (numbers, q) => {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
};

/** Milliseconds of each of `n` calls, one after the other. */
export const timed = async (n, call) => {
  const times = [];
  for (let i = 0; i < n; i += 1) {
    const from = performance.now();
    await call(i);
    times.push(performance.now() - from);
  }
  return times;
};

/** Runs `n` calls, at most `width` at once. */
export const concurrently = async (n, width, call) => {
  let next = 0;
  await Promise.all(
    Array.from({ length: Math.min(n, width) }, async () => {
      for (let i = next++; i < n; i = next++) await call(i);
    }),
  );
};
