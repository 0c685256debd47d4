import { Controller } from '@nestjs/common';
import { notFound } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';

const compute = 'compute' as const;

/** Extensions of before 2.1 that are part of the API for good, as far as they are served. */
const extensions = [
  ['ExtendedServerAttributes', 'OS-EXT-SRV-ATTR'],
  ['ExtendedStatus', 'OS-EXT-STS'],
  ['ExtendedAvailabilityZone', 'OS-EXT-AZ'],
  ['ExtendedIps', 'OS-EXT-IPS'],
  ['ExtendedIpsMac', 'OS-EXT-IPS-MAC'],
  ['ImageSize', 'OS-EXT-IMG-SIZE'],
  ['ServerUsage', 'OS-SRV-USG'],
  ['DiskConfig', 'OS-DCF'],
  ['FlavorDisabled', 'OS-FLV-DISABLED'],
  ['FlavorExtraData', 'OS-FLV-EXT-DATA'],
  ['SchedulerHints', 'OS-SCH-HNT'],
  ['AccessIPs', 'os-access-ips'],
  ['AdminActions', 'os-admin-actions'],
  ['AttachInterfaces', 'os-attach-interfaces'],
  ['AvailabilityZone', 'os-availability-zone'],
  ['ConfigDrive', 'os-config-drive'],
  ['ConsoleAuthTokens', 'os-console-auth-tokens'],
  ['ConsoleOutput', 'os-console-output'],
  ['Consoles', 'os-consoles'],
  ['DeferredDelete', 'os-deferred-delete'],
  ['ExtendedVolumes', 'os-extended-volumes'],
  ['FlavorAccess', 'os-flavor-access'],
  ['FlavorExtraSpecs', 'os-flavor-extra-specs'],
  ['FlavorManage', 'os-flavor-manage'],
  ['FlavorRxtx', 'os-flavor-rxtx'],
  ['FlavorSwap', 'os-flavor-swap'],
  ['Hypervisors', 'os-hypervisors'],
  ['InstanceActions', 'os-instance-actions'],
  ['Keypairs', 'os-keypairs'],
  ['LockServer', 'os-lock-server'],
  ['MigrateServer', 'os-migrate-server'],
  ['Migrations', 'os-migrations'],
  ['MultipleCreate', 'os-multiple-create'],
  ['Networks', 'os-networks'],
  ['PauseServer', 'os-pause-server'],
  ['Personality', 'os-personality'],
  ['Quotas', 'os-quota-sets'],
  ['SecurityGroups', 'os-security-groups'],
  ['ServerDiagnostics', 'os-server-diagnostics'],
  ['ServerGroupQuotas', 'os-server-group-quotas'],
  ['ServerGroups', 'os-server-groups'],
  ['ServerListMultiStatus', 'os-server-list-multi-status'],
  ['ServerPassword', 'os-server-password'],
  ['ServerSortKeys', 'os-server-sort-keys'],
  ['ServerStartStop', 'os-server-start-stop'],
  ['Services', 'os-services'],
  ['SimpleTenantUsage', 'os-simple-tenant-usage'],
  ['OSTenantNetworks', 'os-tenant-networks'],
  ['UsedLimits', 'os-used-limits'],
  ['UsedLimitsForAdmin', 'os-used-limits-for-admin'],
  ['UserData', 'os-user-data'],
].map(([name, alias]) => ({
  name,
  alias,
  description: `${name} of the Compute API.`,
  namespace: 'http://docs.openstack.org/compute/ext/fake_xml',
  updated: '2014-12-03T00:00:00Z',
  links: [],
}));

/** Small parts of the API that have nothing to keep. */
@Controller()
export class SmallController {
  @Operation({ service: compute, method: 'GET', path: '/v2.1/extensions', policy: 'os_compute_api:extensions' })
  extensions() {
    return { extensions };
  }

  @Operation({ service: compute, method: 'GET', path: '/v2.1/extensions/:alias', policy: 'os_compute_api:extensions' })
  extension(call: Call) {
    const extension = extensions.find((e) => e.alias === call.params.alias);
    if (!extension) throw notFound(`Could not find extension ${call.params.alias!.slice(0, 255)}`);
    return { extension };
  }

  /** Hosts are not grouped: there is no way to make a host aggregate yet. */
  @Operation({
    service: compute,
    method: 'GET',
    path: '/v2.1/os-aggregates',
    policy: 'os_compute_api:os-aggregates:index',
  })
  aggregates() {
    return { aggregates: [] };
  }
}
