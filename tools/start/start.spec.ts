import { describe, expect, it } from 'vitest';
import { cloudsYaml, openrc } from './clients.mjs';
import { startOptions } from './options.mjs';
import { isAlive } from './processes.mjs';
import { currentServices } from './state.mjs';

const login = { username: 'demo', password: "p-w'_1", project: 'demo' };

describe('options of npm start', () => {
  it('are one agent, one gateway, on the loopback', () =>
    expect(startOptions([])).toMatchObject({
      agents: 1,
      gateways: 1,
      fakeHosts: 0,
      listen: '127.0.0.1',
      detach: false,
    }));
  it.each([['--agents', 'many'], ['--port', '0'], ['--port', '70000'], ['--gateways', '0'], ['--nonsense']])(
    'refuse %s %s with the reason',
    (...args) => expect(() => startOptions(args.filter((a) => a !== undefined))).toThrow(args[0]!.replace(/^-+/, '')),
  );
});

describe('files for clients', () => {
  it('name the cloud, the project and the user', () => {
    expect(openrc('http://127.0.0.1:1', login)).toContain("export OS_PROJECT_NAME='demo'");
    expect(cloudsYaml('http://127.0.0.1:1', { demo: login })).toContain('omnivisor-demo:');
  });
});

describe('the state of a run', () => {
  it('takes a process number that went to another for a process that has ended', () => {
    expect(isAlive({ pid: process.pid, began: '1' })).toBe(false);
    const gone = { pid: process.pid, began: '1' };
    const services = [{ name: 'scheduler', ...gone, state: 'running' as const, restarts: 0 }];
    expect(
      currentServices({ supervisor: gone, endpoint: '', ready: true, services }).map((s) => [s.pid, s.state]),
    ).toEqual([
      [null, 'stopped'],
      [null, 'stopped'],
    ]);
  });
  it('is an empty list when nothing runs', () => expect(currentServices(null)).toEqual([]));
});
