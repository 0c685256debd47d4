import { Injectable } from '@nestjs/common';
import { conflict, DomainError, seconds } from '@omnivisor/contracts';
import type { Call } from '@omnivisor/openstack';
import { z } from 'zod';
import { GatewayCore } from '../../../core/gateway-core.js';
import { LiveAnswers } from '../../host/live-answers.js';
import { serverAggregate } from '../lifecycle/server-lifecycle.js';
import type { ServerRow } from '../view/server.projection.js';
import { administratorOf } from './server-password-change.js';

/** A guest agent is slow, and may be asked twice. */
const DEADLINE = seconds(30);

export const passwordSchema = z.strictObject({ adminPass: z.string() });

/** Changes a password inside a guest, by the agent there. The caller waits for it. */
@Injectable()
export class ServerPasswordChanger {
  constructor(
    private readonly core: GatewayCore,
    private readonly live: LiveAnswers,
  ) {}

  /** @throws DomainError `conflict` when the guest does not run, has no agent, or does not change it */
  async change(call: Call, row: ServerRow, { adminPass }: z.infer<typeof passwordSchema>): Promise<undefined> {
    const { commands } = this.core;
    const { id: serverId, image } = row;
    const user = administratorOf(image.properties);
    const ask = { type: 'changePassword', serverId, user, asAdmin: call.isAdmin } as const;
    const { state } = await commands.execute(serverAggregate, serverId, ask, call.context());
    const refusal = await this.refusal(state.placement!.host, row, user, adminPass);
    const fault = refusal === null ? null : { code: 409, message: refusal };
    const settle = { type: 'settlePassword', serverId, fault } as const;
    await commands.execute(serverAggregate, serverId, settle, call.context('settled'));
    if (refusal !== null) throw conflict(refusal);
    return undefined;
  }

  /** Why the guest has not changed it, in Nova's words; null when it has. */
  private async refusal(host: string, { id, power }: ServerRow, user: string, password: string) {
    const failed = (why: string) => `Failed to set admin password on ${id} because ${why}`;
    if (power !== 'running') return failed(`instance ${id} is not running`);
    try {
      const answer = await this.live.ask(host, { kind: 'setPassword', serverId: id, user, password }, DEADLINE);
      if (answer.unsupported) return 'Guest agent is not enabled for the instance';
      return answer.ok ? null : failed('error setting admin password');
    } catch (error) {
      if (error instanceof DomainError && error.kind === 'unavailable') return failed('its host does not answer');
      throw error;
    }
  }
}
