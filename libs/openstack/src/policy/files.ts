import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ServiceType } from '../operation.js';
import { manners } from '../services.js';
import { Policy, readRules } from './engine.js';
import type { RuleTable } from './rule.js';
import { PolicySyntaxError } from './rule.js';

/**
 * An operator's rules: `<service>.yaml` in a folder, each as OpenStack's `policy.yaml`.
 * @throws PolicySyntaxError that names the file
 */
export const readPolicies = (folder: string): { [S in ServiceType]?: RuleTable } => {
  const policies: { [S in ServiceType]?: RuleTable } = {};
  for (const service of Object.keys(manners) as ServiceType[]) {
    const path = join(folder, `${service}.yaml`);
    if (!existsSync(path)) continue;
    try {
      const rules = readRules(readFileSync(path, 'utf8'));
      new Policy(service, rules);
      policies[service] = rules;
    } catch (error) {
      throw new PolicySyntaxError(path, error instanceof Error ? error.message : String(error));
    }
  }
  return policies;
};
