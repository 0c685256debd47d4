import { Injectable } from '@nestjs/common';
import type { CommandContext } from '@omnivisor/contracts';
import { IdentityDesk } from './desk.js';
import { LIMITS, unifiedLimits } from './limit/unified-limits.js';
import {
  accessRules,
  applicationCredentials,
  groups,
  projects,
  roles,
  storedCredentials,
  users,
} from './record/aggregates.js';
import {
  accessRuleTable,
  type CredentialRow,
  credentialTable,
  type GroupRow,
  groupTable,
  type ProjectRow,
  type RoleRow,
  roleTable,
  type StoredCredentialRow,
  storedCredentialTable,
  type UserRow,
} from './record/tables.js';

type Context = (step: string) => CommandContext;

/** Takes things away together with what rests on them; what was interrupted is finished by doing it again. */
@Injectable()
export class Removal {
  constructor(private readonly desk: IdentityDesk) {}

  async project(row: ProjectRow, context: Context): Promise<void> {
    await this.desk.unassign({ scopeId: row.id, scopeKind: 'project' }, (s) => context(`${s}-${row.id}`));
    await this.credentials({ projectId: row.id }, context);
    await this.limits(row.id, context);
    await this.desk.execute(projects, row.id, { type: 'delete', id: row.id }, context(`delete-${row.id}`));
    await this.desk.names.giveBack('project', row.domainId, row.name, row.id, context(row.id));
  }

  async user(row: UserRow, context: Context): Promise<void> {
    await this.desk.unassign({ actorId: row.id }, (s) => context(`${s}-${row.id}`));
    await this.credentials({ userId: row.id }, context);
    await this.accessRules(row.id, context);
    const member = await (await this.desk.fresh()).find(groupTable, {
      where: { members: { contains: row.id } } as never,
    });
    for (const group of member) {
      const command = { type: 'removeMember' as const, id: group.id, userId: row.id };
      await this.desk.execute(groups, group.id, command, context(`leave-${row.id}`));
    }
    await this.desk.execute(users, row.id, { type: 'delete', id: row.id }, context(`delete-${row.id}`));
    await this.desk.names.giveBack('user', row.domainId, row.name, row.id, context(row.id));
    if (row.password) await this.desk.secrets.erase(row.password.ref);
  }

  async group(row: GroupRow, context: Context): Promise<void> {
    await this.desk.unassign({ actorId: row.id }, (s) => context(`${s}-${row.id}`));
    await this.desk.execute(groups, row.id, { type: 'delete', id: row.id }, context(`delete-${row.id}`));
    await this.desk.names.giveBack('group', row.domainId, row.name, row.id, context(row.id));
  }

  async role(row: RoleRow, context: Context): Promise<void> {
    await this.desk.unassign({ roleId: row.id }, (s) => context(`${s}-${row.id}`));
    const implying = await (await this.desk.fresh()).find(roleTable, {
      where: { implies: { contains: row.id } } as never,
    });
    for (const { id } of implying) {
      const command = { type: 'noLongerImply' as const, id, impliedId: row.id };
      await this.desk.execute(roles, id, command, context(`imply-${id}-${row.id}`));
    }
    await this.desk.execute(roles, row.id, { type: 'delete', id: row.id }, context(`delete-${row.id}`));
    await this.desk.names.giveBack('role', row.domainId ?? '', row.name, row.id, context(row.id));
  }

  async credential(row: CredentialRow, context: Context): Promise<void> {
    await this.desk.execute(
      applicationCredentials,
      row.id,
      { type: 'delete', id: row.id },
      context(`delete-${row.id}`),
    );
    await this.desk.names.giveBack('application credential', row.userId, row.name, row.id, context(row.id));
    await this.desk.secrets.erase(row.secret.ref);
  }

  async storedCredential(row: StoredCredentialRow, context: Context): Promise<void> {
    const { id, blob } = row;
    await this.desk.execute(storedCredentials, id, { type: 'delete', id }, context(`delete-${id}`));
    await this.desk.secrets.erase(blob.ref);
  }

  async limits(ownerId: string, context: Context): Promise<void> {
    await this.desk.execute(unifiedLimits, LIMITS, { type: 'deleteOf', ownerId }, context(`limits-${ownerId}`));
  }

  private async accessRules(userId: string, context: Context): Promise<void> {
    const rows = await (await this.desk.fresh()).find(accessRuleTable, { where: { userId } as never });
    for (const { id } of rows)
      await this.desk.execute(accessRules, id, { type: 'delete', id }, context(`access-rule-${id}`));
  }

  private async credentials(where: object, context: Context): Promise<void> {
    const rows = await this.desk.fresh();
    for (const row of await rows.find(credentialTable, { where: where as never })) await this.credential(row, context);
    for (const row of await rows.find(storedCredentialTable, { where: where as never }))
      await this.storedCredential(row, context);
  }
}
