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

/** Rules that the user has already, and those that are to be made. */
export interface RulePlan {
  readonly had: readonly string[];
  readonly wanted: readonly AccessRuleAttributes[];
}

/** @throws DomainError `notFound` for a rule named that the user does not have */
export const planRules = async (desk: IdentityDesk, userId: string, wishes: readonly Wish[]): Promise<RulePlan> => {
  const rows = await (await desk.fresh()).find(accessRuleTable, { where: { userId } as never });
  const had = new Set<string>();
  const wanted = new Map<string, AccessRuleAttributes>();
  for (const { id: ruleId, service, method, path } of wishes) {
    const same = rows.find(
      (rule) => rule.id === ruleId || (rule.path === path && rule.method === method && rule.service === service),
    );
    if (same) had.add(same.id);
    else if (path === undefined) throw missing('Access Rule', String(ruleId));
    else {
      const attributes = { userId: userId as UserId, service, method, path } as AccessRuleAttributes;
      wanted.set(JSON.stringify(attributes), attributes);
    }
  }
  return { had: [...had], wanted: [...wanted.values()] };
};

/** @returns ids of all rules of the plan */
export const makeRules = async (desk: IdentityDesk, call: Call<unknown>, plan: RulePlan): Promise<string[]> => {
  const ids = [...plan.had];
  for (const attributes of plan.wanted) {
    const ruleId = desk.core.ids.hex();
    const command = { type: 'create', id: ruleId, attributes } as const;
    await desk.execute(accessRules, ruleId, command, call.context(`access-rule-${ruleId}`));
    ids.push(ruleId);
  }
  return ids;
};
