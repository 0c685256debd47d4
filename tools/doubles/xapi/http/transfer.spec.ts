import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeVhd } from '../storage/vhd.mjs';
import { TestPool } from '../testing/pool.js';

const MIB = 2 ** 20;
let pool: TestPool;
beforeAll(async () => {
  pool = await TestPool.start({ addresses: ['127.0.0.1', '127.0.0.2'] });
});
afterAll(() => pool.stop());

const put = (vdi: string, format: string, body: Buffer, query: Record<string, string> = {}, member = 0) => {
  const url = new URL('/import_raw_vdi/', pool.double.url(member));
  url.search = new URLSearchParams({ vdi, format, session_id: pool.session, ...query }).toString();
  return fetch(url, { method: 'PUT', body, redirect: 'manual' });
};
const get = async (vdi: string, format: string, member = 0) => {
  const query = new URLSearchParams({ vdi, format, session_id: pool.session });
  return fetch(`${pool.double.url(member)}/export_raw_vdi?${query}`, { redirect: 'manual' });
};
const bytes = async (response: Response) => Buffer.from(await response.arrayBuffer());
const uuid = (vdi: string) => pool.call<string>('VDI.get_uuid', vdi);

/** A disk with data at both ends and a hole between. */
const contents = () => {
  const data = Buffer.alloc(6 * MIB);
  randomBytes(5000).copy(data, 100);
  randomBytes(4096).copy(data, 6 * MIB - 4096);
  return data;
};

describe('a disk', () => {
  it('comes and goes as raw bytes', async () => {
    const vdi = await pool.vdi(6 * MIB);
    const data = contents();
    const task = await pool.call('task.create', 'import', '');
    const response = await put(vdi, 'raw', data, { task_id: task });
    expect(response.status).toBe(200);
    await response.arrayBuffer();
    expect(await pool.settled(task)).toMatchObject({ status: 'success', result: `<value>${vdi}</value>` });
    expect((await bytes(await get(vdi, 'raw'))).equals(data)).toBe(true);
    expect(await pool.call('VDI.get_physical_utilisation', vdi)).toBeLessThan(MIB);
  });

  it('comes and goes as VHD, also by its uuid, and keeps its bytes', async () => {
    const [from, to] = [await pool.vdi(6 * MIB), await pool.vdi(8 * MIB)];
    const data = contents();
    await (await put(from, 'raw', data)).arrayBuffer();
    const vhd = await bytes(await get(await uuid(from), 'vhd'));
    expect(vhd.toString('latin1', 0, 8)).toBe('conectix');
    expect(vhd.length).toBeLessThan(5 * MIB);
    await (await put(to, 'vhd', vhd)).arrayBuffer();
    const whole = await bytes(await get(to, 'raw'));
    expect(whole).toHaveLength(8 * MIB);
    expect(whole.subarray(0, 6 * MIB).equals(data)).toBe(true);
  });

  it('that is no VHD, broken or too large is an I/O error in the task', async () => {
    const [small, fitting] = [await pool.vdi(4 * MIB), await pool.vdi(6 * MIB)];
    const other = pool.double.xapi.disks.path(await uuid(await pool.vdi(6 * MIB)));
    const parts: Buffer[] = [];
    for await (const part of encodeVhd(other, 6 * MIB)) parts.push(part);
    const tooLarge = Buffer.concat(parts);
    const broken = Buffer.from(tooLarge);
    broken[70] = 1 + broken[70]!;
    for (const [vdi, body, why] of [
      [small, Buffer.alloc(4096), 'its footer has another mark'],
      [small, broken, 'the checksum of the footer is wrong'],
      [small, tooLarge, 'does not fit'],
      [fitting, tooLarge.subarray(0, 600), 'ends in the middle'],
    ] as const) {
      const task = await pool.call('task.create', 'import', '');
      await put(vdi, 'vhd', body, { task_id: task }).then(
        (r) => r.arrayBuffer(),
        () => {},
      );
      const { status, error_info } = await pool.settled(task);
      expect([status, error_info[0]]).toEqual(['failure', 'VDI_IO_ERROR']);
      expect(error_info[1]).toContain(why);
    }
  });

  it('on storage of another member is there, and the answer says where', async () => {
    const [, local] = await pool.call<string[]>('SR.get_by_name_label', 'Local storage');
    const vdi = await pool.vdi(4 * MIB, 'NFS virtual disk storage', { SR: local });
    const response = await put(vdi, 'raw', Buffer.alloc(512));
    expect(response.status).toBe(302);
    const location = new URL(response.headers.get('location')!);
    expect([location.hostname, location.searchParams.get('vdi')]).toEqual(['127.0.0.2', vdi]);
    expect((await put(vdi, 'raw', Buffer.alloc(512), {}, 1)).status).toBe(200);
    expect((await get(vdi, 'raw')).status).toBe(302);
  });

  it('is given to nobody without a session, and in known formats only', async () => {
    const vdi = await pool.vdi(4 * MIB);
    expect((await put(vdi, 'raw', Buffer.alloc(0), { session_id: 'OpaqueRef:none' })).status).toBe(401);
    expect((await put(vdi, 'vmdk', Buffer.alloc(0))).status).toBe(400);
    expect((await put('no disk', 'raw', Buffer.alloc(0))).status).toBe(400);
  });

  it('in use is neither written nor read', async () => {
    const vdi = await pool.vdi(4 * MIB);
    const vm = await pool.vm();
    await pool.vbd(vm, vdi);
    await pool.call('VM.start', vm, false, false);
    expect((await put(vdi, 'raw', Buffer.alloc(512))).status).toBe(400);
    expect((await get(vdi, 'vhd')).status).toBe(400);
    await pool.call('VM.hard_shutdown', vm);
    await pool.call('VM.destroy', vm);
  });
});

describe('a console', () => {
  /** What the member answers to CONNECT, and the first bytes after it. */
  const open = async (target: string, member = 0): Promise<string> => {
    const url = new URL(pool.double.url(member));
    const socket = connect(Number(url.port), url.hostname);
    socket.write(`CONNECT ${target} HTTP/1.0\r\nHost: ${url.host}\r\n\r\n`);
    let text = '';
    for await (const chunk of socket) {
      text += chunk.toString('latin1');
      if (/\r\n\r\n./s.test(text)) break;
    }
    return text;
  };

  it('is a stream of the guest that runs on the member that was asked', async () => {
    const vm = await pool.vm({ HVM_boot_policy: '', PV_kernel: '/boot/guest/vmlinuz' });
    await pool.call('VM.start_on', vm, pool.double.host(1), false, false);
    const [rfb, text] = await pool.call<string[]>('VM.get_consoles', vm);
    const session = `session_id=${pool.session}`;
    expect(await open(`/console?ref=${rfb}&${session}`, 1)).toBe('HTTP/1.0 200 OK\r\n\r\nRFB 003.008\n');
    expect(await open(`/console?ref=${vm}&${session}`, 1)).toContain('RFB');
    const textUuid = await pool.call<string>('console.get_uuid', text);
    expect(await open(`/console?uuid=${textUuid}&${session}`, 1)).toContain('a machine is up');
    expect(await open(`/console?ref=${rfb}&${session}`, 0)).toContain('500');
    expect(await open(`/console?ref=${rfb}&session_id=none`, 1)).toContain('401');
    expect(await open(`/elsewhere?ref=${rfb}&${session}`, 1)).toContain('404');
    await pool.call('VM.hard_shutdown', vm);
    await pool.call('VM.destroy', vm);
  });
});

describe('a VM that moves', () => {
  it('to storage of another member takes copies of its disks along, and leaves CDs behind', async () => {
    const [first, second] = await pool.call<string[]>('SR.get_by_name_label', 'Local storage');
    const vdi = await pool.vdi(4 * MIB, 'NFS virtual disk storage', { SR: first, other_config: { mark: 'mine' } });
    const [iso, shared] = [await pool.vdi(MIB, 'NFS virtual disk storage', { SR: first }), await pool.vdi()];
    const vm = await pool.vm();
    const disk = await pool.vbd(vm, vdi);
    const cd = await pool.vbd(vm, iso, { type: 'CD', mode: 'RO' });
    const other = await pool.vbd(vm, shared);
    await pool.call('VM.start', vm, false, false);
    const network = await pool.one('network', 'Pool-wide network associated with eth0');
    const dest = await pool.call('host.migrate_receive', pool.double.host(1), network, {});
    expect(Object.keys(dest).sort()).toEqual(['SM', 'host', 'master', 'session_id', 'xenops']);
    expect(await pool.refusal('VM.migrate_send', vm, dest, true, {}, {}, {})).toEqual(['VDI_NOT_IN_MAP', vdi]);
    const half = { [vdi]: second };
    expect(await pool.refusal('VM.migrate_send', vm, dest, true, half, {}, {})).toEqual(['VDI_NOT_IN_MAP', shared]);
    const whole = { ...half, [shared]: await pool.call('VDI.get_SR', shared) };
    await pool.call('VM.migrate_send', vm, dest, true, whole, {}, {});
    expect(await pool.call('VM.get_resident_on', vm)).toBe(pool.double.host(1));
    const copy = await pool.call<string>('VBD.get_VDI', disk);
    expect(copy).not.toBe(vdi);
    expect(await pool.call('VDI.get_record', copy)).toMatchObject({ SR: second, other_config: {} });
    expect(await pool.call('VBD.get_VDI', other)).toBe(shared);
    expect(await pool.call('VBD.get_empty', cd)).toBe(true);
    expect((await pool.refusal('VDI.get_record', vdi))[0]).toBe('HANDLE_INVALID');
    await pool.call('VM.hard_shutdown', vm);
    await pool.call('VM.destroy', vm);
  });

  it('to another pool keeps its identity, its disks and its power', async () => {
    const other = await TestPool.start();
    const data = contents();
    const vdi = await pool.vdi(6 * MIB);
    await (await put(vdi, 'raw', data)).arrayBuffer();
    const vm = await pool.vm({ other_config: { mark: 'mine' } });
    await pool.vbd(vm, vdi);
    const vif = await pool.vif(vm);
    await pool.call('VM.start', vm, false, false);
    const machine = await pool.call<string>('VM.get_uuid', vm);
    const dest = await other.call(
      'host.migrate_receive',
      other.double.host(0),
      await other.one('network', 'Pool-wide network associated with eth0'),
      {},
    );
    const storage = await other.one('SR', 'NFS virtual disk storage');
    expect(await pool.refusal('VM.migrate_send', vm, dest, true, { [vdi]: storage }, {}, {})).toEqual([
      'VIF_NOT_IN_MAP',
      vif,
    ]);
    const network = await other.one('network', 'Pool-wide network associated with eth1');
    await pool.call('VM.migrate_send', vm, dest, true, { [vdi]: storage }, { [vif]: network }, {});
    expect((await pool.refusal('VM.get_record', vm))[0]).toBe('HANDLE_INVALID');
    const arrived = await other.call('VM.get_by_uuid', machine);
    expect(await other.call('VM.get_record', arrived)).toMatchObject({
      power_state: 'Running',
      other_config: { mark: 'mine' },
    });
    await other.call('VM.hard_shutdown', arrived);
    const [vbd] = await other.call<string[]>('VM.get_VBDs', arrived);
    const there = await other.call<string>('VBD.get_VDI', vbd);
    const query = new URLSearchParams({ vdi: there, session_id: other.session });
    const read = await fetch(`${other.double.url()}/export_raw_vdi?${query}`);
    expect((await bytes(read)).equals(data)).toBe(true);
    await other.stop();
  });
});
