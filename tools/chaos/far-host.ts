import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import type { RunningCloud } from '../e2e/running-cloud.js';
import { readState } from '../start/state.mjs';
import { system } from './disk.js';
import { Replica } from './replica.js';
import { joined } from './sockets.js';

export const FAR = 'fake-far';

/** A fake host in a network namespace of its own, whose only way to the control plane is a cable. Needs root. */
export class FarHost {
  private constructor(
    private readonly namespace: string,
    private readonly cable: string,
    private readonly relay: Server,
    private readonly agent: Replica,
  ) {}

  static async start(cloud: RunningCloud): Promise<FarHost> {
    // A run that was killed may have left its own.
    const run = randomBytes(4).toString('hex');
    const [namespace, cable, far] = [`chaos-${run}`, `ch${run}`, `cf${run}`];
    const [here, there] = [1, 2].map((n) => `198.18.${Number.parseInt(run.slice(0, 2), 16)}.${n}`) as [string, string];
    await system('ip', 'netns', 'add', namespace);
    await system('ip', 'link', 'add', cable, 'type', 'veth', 'peer', 'name', far, 'netns', namespace);
    await system('ip', 'address', 'add', `${here}/30`, 'dev', cable);
    await system('ip', 'link', 'set', cable, 'up');
    await system('ip', '-n', namespace, 'address', 'add', `${there}/30`, 'dev', far);
    await system('ip', '-n', namespace, 'link', 'set', far, 'up');
    const relay = await relayed(Number(new URL(readState(cloud.home)!.natsUrl!).port), here);
    const credentials = join(cloud.home, 'data', 'agents', `${FAR}.creds`);
    const { stdout } = await cloud.omnivisor('host', 'enroll', FAR, '--out', credentials, '--json');
    const state = join(cloud.home, 'data', 'agents', FAR);
    mkdirSync(state);
    const agent = await Replica.beside(cloud, 'fake-1', {
      by: ['ip', 'netns', 'exec', namespace],
      address: there,
      env: {
        OMNIVISOR_NATS_URL: `nats://${here}:${(relay.address() as { port: number }).port}`,
        OMNIVISOR_HOST_ID: (JSON.parse(stdout) as { hostId: string }).hostId,
        OMNIVISOR_HOST_CREDS: credentials,
        OMNIVISOR_STATE_DIR: state,
        OMNIVISOR_NODE: FAR,
        // The fullest host is chosen first: that is the smallest one.
        OMNIVISOR_FAKE_VCPUS: '2',
        OMNIVISOR_FAKE_MEMORY_MIB: '2560',
        OMNIVISOR_FAKE_DISK_GIB: '16',
      },
    });
    return new FarHost(namespace, cable, relay, agent);
  }

  /** Nothing arrives any more, and nobody is told: connections stay open on both sides. */
  async cut(): Promise<void> {
    await system('ip', 'link', 'set', this.cable, 'down');
  }

  async join(): Promise<void> {
    await system('ip', 'link', 'set', this.cable, 'up');
  }

  async close(): Promise<void> {
    await this.agent.stop();
    this.relay.close();
    await system('ip', 'netns', 'delete', this.namespace);
  }
}

/** The bus listens on 127.0.0.1: this is the same at the end of a cable. */
const relayed = async (port: number, address: string): Promise<Server> => {
  const server = createServer((far) => joined(far, connect({ port, host: '127.0.0.1' })));
  server.listen(0, address);
  await once(server, 'listening');
  return server;
};
