import type { CommandContext, ProjectId, SecurityGroupId } from '@omnivisor/contracts';
import { uuidV5 } from '@omnivisor/platform/ports';
import type { GatewayCore } from '../../core/gateway-core.js';
import { step } from '../common/context.js';
import { egressRules, memberRules } from './rules.js';
import { securityGroup } from './security-group.js';
import { securityGroupTable } from './security-group.projection.js';

const NAMESPACE = '5b1f7c6e-8f0b-4b7e-9d53-0f5d8c2f6a11';

/** A project has one default group: its id follows from the project's, so that it cannot be made twice. */
export const defaultGroupId = (projectId: string): SecurityGroupId => uuidV5(NAMESPACE, projectId) as SecurityGroupId;

/** Makes the default group of a project on first use. @returns its id */
export const ensureDefaultGroup = async (
  core: GatewayCore,
  projectId: string,
  context: CommandContext,
): Promise<SecurityGroupId> => {
  const id = defaultGroupId(projectId);
  if (core.isLookingBack || (await core.readModel.get(securityGroupTable, id))) return id;
  const rule = (name: string) => uuidV5(id, name);
  await core.commands.execute(
    securityGroup,
    id,
    {
      type: 'create',
      securityGroupId: id,
      projectId: projectId as ProjectId,
      name: 'default',
      description: 'Default security group',
      stateful: true,
      isDefault: true,
      rules: [...egressRules(rule), ...memberRules(id, rule)],
    },
    step(context, 'default group'),
  );
  return id;
};
