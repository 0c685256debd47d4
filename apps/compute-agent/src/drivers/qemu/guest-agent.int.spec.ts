import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ms, ServerId } from '@omnivisor/contracts';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { listenUnix } from '../common/unix-socket.js';
import type { GuestSpec } from '../hypervisor-driver.js';
import { QemuDriver } from './qemu.driver.js';
import { linuxOn, testImage } from './testing/linux-guest.js';
import { CLOUD, TinyGuests } from './testing/tiny-guests.js';

const never = new AbortController().signal;
const stateDir = mkdtempSync(join(tmpdir(), 'omnivisor-agent-'));
const driver = new QemuDriver({ stateDir, cloudId: CLOUD, accel: 'tcg', agentPatience: 500 });
const tiny = new TinyGuests([stateDir]);
const withProperties = (spec: GuestSpec, properties: Record<string, string>): GuestSpec => ({
  ...spec,
  image: { ...spec.image, properties },
});
const take = async (id: ServerId) => {
  const disk = await driver.snapshots.exportDisk(id, 'root', 'qcow2', never);
  disk.stream.destroy();
  return disk;
};

type Answer = 'done' | 'refused' | 'silence';

/** An agent of a guest, in the place of the channel. */
class FakeAgent {
  /** What it was asked beside being there. */
  readonly asked: string[] = [];
  /** What it answers to a command, in turn, the last again and again. */
  readonly answers: Record<string, Answer[]> = {};
  private readonly sockets = new Set<Socket>();

  private constructor(private readonly server: Server) {
    server.on('connection', (socket) => {
      this.sockets.add(socket);
      let text = '';
      socket.on('data', (data) => {
        const lines = (text + data.toString('latin1')).replaceAll('\xff', '').split('\n');
        text = lines.pop()!;
        for (const line of lines) this.answer(socket, JSON.parse(line));
      });
    });
  }

  static async over(id: ServerId): Promise<FakeAgent> {
    const path = join(stateDir, 'guests', id, 'agent.sock');
    rmSync(path);
    const server = createServer();
    await listenUnix(server, path);
    return new FakeAgent(server);
  }

  private answer(socket: Socket, { execute, arguments: args }: { execute: string; arguments?: { id: number } }) {
    const say = (what: object) => socket.write(`${JSON.stringify(what)}\n`);
    if (execute === 'guest-sync-delimited') return say({ return: args!.id });
    this.asked.push(execute);
    const answers = this.answers[execute] ?? ['done'];
    const answer = answers.length > 1 ? answers.shift() : answers[0];
    if (answer === 'done') say({ return: 1 });
    if (answer === 'refused') say({ error: { class: 'GenericError', desc: 'disabled' } });
    return undefined;
  }

  close(): void {
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
  }
}

afterAll(async () => {
  await driver.close();
  rmSync(stateDir, { recursive: true });
});

describe('a snapshot of a guest with an agent', () => {
  let id: ServerId;
  let agent: FakeAgent;

  const spawn = async (properties: Record<string, string>) => {
    await driver.spawn(withProperties(tiny.spec(id), properties), never);
    await tiny.inside.up(id);
  };
  beforeEach(() => {
    id = ServerId.parse(randomUUID());
  });
  afterEach(async () => {
    agent?.close();
    await driver.destroy(id);
  });

  it('is told to thaw again until it does, each time anew', async () => {
    await spawn({ hw_qemu_guest_agent: 'yes' });
    agent = await FakeAgent.over(id);
    agent.answers['guest-fsfreeze-thaw'] = ['silence', 'refused', 'done'];
    expect((await take(id)).quiesced).toBe(true);
    expect(agent.asked).toEqual([
      'guest-fsfreeze-freeze',
      'guest-fsfreeze-thaw',
      'guest-fsfreeze-thaw',
      'guest-fsfreeze-thaw',
    ]);
  });

  it('fails, and says why, when its file systems may be frozen still; the next one finds nothing in its way', async () => {
    await spawn({ hw_qemu_guest_agent: 'yes' });
    agent = await FakeAgent.over(id);
    agent.answers['guest-fsfreeze-thaw'] = ['refused'];
    await expect(take(id)).rejects.toMatchObject({
      code: 'fault',
      message: expect.stringContaining('may be frozen still'),
      tellOwner: true,
      native: 'GenericError: disabled',
    });
    agent.answers['guest-fsfreeze-thaw'] = ['done'];
    expect((await take(id)).quiesced).toBe(true);
  });

  it('fails when an agent that may have frozen them does not answer any more', async () => {
    await spawn({ hw_qemu_guest_agent: 'yes' });
    agent = await FakeAgent.over(id);
    agent.answers['guest-fsfreeze-freeze'] = ['silence'];
    agent.answers['guest-fsfreeze-thaw'] = ['silence'];
    await expect(take(id)).rejects.toMatchObject({ code: 'fault', tellOwner: true });
    agent.answers['guest-fsfreeze-thaw'] = ['done'];
    expect((await take(id)).quiesced).toBe(false);
  });

  it('is refused when the image wants it quiesced and that cannot be', async () => {
    const refused = expect.objectContaining({
      code: 'unsupported',
      message: expect.stringContaining('os_require_quiesce'),
    });
    await spawn({ os_require_quiesce: 'yes' });
    await expect(take(id)).rejects.toEqual(refused);
    await driver.powerOff(id, ms(0));
    expect((await take(id)).quiesced).toBe(false);
    await driver.destroy(id);

    await spawn({ os_require_quiesce: 'True', hw_qemu_guest_agent: 'yes' });
    await expect(take(id)).rejects.toEqual(refused);
    agent = await FakeAgent.over(id);
    agent.answers['guest-fsfreeze-freeze'] = ['refused', 'done'];
    await expect(take(id)).rejects.toEqual(refused);
    expect((await take(id)).quiesced).toBe(true);
    await driver.pausing.pause(id);
    await expect(take(id)).rejects.toEqual(refused);
  });
});

describe('a guest with an agent that is asked to shut down', () => {
  const id = ServerId.parse(randomUUID());
  const linux = linuxOn(stateDir, testImage, []);
  const log = async () => (await driver.consoleLog.tail(id, 1 << 20)).toString('latin1');
  afterAll(() => driver.destroy(id));

  it('is asked by its agent, and by the power button where that does not do it', { timeout: 240_000 }, async () => {
    const spec = await linux.spec(id);
    await driver.spawn(spec, never);
    await linux.up(id);
    await expect.poll(() => driver.guestAgent.info(id).catch(() => null), { timeout: 60_000 }).not.toBeNull();
    // The image has no such program, so its agent answers that it cannot.
    await linux.run(id, "printf '#!/bin/sh\\necho told by: $* >/dev/console\\npoweroff\\n' >/sbin/shutdown");
    await linux.run(id, 'chmod +x /sbin/shutdown');
    await driver.powerOff(id, ms(60_000));
    expect(await log()).toContain('told by: -h -P +0');
    expect(await log()).not.toContain('power button');

    await driver.powerOn(id, []);
    await expect
      .poll(log, { timeout: 120_000 })
      .toMatch(/finished: Datasource [\s\S]*finished: Datasource [\s\S]*~ # /);
    await linux.run(id, 'rm /sbin/shutdown');
    await driver.powerOff(id, ms(60_000));
    expect(await log()).toContain('power button');
    expect((await driver.inspect(id)).power).toBe('shutdown');
  });
});
