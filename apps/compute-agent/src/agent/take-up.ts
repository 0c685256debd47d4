import { at, DomainError, type HostFacts, hostBus, invalid, unavailable } from '@omnivisor/contracts';
import type { z } from 'zod';
import type { AgentPorts } from './ports.js';
import type { Retries } from './retries.js';
import { Session } from './session.js';

const MOST_TRIES = 10;

/**
 * One hello: it ends the session that the host has when it is heard, not one that has come since it was said.
 * @param call names it, also when it is said again
 * @throws DomainError when the host is refused, or nobody answers
 */
export const hello = async (
  { bus, hostId }: Pick<AgentPorts, 'bus' | 'hostId'>,
  facts: HostFacts,
  call: string,
): Promise<z.output<typeof hostBus.hello.reply>> => {
  for (let after = 0, tries = 1; ; tries++)
    try {
      return await bus.request(hostBus.hello, { facts, call, after }, at(hostBus.hello, hostId));
    } catch (error) {
      const current = hostBus.takenBy(error);
      if (current === undefined) throw error;
      if (tries === MOST_TRIES) throw unavailable('others take up the host all the time', error);
      after = current;
    }
};

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
      const reply = await hello(ports, facts, call);
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
