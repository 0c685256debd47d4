import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tinyGuest } from '../../../../apps/compute-agent/src/drivers/common/tiny-guest.js';
import { which } from '../../../services/process.mjs';
import { XapiDouble } from '../double.mjs';
import { TestPool } from '../testing/pool.js';

const MIB = 2 ** 20;

describe.skipIf(!which('qemu-system-x86_64') || !which('qemu-img'))('guests in QEMU (needs qemu)', () => {
  let pool: TestPool;
  let vm: string;
  let uuid: string;
  beforeAll(async () => {
    pool = await TestPool.start({ guests: 'qemu', shutdownPatience: 1_500 });
    // A VHD that neither the double nor the driver has written.
    const raw = join(pool.folder, 'tiny.raw');
    const vhd = join(pool.folder, 'tiny.vhd');
    writeFileSync(raw, Buffer.concat([tinyGuest()], MIB));
    execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'vpc', '-o', 'force_size=on', raw, vhd]);
    const vdi = await pool.vdi(2 * MIB);
    const query = new URLSearchParams({ vdi, format: 'vhd', session_id: pool.session });
    const response = await fetch(`${pool.double.url()}/import_raw_vdi?${query}`, {
      method: 'PUT',
      body: readFileSync(vhd),
    });
    expect(response.status).toBe(200);
    await response.arrayBuffer();
    const memory = 16 * MIB;
    vm = await pool.vm({
      ...{ HVM_boot_policy: '', PV_bootloader: 'pygrub' },
      ...{
        memory_static_max: memory,
        memory_dynamic_max: memory,
        memory_dynamic_min: memory,
        memory_static_min: memory,
      },
    });
    await pool.vbd(vm, vdi);
    uuid = await pool.call('VM.get_uuid', vm);
  });
  afterAll(() => pool.stop());

  const power = () => pool.call<string>('VM.get_power_state', vm);
  const saysUp = () => pool.double.serialLog(uuid).split('is up').length - 1;
  const up = (times = 1) => expect.poll(saysUp, { timeout: 10_000, interval: 20 }).toBe(times);
  const open = async () => {
    const consoles = await pool.call<string[]>('VM.get_consoles', vm);
    const url = new URL(pool.double.url());
    const socket = connect(Number(url.port), url.hostname);
    socket.write(`CONNECT /console?ref=${consoles[1]}&session_id=${pool.session} HTTP/1.0\r\n\r\n`);
    await new Promise((resolve) => socket.once('data', resolve));
    return socket;
  };
  /** What the guest answers in brackets: then it has heard. */
  const ask = async (keys: string): Promise<string> => {
    const socket = await open();
    let text = '';
    socket.on('data', (bytes) => {
      text += bytes.toString('latin1');
    });
    socket.write(keys);
    await expect.poll(() => text, { timeout: 10_000, interval: 20 }).toMatch(/\[.\]/);
    socket.destroy();
    return /\[(.)\]/.exec(text)![1]!;
  };

  it('boot the disk that was uploaded, and switch off when asked', async () => {
    await pool.call('VM.start', vm, false, false);
    await up();
    await pool.call('VM.clean_shutdown', vm);
    expect(await power()).toBe('Halted');
  });

  it('that switch themselves off are followed', async () => {
    await pool.call('VM.start', vm, false, false);
    await up();
    const socket = await open();
    socket.write('q');
    await expect.poll(power, { timeout: 10_000 }).toBe('Halted');
    socket.destroy();
  });

  it('keep their memory while suspended', async () => {
    await pool.call('VM.start', vm, false, false);
    await up();
    expect(await ask('sM')).toBe('M');
    await pool.call('VM.suspend', vm);
    expect(await power()).toBe('Suspended');
    await pool.call('VM.resume', vm, false, false);
    expect(await ask('g')).toBe('M');
    // `i`: from now on it ignores the power button.
    await ask('ig');
    expect(await pool.refusal('VM.clean_shutdown', vm)).toEqual(['VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT', vm]);
    await pool.call('VM.hard_shutdown', vm);
  });

  it('go on while the double is started anew, and show their screen', async () => {
    await pool.call('VM.start', vm, false, false);
    await up();
    await pool.double.stop();
    const settings = { ...pool.double.settings } as Record<string, unknown>;
    delete settings.scheme;
    const again = await XapiDouble.start(settings as { stateDir: string });
    Object.assign(pool, { double: again });
    pool.session = await pool.login();
    expect(await power()).toBe('Running');
    const stream = await again.guests.console(uuid, 'rfb');
    const [greeting] = await new Promise<Buffer[]>((resolve) =>
      stream.once('data', (chunk: Buffer) => resolve([chunk])),
    );
    expect(greeting!.toString('latin1')).toBe('RFB 003.008\n');
    stream.destroy();
    await pool.call('VM.hard_shutdown', vm);
    rmSync(join(pool.folder, 'tiny.raw'));
  });
});
