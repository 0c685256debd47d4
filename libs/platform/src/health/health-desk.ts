import { AdminReply, AdminRequest, adminSubject, endpoint } from '@omnivisor/contracts';
import type { Bus, Subscription } from '../ports/index.js';
import type { Health } from './health.js';

/** Answers `admin.<app>.health` for one replica of an app, with what each thing it rests on says. */
export const serveHealth = (bus: Bus, health: Health): Promise<Subscription> =>
  bus.respond(
    endpoint(adminSubject(health.service, 'health'), AdminRequest, AdminReply),
    async () => ({ ok: true, result: await health.detail() }),
    { queue: health.service },
  );
