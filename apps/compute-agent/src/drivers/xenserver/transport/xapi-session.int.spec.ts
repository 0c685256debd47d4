import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { TestPool } from '../../../../../../tools/doubles/xapi/testing/pool.js';
import { fromXapi, isNoAnswer, isXapiError } from './xapi-error.js';
import { type XapiAccess, XapiSession } from './xapi-session.js';

let pool: TestPool;
let xapi: XapiSession;
beforeAll(async () => {
  pool = await TestPool.start({ addresses: ['127.0.0.1', '127.0.0.2'] });
});
afterAll(() => pool.stop());

const open = (urls: string[], change: Partial<XapiAccess> = {}) =>
  new XapiSession({
    ...{ urls, user: 'root', password: 'secret', trust: { kind: 'authorities', pem: null } },
    ...{ answerTimeout: 300, connectTimeout: 300, ...change },
  });
beforeAll(() => {
  xapi = open([pool.double.url(0)]);
});
afterEach(() => {
  pool.double.faults.clear();
  for (const member of [0, 1]) pool.double.cutMember(member, null);
});
afterAll(() => xapi.close());

const failure = (call: Promise<unknown>) =>
  call.then(
    () => expect.fail('it did not fail'),
    (error: unknown) => error as Error,
  );
const counted = (method: string) => pool.double.faults.counts.get(method) ?? 0;

describe('a session', () => {
  it('finds the master by any member', async () => {
    const byMember = open([pool.double.url(1)]);
    expect(await byMember.call('pool.get_all')).toHaveLength(1);
    expect((await byMember.location()).master.host).toBe('127.0.0.1');
    await byMember.close();
  });

  it('passes over a member that is away', async () => {
    const session = open(['http://127.0.0.9:9', pool.double.url(0)]);
    expect(await session.call('pool.get_all')).toHaveLength(1);
    await session.close();
  });

  it('says why it is refused', async () => {
    const session = open([pool.double.url(0)], { password: 'guess' });
    const error = await failure(session.call('pool.get_all'));
    expect(error.message).toContain('SESSION_AUTHENTICATION_FAILED');
    expect(fromXapi(error, 'looking')).toMatchObject({ code: 'unavailable' });
    await session.close();
  });

  it('is opened anew when it is over', async () => {
    await xapi.call('pool.get_all');
    pool.double.xapi.sessions.expireAll();
    expect(await xapi.call('pool.get_all')).toHaveLength(1);
  });

  it('follows the master, also by what the pool told of its members', async () => {
    await xapi.call('pool.get_all');
    pool.double.changeMaster(pool.double.host(1));
    expect(await xapi.call('pool.get_all')).toHaveLength(1);
    expect((await xapi.location()).master.host).toBe('127.0.0.2');
    pool.double.cutMember(0, 'refuse');
    pool.double.cutMember(1, 'refuse');
    pool.double.cutMember(1, null);
    expect(await xapi.call('pool.get_all')).toHaveLength(1);
    pool.double.cutMember(0, null);
    pool.double.changeMaster(pool.double.host(0));
    expect(await xapi.call('pool.get_all')).toHaveLength(1);
  });

  it('fails in time when nobody answers, and goes on when somebody does', async () => {
    await xapi.call('pool.get_all');
    for (const how of ['silence', 'refuse'] as const) {
      for (const member of [0, 1]) pool.double.cutMember(member, how);
      const error = await failure(xapi.call('VM.create', {}));
      expect(isNoAnswer(error)).toBe(true);
      expect(fromXapi(error, 'making')).toMatchObject({ code: 'unavailable' });
      for (const member of [0, 1]) pool.double.cutMember(member, 'refuse');
      for (const member of [0, 1]) pool.double.cutMember(member, null);
    }
    expect(await xapi.call('pool.get_all')).toHaveLength(1);
  });

  it('repeats what only reads, and nothing that may have been done', async () => {
    pool.double.faults.add({ method: 'pool.get_all', loseAnswer: true, times: 1 });
    expect(await xapi.call('pool.get_all')).toHaveLength(1);
    const before = counted('VM.create');
    pool.double.faults.add({ method: 'VM.create', loseAnswer: true, times: 1 });
    expect(isNoAnswer(await failure(xapi.call('VM.create', pool.vmRecord())))).toBe(true);
    expect(counted('VM.create')).toBe(before + 1);
  });
});

describe('a task', () => {
  let vm: string;
  beforeAll(async () => {
    vm = await xapi.call('VM.create', pool.vmRecord());
  });

  it('gives the result, and is not left behind', async () => {
    const [storage] = await xapi.call<string[]>('SR.get_by_name_label', 'NFS virtual disk storage');
    const vdi = await xapi.run('VDI.create', [
      {
        ...{ SR: storage, virtual_size: 2 << 20, type: 'user' },
        ...{ sharable: false, read_only: false, other_config: {} },
      },
    ]);
    expect(await xapi.call('VDI.get_virtual_size', vdi)).toBe(2 << 20);
    expect(await xapi.run('VM.start', [vm, false, false])).toBe('');
    await expect.poll(() => xapi.call('task.get_all')).toEqual([]);
  });

  it('that fails throws what XAPI said', async () => {
    const error = await failure(xapi.run('VM.start', [vm, false, false]));
    expect(isXapiError(error) && [error.code, ...error.params]).toEqual([
      'VM_BAD_POWER_STATE',
      vm,
      'halted',
      'running',
    ]);
    expect(fromXapi(error, 'starting')).toMatchObject({
      code: 'fault',
      native: expect.stringContaining('halted, running'),
    });
  });

  it('is cancelled by its signal, and by its limit', async () => {
    pool.double.ignorePowerButton(await xapi.call('VM.get_uuid', vm));
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 20);
    for (const options of [{ signal: abort.signal }, { limit: 20 }]) {
      const error = await failure(xapi.run('VM.clean_shutdown', [vm], options));
      expect(error.message).toContain('TASK_CANCELLED');
    }
    expect(await xapi.call('VM.get_power_state', vm)).toBe('Running');
  });

  it('that does not let itself be cancelled is waited for no longer than its limit and a while', async () => {
    pool.double.faults.add({ method: 'task.cancel', error: ['OPERATION_NOT_ALLOWED', 'not now'] });
    const session = open([pool.double.url(0)], { cancelGrace: 50 });
    const error = await failure(session.run('VM.clean_shutdown', [vm], { limit: 20 }));
    expect(error).toMatchObject({
      code: 'unavailable',
      native: expect.stringContaining('task.cancel: OPERATION_NOT_ALLOWED'),
    });
    const [task] = await session.call<string[]>('task.get_all');
    pool.double.faults.clear();
    await session.call('task.cancel', task);
    await expect(session.settled(task!)).rejects.toThrow('TASK_CANCELLED');
    await session.call('task.destroy', task);
    await session.close();
  });

  it('that is lost with the master is unavailable', async () => {
    const run = failure(xapi.run('VM.clean_shutdown', [vm]));
    await expect.poll(() => xapi.call<string[]>('task.get_all')).toHaveLength(1);
    pool.double.restartToolstack();
    const error = await run;
    expect(error.message).toContain('HANDLE_INVALID(task');
  });
});

describe('events', () => {
  it('begin anew in another session: its master may not have counted as far as the one before', async () => {
    const first = await xapi.events(['VM'], null);
    expect(first.isWhole).toBe(true);
    const next = xapi.events(['VM'], first.token);
    pool.double.changeMaster(pool.double.host(1), { behind: Number.MAX_SAFE_INTEGER });
    const second = await next;
    expect(second).toMatchObject({ isWhole: true, events: { length: first.events.length } });
    const third = xapi.events(['VM'], second.token);
    pool.session = await pool.login('root', 'secret', 1);
    const vm = await pool.raw('VM.create', [pool.session, pool.vmRecord()], 1);
    expect(await third).toMatchObject({ isWhole: false, events: [{ operation: 'add', ref: vm, class: 'vm' }] });
  });
});
