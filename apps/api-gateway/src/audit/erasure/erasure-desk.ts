import { argumentsOf, conflict, invalid, notFound, PersonalSubject } from '@omnivisor/contracts';
import { z } from 'zod';
import type { GatewayCore } from '../../core/gateway-core.js';
import { projectTable, userTable } from '../../identity/record/tables.js';
import { AdminCommands } from '../admin-commands.js';
import type { Erasure } from './erasure.js';

const EraseArguments = z.object({
  subject: PersonalSubject,
  reason: z.string().min(1).max(1_000),
  by: z.string().min(1).max(255),
  /** False: only says what there is. */
  confirmed: z.boolean(),
});

const LONG = 600_000;

/** Answers `omnivisor audit erase`. */
export class ErasureDesk {
  private readonly commands: AdminCommands;

  constructor(
    private readonly core: GatewayCore,
    private readonly erasure: Erasure,
  ) {
    this.commands = new AdminCommands(core.bus);
  }

  start(): Promise<void> {
    return this.commands.serve('audit-erase', (args) => this.erase(argumentsOf(EraseArguments, args)), LONG);
  }

  stop(): Promise<void> {
    return this.commands.stop();
  }

  private async erase({ subject, reason, by, confirmed }: z.output<typeof EraseArguments>) {
    await this.checkIsOver(subject);
    const found = await this.erasure.find(subject);
    if (found.closed + found.plain === 0)
      throw notFound(`the log has nothing personal of ${subject.kind} ${subject.id}`);
    return { ...found, ...(confirmed ? await this.erasure.erase(subject, reason, by) : {}), erased: confirmed };
  }

  /** Names of what is there are needed, and would come back with its next change. */
  private async checkIsOver({ kind, id }: PersonalSubject): Promise<void> {
    if (kind === 'logins') {
      if (!/^\d{4}-\d\d-\d\d$/.test(id)) throw invalid(`${id} is no day, yyyy-mm-dd`);
      if (id >= this.core.clock.now().slice(0, 10)) throw conflict(`the day ${id} is not over`);
      return;
    }
    const rows = await this.core.fresh();
    const row = kind === 'user' ? await rows.get(userTable, id) : await rows.get(projectTable, id);
    if (row) throw conflict(`${kind} ${id} is still there: delete it first`);
  }
}
