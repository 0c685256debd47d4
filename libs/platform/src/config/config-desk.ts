import { AdminReply, AdminRequest, adminSubject, endpoint } from '@omnivisor/contracts';
import type { z } from 'zod';
import type { Bus, Subscription } from '../ports/index.js';
import { checkConfig, type Environment, showConfig } from './config.js';

/**
 * Answers `admin.<app>.config-show` and `admin.<app>.config-check` for one replica of an app; secrets stay masked.
 * What a running service was started with is what it shows: its environment does not change any more.
 */
export const serveConfig = async (
  bus: Bus,
  app: string,
  schema: z.ZodObject,
  env: Environment,
): Promise<Subscription> => {
  const served = (command: string) => endpoint(adminSubject(app, command), AdminRequest, AdminReply);
  const queue = { queue: app };
  const subscriptions = [
    await bus.respond(served('config-show'), async () => ({ ok: true, result: showConfig(schema, env) }), queue),
    await bus.respond(served('config-check'), async () => ({ ok: true, result: checkConfig(schema, env) }), queue),
  ];
  return {
    close: async () => {
      for (const subscription of subscriptions) await subscription.close();
    },
  };
};
