import type { CommandContext, DomainEvent } from '@omnivisor/contracts';
import type { Aggregate, RowReader, Table } from '@omnivisor/eventsourcing';
import type { Vault } from '@omnivisor/eventsourcing/vault';
import type { Call } from '@omnivisor/openstack';
import type { GatewayCore } from '../core/gateway-core.js';
import { assignments } from './assignment/assignment.js';
import type { Authenticator } from './auth/authenticator.js';
import type { LoginGuard } from './auth/login-guard.js';
import type { Passwords } from './auth/passwords.js';
import type { Catalog } from './catalog/catalog.js';
import type { Names } from './record/names.js';
import { missing } from './record/record.js';
import { type AssignmentRow, assignmentTable } from './record/tables.js';
import type { TokenService } from './token/token-service.js';

/** What the controllers of identity share. */
export class IdentityDesk {
  constructor(
    readonly core: GatewayCore,
    readonly secrets: Vault,
    readonly names: Names,
    readonly passwords: Passwords,
    readonly tokens: TokenService,
    readonly guard: LoginGuard,
    readonly authenticator: Authenticator,
    readonly catalog: Catalog,
  ) {}

  fresh(): Promise<RowReader> {
    return this.core.fresh();
  }

  execute<S, C, E extends DomainEvent>(
    aggregate: Aggregate<S, C, E>,
    key: string,
    command: C,
    context: CommandContext,
  ) {
    return this.core.commands.execute(aggregate, key, command, context);
  }

  /**
   * A row by id, if the caller may see it. Who may not gets the same answer for a row that is there and one that is not.
   * @param rule asked with `{target: {[label]: …}}`
   */
  async load<Row extends object>(
    call: Call,
    rule: string,
    rows: Table<Row>,
    id: string,
    label: string,
    target: (row: Row) => Record<string, unknown>,
  ): Promise<Row> {
    const row = await (await this.fresh()).get(rows, id);
    call.enforce(rule, row ? { target: target(row) } : {});
    if (!row) throw missing(label, id);
    return row;
  }

  /** Takes away every role that fits, before what it rests on goes. */
  async unassign(where: Partial<AssignmentRow>, context: (step: string) => CommandContext): Promise<void> {
    const rows = await (await this.fresh()).find(assignmentTable, { where: where as never });
    for (const actor of new Set(rows.map((r) => r.actorId))) {
      const list = rows.filter((r) => r.actorId === actor);
      const command = { type: 'unassign' as const, assignments: list.map(assignmentOf) };
      await this.execute(assignments, actor, command, context(`unassign-${actor}`));
    }
  }
}

export const assignmentOf = (row: AssignmentRow) => ({
  actorKind: row.actorKind,
  actorId: row.actorId,
  scope: { kind: row.scopeKind, id: row.scopeId } as never,
  roleId: row.roleId as never,
  inherited: row.inherited,
});
