import { at, DomainError, type HostFacts, hostBus, invalid } from '@omnivisor/contracts';
import type { AgentPorts } from './ports.js';
import type { Retries } from './retries.js';
import { Session } from './session.js';

/**
 * Takes up the host: from now on older sessions of it have ended.
 * @returns undefined when `signal` aborts before anybody answers
 * @throws DomainError when the host is refused
 */
export const takeUp = async (
  ports: AgentPorts,
  retries: Retries,
  signal: AbortSignal,
): Promise<{ readonly session: Session; readonly facts: HostFacts } | undefined> => {
  const call = `${ports.clock.now()} ${ports.random()}`;
  while (!signal.aborted) {
    try {
      const facts = await ports.facts();
      const reply = await ports.bus.request(hostBus.hello, { facts, call }, at(hostBus.hello, ports.hostId));
      if (reply.cloudId !== ports.cloudId) throw invalid('this host belongs to another cloud');
      return { session: new Session(ports, reply.session), facts };
    } catch (error) {
      if (error instanceof DomainError && error.kind !== 'unavailable') throw error;
      ports.onError('hello', error);
      await ports.clock.sleep(retries.pause('hello'), signal);
    }
  }
  return undefined;
};
