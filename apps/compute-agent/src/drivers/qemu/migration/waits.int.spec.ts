import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { ServerId } from '@omnivisor/contracts';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { dial, IncomingRelay, join as joinStreams } from '../../common/migration/relay.js';
import { RELAY, type Ticket } from '../../common/migration/ticket.js';
import type { GuestSpec } from '../../hypervisor-driver.js';
import { QemuDriver } from '../qemu.driver.js';
import { CLOUD, processesIn, TinyGuests } from '../testing/tiny-guests.js';

const never = new AbortController().signal;
const [here, there, between] = ['here', 'there', 'between'].map((name) =>
  mkdtempSync(join(tmpdir(), `ov-${name}-`)),
) as [string, string, string];
const tiny = new TinyGuests([here, there]);
const open = (stateDir: string) =>
  new QemuDriver({ stateDir, cloudId: CLOUD, accel: 'tcg', migrationSilence: 1_500, migrationStandstill: 1_000 });
const [source, target] = [open(here), open(there)];

/** What carries the channels of a migration between the two agents does with each what it is told. */
class Wire {
  private readonly held = new Set<Socket>();
  private relay: IncomingRelay | null = null;

  constructor(private readonly holds: (channel: string) => boolean) {}

  async between(text: string): Promise<string> {
    const ticket = JSON.parse(text) as Ticket;
    const path = join(between, 'guests', ticket.serverId, RELAY);
    mkdirSync(dirname(path), { recursive: true });
    this.relay = await IncomingRelay.open(path, ticket.key, undefined, async (channel, socket) => {
      if (this.holds(channel)) this.held.add(socket.resume());
      else joinStreams(socket, await dial(ticket.endpoints, true, ticket.key, channel));
    });
    return JSON.stringify({ ...ticket, endpoints: { socket: path, tcp: null } });
  }

  close(): void {
    this.relay?.close();
    for (const socket of this.held) socket.destroy();
  }
}

afterAll(async () => {
  for (const driver of [source, target]) await driver.close();
  for (const dir of [here, there, between]) rmSync(dir, { recursive: true });
});

describe('a guest that moves and is not taken further', () => {
  let id: ServerId;
  let spec: GuestSpec;
  let wire: Wire;

  beforeEach(async () => {
    id = ServerId.parse(randomUUID());
    spec = tiny.spec(id);
    await source.spawn(spec, never);
    await tiny.inside.up(id);
  });
  afterEach(async () => {
    wire?.close();
    for (const driver of [source, target]) await driver.destroy(id);
  });

  const ticketFor = async (held: Wire) => {
    wire = held;
    const offer = await source.liveMigration.offer(id);
    return wire.between(await target.liveMigration.receive(spec, offer, { disks: 'auto', attached: [] }, never));
  };
  const notMoved = { message: expect.not.stringContaining('where it is known to be') };
  const runsHere = async () => {
    expect(await source.inspect(id)).toMatchObject({ stage: 'settled', power: 'running' });
    await target.liveMigration.cancel(id);
    await tiny.inside.memory!.write(id, 'H');
    expect(await tiny.inside.memory!.read(id)).toBe('H');
  };

  it.each(['disk root', 'memory'])('goes on where it is when the way of its %s carries nothing', async (silent) => {
    const ticket = await ticketFor(new Wire((channel) => channel === silent));
    await expect(source.liveMigration.send(id, ticket, { signal: never })).rejects.toMatchObject(notMoved);
    await runsHere();
  });

  it('goes on where it is when the other process takes no memory any more', async () => {
    const signal = (name: string) =>
      execFileSync('kill', [name, readFileSync(join(there, 'guests', id, 'qemu.pid'), 'utf8').trim()]);
    const ticket = await ticketFor(
      new Wire((channel) => {
        if (channel === 'memory') signal('-STOP');
        return false;
      }),
    );
    await expect(source.liveMigration.send(id, ticket, { signal: never })).rejects.toMatchObject(notMoved);
    signal('-CONT');
    await runsHere();
  });

  it('is given away when the other agent does not say that it runs there, for whoever accepts it', async () => {
    await tiny.inside.memory!.write(id, 'M');
    const ticket = await ticketFor(new Wire((channel) => channel === 'control'));
    await source.liveMigration.send(id, ticket, { signal: never });
    expect(await source.inspect(id)).toMatchObject({ stage: 'moved' });
    expect(processesIn(join(here, 'guests', id))).toEqual([]);
    await target.liveMigration.accept(id);
    expect(await target.inspect(id)).toMatchObject({ stage: 'settled', power: 'running' });
    expect(await tiny.inside.memory!.read(id)).toBe('M');
  });
});
