import type { CommandContext, ProjectId, SecurityGroupId, SecurityGroupRuleId } from '@omnivisor/contracts';
import type { GatewayCore } from '../../core/gateway-core.js';
import { step } from '../common/context.js';
import { networkQuota } from '../quota/network-quota.js';
import { securityGroup } from './security-group.js';

/** Takes a rule out of its group and gives its quota back. @throws DomainError `notFound` */
export const removeRule = async (
  core: GatewayCore,
  securityGroupId: SecurityGroupId,
  projectId: ProjectId,
  ruleId: SecurityGroupRuleId,
  context: CommandContext,
): Promise<void> => {
  const command = { type: 'removeRule', securityGroupId, ruleId } as const;
  await core.commands.execute(securityGroup, securityGroupId, command, context);
  const quota = { type: 'giveBack', projectId, resource: 'security_group_rule', ids: [ruleId] } as const;
  await core.commands.execute(networkQuota, projectId, quota, step(context, 'quota'));
};
