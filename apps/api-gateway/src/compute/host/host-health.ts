import type { HostRow } from './host.projection.js';

/** Of `disabled_reason`. */
const MAX_LENGTH = 255;

/** Why no guest can run on the host now; null while one can. */
const ailmentOf = ({ probes, facts }: HostRow): string | null => {
  const own = probes.find(({ backend }) => backend === facts?.backend);
  if (probes.length === 0 || own?.health === 'healthy') return null;
  return own
    ? own.reason
    : probes.map(({ backend, health, reason }) => `${backend} is ${health}: ${reason}`).join('; ');
};

/** A host that cannot run guests is shown as Nova shows one that has lost its hypervisor: disabled, with the reason. */
export const statusOf = (
  host: HostRow,
): { readonly status: 'enabled' | 'disabled'; readonly reason: string | null } => {
  const ailment = ailmentOf(host);
  const automatic = ailment === null ? null : `AUTO: ${ailment}`.slice(0, MAX_LENGTH);
  return {
    status: host.enabled && ailment === null ? 'enabled' : 'disabled',
    reason: host.enabled ? automatic : (host.disabledReason ?? automatic),
  };
};
