import { argumentsOf } from '@omnivisor/contracts';
import { z } from 'zod';
import { AdminCommands } from '../../audit/admin-commands.js';
import type { GatewayCore } from '../../core/gateway-core.js';
import { serverNotFound } from '../server/state/server-rules.js';
import { serverTable } from '../server/view/server.projection.js';
import { guestView } from './guest.view.js';
import type { Guests } from './guests.js';

/** Milliseconds: the host asks the guest. */
const LONG = 20_000;
const OfServer = z.object({ server: z.string().min(1) });

/** Answers the command line's `guest`: `admin.api-gateway.guest-show`. */
export class GuestDesk {
  private readonly commands: AdminCommands;

  constructor(
    private readonly core: GatewayCore,
    private readonly guests: Guests,
  ) {
    this.commands = new AdminCommands(core.bus);
  }

  start(): Promise<void> {
    return this.commands.serve(
      'guest-show',
      async (args) => {
        const { server: id } = argumentsOf(OfServer, args);
        const rows = await this.core.fresh();
        const row = await rows.get(serverTable, id);
        if (!row || row.deleted) throw serverNotFound(id);
        return guestView(await this.guests.tell(rows, row));
      },
      LONG,
    );
  }

  stop(): Promise<void> {
    return this.commands.stop();
  }
}
