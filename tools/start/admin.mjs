import { readFileSync } from 'node:fs';
import { built } from './options.mjs';

/**
 * Says admin commands to the services, as the command line does.
 * @param {{ url: string, credentialsFile: string }} nats
 */
export const adminBus = async ({ url, credentialsFile }) => {
  const { NatsBus } = await built('libs/platform/dist/index.js');
  const { AdminReply, AdminRequest, adminSubject, endpoint } = await built('libs/contracts/dist/index.js');
  const bus = await NatsBus.connect({
    servers: url,
    name: 'start',
    credentials: { kind: 'creds', text: readFileSync(credentialsFile, 'utf8') },
    onError: () => {},
    onStatus: () => {},
  });
  return {
    /** @throws Error with the service's words when it refuses */
    ask: async (app, command, args = {}) => {
      const reply = await bus.request(endpoint(adminSubject(app, command), AdminRequest, AdminReply, 15_000), { args });
      if (!reply.ok) throw new Error(typeof reply.result === 'string' ? reply.result : JSON.stringify(reply.result));
      return reply.result;
    },
    close: () => bus.close(),
  };
};
