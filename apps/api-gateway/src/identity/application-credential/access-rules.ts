import type { AccessRuleAttributes, UserId } from '@omnivisor/contracts';
import type { Call } from '@omnivisor/openstack';
import { z } from 'zod';
import type { IdentityDesk } from '../desk.js';
import { accessRules } from '../record/aggregates.js';
import { missing } from '../record/record.js';
import { accessRuleTable } from '../record/tables.js';

const id = z.string().min(1).max(64);
const Rule = z.looseObject({
  path: z.string().max(225).regex(/^\//),
  method: z.enum(['DELETE', 'GET', 'HEAD', 'PATCH', 'POST', 'PUT']),
  service: id,
});
/** A rule of the user's by its id, or one to make. */
export const AccessRuleWish = z.union([Rule.extend({ id: id.optional() }), z.looseObject({ id })]);
type Wish = z.infer<typeof AccessRuleWish>;

/** In the order of the wishes: the id of a rule that the user has already, or one that is to be made. */
export type RulePlan = readonly (string | AccessRuleAttributes)[];

/** @throws DomainError `notFound` for a rule named that the user does not have */
export const planRules = async (desk: IdentityDesk, userId: string, wishes: readonly Wish[]): Promise<RulePlan> => {
  const rows = await (await desk.fresh()).find(accessRuleTable, { where: { userId } as never });
  const plan = new Map<string, string | AccessRuleAttributes>();
  for (const { id: ruleId, service, method, path } of wishes) {
    const same = rows.find(
      (rule) => rule.id === ruleId || (rule.path === path && rule.method === method && rule.service === service),
    );
    if (same) plan.set(same.id, same.id);
    else if (path === undefined) throw missing('Access Rule', String(ruleId));
    else {
      const attributes = { userId: userId as UserId, service, method, path } as AccessRuleAttributes;
      plan.set(JSON.stringify(attributes), attributes);
    }
  }
  return [...plan.values()];
};

/** @returns ids of all rules of the plan */
export const makeRules = async (desk: IdentityDesk, call: Call<unknown>, plan: RulePlan): Promise<string[]> => {
  const ids: string[] = [];
  for (const rule of plan) {
    if (typeof rule === 'string') {
      ids.push(rule);
      continue;
    }
    const ruleId = desk.core.ids.hex();
    const command = { type: 'create', id: ruleId, attributes: rule } as const;
    await desk.execute(accessRules, ruleId, command, call.context(`access-rule-${ruleId}`));
    ids.push(ruleId);
  }
  return ids;
};
