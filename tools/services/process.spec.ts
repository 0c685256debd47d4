import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { explain, freePort, Refused, run } from './process.mjs';

describe('a command that is run', () => {
  it('leaves no timer behind when it is not there: a program that ran it could not end', async () => {
    const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
    const before = timers();
    await expect(run('omnivisor-no-such-command', [])).rejects.toThrow('ENOENT');
    expect(timers()).toBe(before);
  });

  it('is ended when its time is up', async () => {
    const done = await run('sleep', ['60'], { timeout: 20 });
    expect(done.code).toBeNull();
  });

  it('is ended with all that it started when it has a group of its own', async () => {
    const end = new AbortController();
    const marker = `${process.pid}.125`;
    const running = run('sh', ['-c', `sleep ${marker} & wait`], { detached: true, signal: end.signal });
    setTimeout(() => end.abort(), 50);
    expect((await running).code).toBeNull();
    expect((await run('pgrep', ['-f', `^sleep ${marker}$`])).stdout).toBe('');
  });
});

describe('an error', () => {
  it('is told in its own words, a mistake of the program with where it came from', () => {
    expect(explain(new Refused('install nftables'))).toBe('install nftables');
    expect(explain(new TypeError('x is not a function'))).toContain('process.spec.ts');
  });
});

describe('a free port', () => {
  it('is none that an outgoing connection could take while a service is started again', async () => {
    const outgoing = Number.parseInt(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8'), 10);
    expect(await freePort()).toBeLessThan(outgoing);
  });
});
