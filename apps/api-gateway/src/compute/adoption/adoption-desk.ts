import type { UserId } from '@omnivisor/contracts';
import { argumentsOf } from '@omnivisor/contracts';
import { z } from 'zod';
import { AdminCommands, OPERATOR, operatorContexts } from '../../audit/admin-commands.js';
import type { GatewayCore } from '../../core/gateway-core.js';
import { AdoptionWanted, guestView } from './adoption.schema.js';
import type { Adoptions } from './adoptions.js';

/** Milliseconds: the host is asked for its guests. */
const LONG = 40_000;

const OfHost = z.object({ host: z.string().min(1) });
const Adopt = OfHost.extend({ adoption: AdoptionWanted });
const Release = z.object({ server: z.string().min(1) });

/** Answers the command line's `adopt` and `release`: `admin.api-gateway.guest-<command>`. */
export class AdoptionDesk {
  private readonly commands: AdminCommands;

  constructor(
    private readonly core: GatewayCore,
    private readonly adoptions: Adoptions,
  ) {
    this.commands = new AdminCommands(core.bus);
  }

  async start(): Promise<void> {
    const { commands, adoptions } = this;
    await commands.serve(
      'guest-list',
      async (args) => (await adoptions.candidates(argumentsOf(OfHost, args).host)).map(guestView),
      LONG,
    );
    await commands.serve(
      'guest-adopt',
      async (args) => {
        const { host, adoption } = argumentsOf(Adopt, args);
        return { server: await adoptions.adopt(host, adoption, OPERATOR as UserId, operatorContexts(this.core.ids)) };
      },
      LONG,
    );
    await commands.serve('guest-release', async (args) => {
      const { server } = argumentsOf(Release, args);
      await adoptions.release(server, operatorContexts(this.core.ids)());
      return { server };
    });
  }

  stop(): Promise<void> {
    return this.commands.stop();
  }
}
