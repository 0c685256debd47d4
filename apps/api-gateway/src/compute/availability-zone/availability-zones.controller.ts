import { Controller } from '@nestjs/common';
import { type Call, Operation } from '@omnivisor/openstack';
import { GatewayCore } from '../../core/gateway-core.js';
import { isoNaive } from '../common/paging.js';
import type { HostRow } from '../host/host.projection.js';
import { hostsOf } from '../host/host-usage.js';

const rule = (name: string) => `os_compute_api:os-availability-zone:${name}`;
/** The zone of a cloud that has no hosts yet. */
const DEFAULT_ZONE = 'nova';

/** Zones are what their hosts say; a zone is available while one of its hosts takes servers. */
@Controller()
export class AvailabilityZonesController {
  constructor(private readonly core: GatewayCore) {}

  @Operation({ service: 'compute', method: 'GET', path: '/v2.1/os-availability-zone', policy: rule('list') })
  async list(_call: Call) {
    const zones = await this.zones();
    return { availabilityZoneInfo: [...zones].map(([name, hosts]) => zoneView(name, hosts, null)) };
  }

  @Operation({ service: 'compute', method: 'GET', path: '/v2.1/os-availability-zone/detail', policy: rule('detail') })
  async detail(_call: Call) {
    const zones = await this.zones();
    return {
      availabilityZoneInfo: [...zones].map(([name, hosts]) =>
        zoneView(
          name,
          hosts,
          Object.fromEntries(
            hosts.map((h) => [
              h.name,
              { 'nova-compute': { available: h.up, active: h.enabled, updated_at: isoNaive(h.updatedAt) } },
            ]),
          ),
        ),
      ),
    };
  }

  private async zones(): Promise<Map<string, HostRow[]>> {
    const zones = new Map<string, HostRow[]>();
    for (const host of await hostsOf(await this.core.fresh()))
      zones.set(host.availabilityZone, [...(zones.get(host.availabilityZone) ?? []), host]);
    if (zones.size === 0) zones.set(DEFAULT_ZONE, []);
    return new Map([...zones].sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}

const zoneView = (zoneName: string, hosts: readonly HostRow[], detail: Record<string, unknown> | null) => ({
  zoneName,
  zoneState: { available: hosts.length === 0 || hosts.some((h) => h.enabled) },
  hosts: detail,
});
