import { AdminReply, AdminRequest, adminSubject, DomainError, endpoint, unavailable } from '@omnivisor/contracts';
import { NatsBus, natsServersOf, readCredentials } from '@omnivisor/platform';
import type { Bus } from '@omnivisor/platform/ports';

/** Asks the services of the cloud. */
export interface Client {
  /**
   * @param timeout milliseconds
   * @throws DomainError as the service refuses; `unavailable` when nobody answers
   */
  ask(app: string, command: string, args?: Record<string, unknown>, timeout?: number): Promise<unknown>;
  close(): Promise<void>;
}

const TIMEOUT = 15_000;

/** Says admin commands over a bus. */
export class BusClient implements Client {
  constructor(private readonly bus: Bus) {}

  async ask(app: string, command: string, args: Record<string, unknown> = {}, timeout = TIMEOUT): Promise<unknown> {
    const e = endpoint(adminSubject(app, command), AdminRequest, AdminReply, timeout);
    const { ok, result } = await this.bus.request(e, { args });
    if (!ok) throw new DomainError('invalid', typeof result === 'string' ? result : JSON.stringify(result));
    return result;
  }

  close(): Promise<void> {
    return this.bus.close();
  }
}

/** @throws DomainError `unavailable` when the NATS server does not answer, with what to do about it */
export const connectClient = async (env: NodeJS.ProcessEnv): Promise<Client> => {
  const servers = env.OMNIVISOR_NATS_URL;
  if (!servers)
    throw unavailable('OMNIVISOR_NATS_URL is not set: start the cloud with npm start, or name its NATS server');
  const file = env.OMNIVISOR_NATS_CREDS;
  const credentials = file ? { credentials: await readCredentials(file) } : {};
  try {
    return new BusClient(
      await NatsBus.connect({ servers: natsServersOf(env), name: 'omnivisor-cli', wait: false, ...credentials }),
    );
  } catch (error) {
    if (error instanceof DomainError && error.kind === 'unavailable')
      throw unavailable(
        `the NATS server at ${servers.replace(/\/\/[^@/]*@/, '//')} does not answer; is the cloud running?`,
      );
    throw error;
  }
};
