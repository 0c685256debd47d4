import { AdoptionController } from './adoption/adoption.controller.js';
import { Adoptions } from './adoption/adoptions.js';
import { AvailabilityZonesController } from './availability-zone/availability-zones.controller.js';
import { ConsolesController } from './console/consoles.controller.js';
import { Consoles } from './console/consoles.js';
import { FlavorsController } from './flavor/flavors.controller.js';
import { GuestController } from './guest/guest.controller.js';
import { Guests } from './guest/guests.js';
import { HostUptimes } from './hypervisor/host-uptimes.js';
import { HypervisorsController } from './hypervisor/hypervisors.controller.js';
import { ImageProxyController } from './image/image-proxy.controller.js';
import { InstanceActionsController } from './instance-action/instance-actions.controller.js';
import { KeypairsController } from './keypair/keypairs.controller.js';
import { LimitsController } from './limits/limits.controller.js';
import { MigrationsController } from './migration/migrations.controller.js';
import { ServerMigrationsController } from './migration/server-migrations.controller.js';
import { SmallController } from './misc/small.controller.js';
import { NetworkProxyController } from './network/network-proxy.controller.js';
import { SecurityGroupProxyController } from './network/security-group-proxy.controller.js';
import { QuotaSetsController } from './quota/quota-sets.controller.js';
import { SchedulingController } from './scheduling/scheduling.controller.js';
import { HostOfImage } from './server/actions/host-of-image.js';
import { ServerActionsController } from './server/actions/server-actions.controller.js';
import { ServerPasswordChanger } from './server/actions/server-password-changer.js';
import { ServerRebuilder } from './server/actions/server-rebuilder.js';
import { ServerRescuer } from './server/actions/server-rescuer.js';
import { ServerSnapshotter } from './server/actions/server-snapshotter.js';
import { ServerCreation } from './server/create/server-create.js';
import { ServerDiagnosticsController } from './server/diagnostics/server-diagnostics.controller.js';
import { ServerInterfacesController } from './server/interfaces/server-interfaces.controller.js';
import { ServerNetworkController } from './server/interfaces/server-network.controller.js';
import { ServerMigrator } from './server/move/server-migrator.js';
import { ServerResizer } from './server/move/server-resizer.js';
import { ServerMetadataController } from './server/server-metadata.controller.js';
import { ServerSidelinesController } from './server/server-sidelines.controller.js';
import { ServerTagsController } from './server/server-tags.controller.js';
import { ServersController } from './server/servers.controller.js';
import { ServerPresenter } from './server/view/server-presenter.js';
import { ServerGroupsController } from './server-group/server-groups.controller.js';
import { ServicesController } from './service/services.controller.js';
import { TenantUsageController } from './usage/tenant-usage.controller.js';

/**
 * The Compute API for a Nest module. Beside these it provides `GatewayCore`, `LiveAnswers`, and the ports
 * `ComputeNetwork`, `ComputeNetworkApi`, `ComputeImages`, `ComputeSecrets` and `ComputeSettings`.
 */
export const computeControllers = [
  ServersController,
  ServerActionsController,
  ConsolesController,
  ServerMetadataController,
  ServerTagsController,
  ServerNetworkController,
  ServerInterfacesController,
  ServerSidelinesController,
  ServerDiagnosticsController,
  ServerMigrationsController,
  MigrationsController,
  InstanceActionsController,
  FlavorsController,
  KeypairsController,
  QuotaSetsController,
  LimitsController,
  ServerGroupsController,
  AvailabilityZonesController,
  ServicesController,
  HypervisorsController,
  TenantUsageController,
  SchedulingController,
  ImageProxyController,
  SecurityGroupProxyController,
  NetworkProxyController,
  AdoptionController,
  GuestController,
  SmallController,
];
export const computeProviders = [
  Adoptions,
  Guests,
  HostUptimes,
  ServerCreation,
  ServerPasswordChanger,
  HostOfImage,
  ServerRebuilder,
  ServerRescuer,
  ServerResizer,
  ServerMigrator,
  ServerSnapshotter,
  ServerPresenter,
  Consoles,
];
