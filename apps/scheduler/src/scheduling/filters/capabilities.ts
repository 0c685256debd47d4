import { type GuestFilter, type HostClass, refusal } from '../candidate.js';

const SCOPE = 'capabilities:';

/** What a flavor may ask for of a hypervisor, by Nova's names. */
const known: Readonly<Record<string, (hostClass: HostClass) => string>> = {
  hypervisor_type: ({ hypervisorType }) => hypervisorType,
  hypervisor_version: ({ hypervisorVersion }) => `${hypervisorVersion}`,
  'cpu_info:arch': ({ architecture }) => architecture ?? '',
};

const order = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
const numbers =
  (holds: (difference: number) => boolean) =>
  (had: string, [wanted = '']: readonly string[]): boolean =>
    holds(Number(had) - Number(wanted));
const texts =
  (holds: (difference: number) => boolean) =>
  (had: string, [wanted = '']: readonly string[]): boolean =>
    holds(order(had, wanted));

/** Nova's operators of extra specs (`extra_specs_ops`); without one the texts are the same. */
const OPERATORS: Readonly<Record<string, (had: string, wanted: readonly string[]) => boolean>> = {
  '=': numbers((d) => d >= 0),
  '==': numbers((d) => d === 0),
  '!=': numbers((d) => d !== 0),
  '>=': numbers((d) => d >= 0),
  '<=': numbers((d) => d <= 0),
  's==': texts((d) => d === 0),
  's!=': texts((d) => d !== 0),
  's>=': texts((d) => d >= 0),
  's>': texts((d) => d > 0),
  's<=': texts((d) => d <= 0),
  's<': texts((d) => d < 0),
  '<in>': (had, [wanted = '']) => had.includes(wanted),
  '<all-in>': (had, wanted) => wanted.every((part) => had.includes(part)),
  '<or>': (had, wanted) => wanted.filter((part) => part !== '<or>').includes(had),
};

export const matches = (had: string, wanted: string): boolean => {
  const [operator = '', ...operands] = wanted.trim().split(/\s+/);
  const holds = operands.length > 0 ? OPERATORS[operator] : undefined;
  return holds ? holds(had, operands) : had === wanted.trim();
};

/** `capabilities:` of the flavor, as Nova's ComputeCapabilitiesFilter reads them; what nobody knows no host has. */
export const capabilities: GuestFilter = {
  name: 'capabilities',
  check: ({ request: { flavor } }, hostClass) => {
    for (const [key, wanted] of Object.entries(flavor.extraSpecs)) {
      if (!key.startsWith(SCOPE)) continue;
      const name = key.slice(SCOPE.length);
      const had = known[name]?.(hostClass);
      if (had === undefined || !matches(had, wanted)) return refusal(name, wanted, had ?? 'not known');
    }
    return null;
  },
};
