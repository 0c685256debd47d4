import { wishesOf } from '@omnivisor/contracts';
import { HypervisorError } from '../hypervisor-driver.js';
import type { GuestDefinition } from './definition.js';
import { FILES } from './files.js';
import { GuestAgentClient } from './guest-agent-client.js';
import type { QemuHost } from './qemu-host.js';

const THAW_TRIES = 3;

/** A conversation with the agent in a guest. */
export const withAgent = async <T>(
  host: QemuHost,
  guest: GuestDefinition,
  timeout: number,
  talk: (agent: GuestAgentClient) => Promise<T>,
): Promise<T> => {
  const agent = await GuestAgentClient.connect(host.store.path(guest.mark.serverId, FILES.agent), timeout);
  try {
    return await talk(agent);
  } finally {
    agent.close();
  }
};

/** Freezes the file systems of a guest for a moment. */
export interface Freeze {
  readonly isFrozen: boolean;
  /**
   * Again after it succeeded: nothing is left to do.
   * @throws HypervisorError `fault` when the file systems may be frozen still
   */
  thaw(): Promise<void>;
}

/**
 * Freezes the file systems of a running guest whose agent answers, until `thaw` is called.
 * @throws HypervisorError `unsupported` when its image wants that (`os_require_quiesce`) and it cannot be done, `fault` when
 *   the agent may have frozen them without saying so, and does not thaw them either
 */
export const frozen = async (host: QemuHost, guest: GuestDefinition): Promise<Freeze> => {
  const cannot = (why: string, cause?: HypervisorError): Freeze => {
    if (wishesOf(guest.wishes.properties, {}).some(({ name }) => name === 'os_require_quiesce'))
      throw new HypervisorError(
        'unsupported',
        `${why}, as its image wants for a snapshot (os_require_quiesce)`,
        cause?.native,
        {
          cause,
        },
      );
    return { isFrozen: false, thaw: async () => {} };
  };
  if (!guest.hasAgent) return cannot('the server has no guest agent (hw_qemu_guest_agent) that could quiesce it');
  if ((await host.state(guest)) !== 'running') return cannot('a server that stands still cannot be quiesced');
  const path = host.store.path(guest.mark.serverId, FILES.agent);
  const connect = () => GuestAgentClient.connect(path, host.agentPatience);
  let agent: GuestAgentClient;
  try {
    agent = await connect();
  } catch (error) {
    return cannot('the guest agent does not answer and quiesces nothing', error as HypervisorError);
  }
  try {
    await agent.call('guest-fsfreeze-freeze');
  } catch (error) {
    const failure = error as HypervisorError;
    // What refuses has frozen nothing now, if perhaps before. What does not answer may do it yet.
    if (failure.code === 'fault') await agent.call('guest-fsfreeze-thaw').catch(() => undefined);
    else await thawed(connect);
    return cannot('the guest agent does not freeze the file systems of the server', failure);
  } finally {
    agent.close();
  }
  let isFrozen = true;
  const thaw = async () => {
    if (!isFrozen) return;
    await thawed(connect);
    isFrozen = false;
  };
  return { isFrozen, thaw };
};

/** A new conversation each time: what an earlier one was too late for is no answer to this one. */
const thawed = async (connect: () => Promise<GuestAgentClient>): Promise<void> => {
  let failure: HypervisorError | undefined;
  for (let tries = 0; tries < THAW_TRIES; tries++) {
    let agent: GuestAgentClient | undefined;
    try {
      agent = await connect();
      await agent.call('guest-fsfreeze-thaw');
      return;
    } catch (error) {
      failure = error as HypervisorError;
    } finally {
      agent?.close();
    }
  }
  throw new HypervisorError(
    'fault',
    'the guest agent did not thaw the file systems of the server: they may be frozen still',
    failure?.native ?? failure?.message,
    { cause: failure, tellOwner: true },
  );
};
