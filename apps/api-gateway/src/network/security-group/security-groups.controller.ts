import { Controller } from '@nestjs/common';
import type { CommandContext, ProjectId, SecurityGroupId } from '@omnivisor/contracts';
import { type Call, Operation, Reply } from '@omnivisor/openstack';
import { z } from 'zod';
import { GatewayCore } from '../../core/gateway-core.js';
import {
  type Attributes,
  bool,
  both,
  parseCreate,
  parseUpdate,
  postOnly,
  readOnly,
  text,
  textOrNone,
} from '../common/attributes.js';
import { ifRevision, list, owned, permitted, present, show, type View } from '../common/collection.js';
import { step } from '../common/context.js';
import { neutronError, securityGroupInUse } from '../common/errors.js';
import { groupMemberTable } from '../port/port-outlines.projection.js';
import { networkQuota } from '../quota/network-quota.js';
import { ensureDefaultGroup } from './default-group.js';
import { removeRule } from './remove-rule.js';
import { egressRules } from './rules.js';
import { securityGroup } from './security-group.js';
import { securityGroupKind } from './security-group.kind.js';
import { securityGroupTable } from './security-group.projection.js';

const attributes: Attributes = {
  id: readOnly,
  security_group_rules: readOnly,
  shared: readOnly,
  created_at: readOnly,
  updated_at: readOnly,
  revision_number: readOnly,
  tags: readOnly,
  name: both(text()),
  description: both(textOrNone()),
  stateful: both(bool),
  tenant_id: postOnly(text()),
  project_id: postOnly(text()),
};

/** The name of the group that every project has. */
const DEFAULT = 'default';
const defaultExists = () =>
  neutronError('conflict', 'SecurityGroupDefaultAlreadyExists', 'Default security group already exists.');

@Controller()
export class SecurityGroupsController {
  constructor(private readonly core: GatewayCore) {}

  @Operation({ service: 'network', method: 'GET', path: '/v2.0/security-groups', policy: 'authenticated' })
  async list(call: Call) {
    await this.core.fresh();
    if (call.token.projectId && call.can('create_security_group'))
      await ensureDefaultGroup(this.core, call.token.projectId, call.context());
    return list(securityGroupKind, await this.core.fresh(), call);
  }

  @Operation({ service: 'network', method: 'GET', path: '/v2.0/security-groups/:id', policy: 'authenticated' })
  async show(call: Call) {
    return show(securityGroupKind, await this.core.fresh(), call, call.params.id ?? '');
  }

  @Operation({
    service: 'network',
    method: 'POST',
    path: '/v2.0/security-groups',
    policy: 'authenticated',
    status: 201,
    body: z.unknown(),
  })
  async create(call: Call) {
    const { bulk, items } = parseCreate(call.body, 'security_group', 'security_groups', attributes);
    for (const given of items) {
      call.enforce('create_security_group', owned(`${given.project_id ?? call.token.projectId ?? ''}`));
      if (given.name === DEFAULT) throw defaultExists();
    }
    await this.core.fresh();
    const views: View[] = [];
    for (const [i, given] of items.entries()) {
      const projectId = `${given.project_id ?? call.token.projectId ?? ''}` as ProjectId;
      const context = call.context(`group ${i}`);
      await ensureDefaultGroup(this.core, projectId, context);
      const id = this.core.ids.uuid() as SecurityGroupId;
      const { commands } = this.core;
      await commands.execute(
        networkQuota,
        projectId,
        { type: 'take', projectId, resource: 'security_group', ids: [id] },
        step(context, 'quota'),
      );
      await commands.execute(
        securityGroup,
        id,
        {
          type: 'create',
          securityGroupId: id,
          projectId,
          name: (given.name as string | undefined) ?? '',
          description: (given.description as string | undefined) ?? '',
          stateful: (given.stateful as boolean | undefined) ?? true,
          isDefault: false,
          rules: egressRules(() => this.core.ids.uuid()),
        },
        context,
      );
      const rows = await this.core.fresh();
      views.push(await present(securityGroupKind, rows, call, (await rows.get(securityGroupTable, id))!, []));
    }
    return bulk ? { security_groups: views } : { security_group: views[0] };
  }

  @Operation({
    service: 'network',
    method: 'PUT',
    path: '/v2.0/security-groups/:id',
    policy: 'authenticated',
    body: z.unknown(),
  })
  async update(call: Call) {
    const row = await permitted(securityGroupKind, await this.core.fresh(), call, call.params.id ?? '', 'update');
    const given = parseUpdate(call.body, 'security_group', attributes);
    if (given.name === DEFAULT && !row.isDefault) throw defaultExists();
    if (given.stateful === false && row.stateful && !row.isDefault) await this.refuseUsed(row.id);
    await this.core.commands.execute(
      securityGroup,
      row.id,
      {
        type: 'change',
        securityGroupId: row.id,
        name: given.name as string | undefined,
        description: given.description as string | undefined,
        stateful: given.stateful as boolean | undefined,
        ifRevision: ifRevision(call),
      },
      call.context(),
    );
    const rows = await this.core.fresh();
    return {
      security_group: await present(securityGroupKind, rows, call, (await rows.get(securityGroupTable, row.id))!, []),
    };
  }

  @Operation({
    service: 'network',
    method: 'DELETE',
    path: '/v2.0/security-groups/:id',
    policy: 'authenticated',
    status: 204,
  })
  async remove(call: Call) {
    const rows = await this.core.fresh();
    const row = await permitted(securityGroupKind, rows, call, call.params.id ?? '', 'delete');
    await this.refuseUsed(row.id);
    const context = call.context();
    const { projectId } = row;
    await this.core.commands.execute(
      securityGroup,
      row.id,
      { type: 'delete', securityGroupId: row.id, evenDefault: call.isAdmin, ifRevision: ifRevision(call) },
      context,
    );
    for (const [resource, ids] of [
      ['security_group', [row.id]],
      ['security_group_rule', row.rules.map((r) => r.id)],
    ] as const)
      await this.core.commands.execute(
        networkQuota,
        projectId,
        { type: 'giveBack', projectId, resource, ids },
        step(context, resource),
      );
    await this.removeRulesTo(row.id, context);
    return new Reply(undefined);
  }

  /** @throws DomainError `SecurityGroupInUse` when a port has the group */
  private async refuseUsed(groupId: string): Promise<void> {
    const rows = await this.core.fresh();
    if ((await rows.count(groupMemberTable, { groupId, member: true })) > 0) throw securityGroupInUse(groupId);
  }

  /** Rules of other groups that named the members of one that is gone go too. */
  private async removeRulesTo(id: SecurityGroupId, context: CommandContext): Promise<void> {
    const where = { remoteGroups: { contains: id } } as never;
    for (const group of await (await this.core.fresh()).find(securityGroupTable, { where }))
      for (const rule of group.rules.filter((r) => r.remoteGroup === id))
        await removeRule(this.core, group.id, group.projectId, rule.id, step(context, rule.id));
  }
}
