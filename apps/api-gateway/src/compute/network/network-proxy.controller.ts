import { Controller } from '@nestjs/common';
import { notFound } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import * as t from '../common/parameters.js';
import { ComputeNetworkApi } from '../compute-ports.js';
import { asked } from './network-api.js';

const service = 'compute' as const;
const versions: [string, string] = ['2.1', '2.35'];
const networks = '/v2.1/os-networks';
const tenantNetworks = '/v2.1/os-tenant-networks';

interface Network {
  readonly id: string;
  readonly name: string;
}

const words = (text: string) => text.trim().split(/\s+/);
/** What a network had before Network was a service of its own; all of it is empty now. */
const FIELDS = words('cidr netmask gateway broadcast dns1 dns2 cidr_v6 gateway_v6 netmask_v6');
const ADMIN_FIELDS = words(
  `created_at updated_at deleted_at deleted injected bridge vlan vpn_public_address vpn_public_port
   vpn_private_address dhcp_start project_id host bridge_interface multi_host priority rxtx_base mtu dhcp_server
   enable_dhcp share_address`,
);

const networkView = (call: Call, { id, name }: Network) => ({
  id,
  label: name,
  ...Object.fromEntries([...FIELDS, ...(call.isAdmin ? ADMIN_FIELDS : [])].map((field) => [field, null])),
});
// The text is what clients have always been given.
const tenantNetworkView = (_: Call, { id, name }: Network) => ({ id, cidr: 'None', label: name });

/** Networks as Compute showed them before 2.36. */
@Controller()
export class NetworkProxyController {
  constructor(private readonly network: ComputeNetworkApi) {}

  @Operation({ service, method: 'GET', path: networks, versions, policy: 'os_compute_api:os-networks:list' })
  list(call: Call) {
    return this.all(call, networkView);
  }

  @Operation({ service, method: 'GET', path: `${networks}/:id`, versions, policy: 'os_compute_api:os-networks:show' })
  show(call: Call) {
    return this.one(call, networkView);
  }

  @Operation({
    service,
    method: 'GET',
    path: tenantNetworks,
    versions,
    policy: 'os_compute_api:os-tenant-networks:list',
  })
  listTenants(call: Call) {
    return this.all(call, tenantNetworkView);
  }

  @Operation({
    service,
    method: 'GET',
    path: `${tenantNetworks}/:id`,
    versions,
    policy: 'os_compute_api:os-tenant-networks:show',
  })
  showTenants(call: Call) {
    return this.one(call, tenantNetworkView);
  }

  private async all(call: Call, view: (call: Call, network: Network) => object) {
    const found = await asked<{ networks: Network[] }>(this.network, call, 'GET', '/networks');
    return { networks: found.networks.map((network) => view(call, network)) };
  }

  private async one(call: Call, view: (call: Call, network: Network) => object) {
    const id = t.uuid.safeParse(call.params.id);
    if (!id.success) throw notFound('Network not found');
    const found = await asked<{ network: Network }>(this.network, call, 'GET', `/networks/${id.data}`).catch(
      (error) => {
        throw error.kind === 'notFound' ? notFound('Network not found') : error;
      },
    );
    return { network: view(call, found.network) };
  }
}
