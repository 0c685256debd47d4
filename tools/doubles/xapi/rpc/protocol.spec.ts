import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestPool } from '../testing/pool.js';

let pool: TestPool;
beforeAll(async () => {
  pool = await TestPool.start({
    addresses: ['127.0.0.1', '127.0.0.2'],
    users: [
      { name: 'root', password: 'secret', role: 'pool-admin' },
      { name: 'reader', password: 'reads', role: 'read-only' },
    ],
  });
});
afterAll(() => pool.stop());

describe('a call', () => {
  it('that the data model does not have is unknown', async () => {
    expect(await pool.refusal('VM.levitate')).toEqual(['MESSAGE_METHOD_UNKNOWN', 'VM.levitate']);
    expect(await pool.refusal('host_metrics.set_live', 'x', true)).toEqual([
      'MESSAGE_METHOD_UNKNOWN',
      'host_metrics.set_live',
    ]);
  });

  it('has all of its parameters, and no more', async () => {
    expect(await pool.refusal('VM.start', 'x')).toEqual(['MESSAGE_PARAMETER_COUNT_MISMATCH', 'VM.start', '3', '1']);
    expect(await pool.refusal('VM.start', 'x', false, false, 1)).toEqual([
      'MESSAGE_PARAMETER_COUNT_MISMATCH',
      'VM.start',
      '3',
      '4',
    ]);
    const vm = await pool.vm();
    expect(await pool.refusal('host.evacuate')).toEqual([
      'MESSAGE_PARAMETER_COUNT_MISMATCH',
      'host.evacuate',
      '1',
      '0',
    ]);
    await pool.call('VM.destroy', vm);
  });

  it('has parameters of the right type; whole numbers may be text', async () => {
    const vm = await pool.vm();
    expect(await pool.refusal('VM.start', vm, 'false', false)).toEqual(['FIELD_TYPE_ERROR', 'start_paused']);
    expect(await pool.refusal('VM.set_VCPUs_max', vm, 'two')).toEqual(['FIELD_TYPE_ERROR', 'value']);
    expect(await pool.refusal('VM.set_domain_type', vm, 'container')).toEqual(['FIELD_TYPE_ERROR', 'value']);
    await pool.call('VM.set_VCPUs_max', vm, '2');
    expect(await pool.call('VM.get_VCPUs_max', vm)).toBe(2);
    await pool.call('VM.destroy', vm);
  });

  it('about an object that is not there names its class', async () => {
    expect(await pool.refusal('VM.get_record', 'OpaqueRef:none')).toEqual(['HANDLE_INVALID', 'VM', 'OpaqueRef:none']);
    expect(await pool.refusal('VM.get_by_uuid', 'none')).toEqual(['UUID_INVALID', 'VM', 'none']);
  });

  it('needs a session that is still there', async () => {
    await expect(pool.raw('pool.get_all', ['OpaqueRef:none'])).rejects.toThrow('SESSION_INVALID OpaqueRef:none');
    const session = await pool.login();
    await pool.raw('session.logout', [session]);
    await expect(pool.raw('pool.get_all', [session])).rejects.toThrow('SESSION_INVALID');
  });

  it('needs the role that the data model says', async () => {
    const session = await pool.login('reader', 'reads');
    const vm = await pool.vm();
    expect(await pool.raw('VM.get_power_state', [session, vm])).toBe('Halted');
    await expect(pool.raw('VM.start', [session, vm, false, false])).rejects.toThrow(
      'RBAC_PERMISSION_DENIED vm.start No permission in user session. (Roles with this permission: pool-admin, pool-operator, vm-power-admin, vm-admin, vm-operator)',
    );
    await pool.call('VM.destroy', vm);
  });

  it('with a wrong password is no session', async () => {
    await expect(pool.login('root', 'guess')).rejects.toThrow('SESSION_AUTHENTICATION_FAILED root');
  });

  it('to a member that is not the master names the master', async () => {
    await expect(pool.login('root', 'secret', 1)).rejects.toThrow('HOST_IS_SLAVE 127.0.0.1');
    await expect(pool.raw('pool.get_all', [pool.session], 1)).rejects.toThrow('HOST_IS_SLAVE 127.0.0.1');
  });

  it('may be run in a task, whose result is XML', async () => {
    const network = await pool.one('network', 'Pool-wide network associated with eth1');
    const vm = await pool.vm();
    const task = await pool.call('Async.VIF.create', {
      ...{ VM: vm, network, device: '0', MAC: 'fa:16:3e:00:00:09', MTU: 1500, other_config: {} },
      ...{ qos_algorithm_type: '', qos_algorithm_params: {} },
    });
    const [vif] = await pool.settled(task).then(({ result }) => {
      expect(result).toMatch(/^<value>OpaqueRef:[0-9a-f-]+<\/value>$/);
      return [/OpaqueRef:[0-9a-f-]+/.exec(result)?.[0]];
    });
    expect(await pool.call('VIF.get_VM', vif)).toBe(vm);
    await pool.call('task.destroy', task);
    const failed = await pool.settled(await pool.call('Async.VM.pause', vm));
    expect(failed).toMatchObject({
      status: 'failure',
      error_info: ['VM_BAD_POWER_STATE', vm, 'running', 'halted'],
      progress: 1,
    });
    await pool.call('VM.destroy', vm);
  });
});

describe('a record', () => {
  it('has every field of its class', async () => {
    const vm = await pool.vm();
    const record = await pool.call('VM.get_record', vm);
    expect(Object.keys(record).sort()).toEqual(Object.keys(pool.double.xapi.schema.classes.VM!.fields).sort());
    expect(record).toMatchObject({ power_state: 'Halted', VBDs: [], other_config: { mac_seed: expect.any(String) } });
    await pool.call('VM.destroy', vm);
  });

  it('is not made without a field that has no default, and takes none that is read only', async () => {
    const { affinity: _, ...incomplete } = pool.vmRecord();
    expect(await pool.refusal('VM.create', incomplete)).toEqual([
      'INTERNAL_ERROR',
      'Server_helpers.Dispatcher_FieldNotFound("affinity")',
    ]);
    expect(await pool.refusal('VM.create', pool.vmRecord({ VCPUs_max: 'many' }))).toEqual([
      'FIELD_TYPE_ERROR',
      'VCPUs_max',
    ]);
    const vm = await pool.vm({ uuid: 'mine', power_state: 'Running', domid: 5 });
    expect(await pool.call('VM.get_record', vm)).toMatchObject({ power_state: 'Halted', domid: -1 });
    expect(await pool.call('VM.get_uuid', vm)).not.toBe('mine');
    await pool.call('VM.destroy', vm);
  });

  it('keeps each key of a map once', async () => {
    const vm = await pool.vm();
    await pool.call('VM.add_to_other_config', vm, 'a', '1');
    const refusal = await pool.refusal('VM.add_to_other_config', vm, 'a', '2');
    expect(refusal.slice(0, 3)).toEqual(['MAP_DUPLICATE_KEY', 'VM', 'other_config']);
    await pool.call('VM.remove_from_other_config', vm, 'a');
    await pool.call('VM.remove_from_other_config', vm, 'a');
    await pool.call('VM.destroy', vm);
  });
});

describe('XML-RPC', () => {
  const post = async (method: string, params: string[]) => {
    const body = `<?xml version='1.0'?>\n<methodCall>\n<methodName>${method}</methodName>\n<params>\n${params
      .map((p) => `<param>\n${p}\n</param>`)
      .join('')}</params>\n</methodCall>`;
    const response = await fetch(`${pool.double.url()}/`, { method: 'POST', body });
    expect(response.headers.get('content-type')).toBe('text/xml');
    return response.text();
  };
  const text = (value: string) => `<value><string>${value}</string></value>`;

  it('answers with a status', async () => {
    const answer = await post('session.login_with_password', [text('root'), text('secret')]);
    expect(answer).toMatch(/<name>Status<\/name><value>Success<\/value>.*<value>OpaqueRef:[0-9a-f-]+<\/value>/);
    expect(await post('session.login_with_password', [text('root'), text('x')])).toContain(
      '<name>ErrorDescription</name><value><array><data><value>SESSION_AUTHENTICATION_FAILED</value>',
    );
  });

  it('writes whole numbers as text and the rest by type', async () => {
    const host = pool.double.host(0);
    const answer = await post('host.get_record', [text(pool.session), text(host)]);
    expect(answer).toContain('<name>API_version_major</name><value>2</value>');
    expect(answer).toContain('<name>enabled</name><value><boolean>1</boolean></value>');
    expect(answer).toContain('<dateTime.iso8601>19700101T00:00:00Z</dateTime.iso8601>');
  });

  it('reads structs, arrays, numbers and entities', async () => {
    const vm = await pool.vm();
    const map = `<value><struct><member><name>a&lt;b</name><value>x &amp; y</value></member></struct></value>`;
    await post('VM.set_other_config', [text(pool.session), text(vm), map]);
    expect(await pool.call('VM.get_other_config', vm)).toEqual({ 'a<b': 'x & y' });
    await post('VM.set_tags', [
      text(pool.session),
      text(vm),
      '<value><array><data><value>one</value></data></array></value>',
    ]);
    await post('VM.set_user_version', [text(pool.session), text(vm), '<value><int>4</int></value>']);
    expect(await pool.call('VM.get_record', vm)).toMatchObject({ tags: ['one'], user_version: 4 });
    await pool.call('VM.destroy', vm);
  });

  it('lists its calls without a status', async () => {
    const answer = await post('system.listMethods', []);
    expect(answer).toContain('<value>VM.get_all_records</value>');
    expect(answer).not.toContain('Status');
  });

  it('that is none is a bad request', async () => {
    const response = await fetch(pool.double.url(), { method: 'POST', body: '<methodCall><oops/></methodCall>' });
    expect(response.status).toBe(400);
  });
});
