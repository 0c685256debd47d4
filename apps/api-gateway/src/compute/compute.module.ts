import { type DynamicModule, Module } from '@nestjs/common';
import type { Vault } from '@omnivisor/eventsourcing/vault';
import type { Gateway } from '../gateway.js';
import { AvailabilityZonesController } from './availability-zone/availability-zones.controller.js';
import { ComputeNetwork, ComputeSecrets, ComputeSettings } from './compute-ports.js';
import { FlavorsController } from './flavor/flavors.controller.js';
import { LiveAnswers } from './host/live-answers.js';
import { HypervisorsController } from './hypervisor/hypervisors.controller.js';
import { InstanceActionsController } from './instance-action/instance-actions.controller.js';
import { KeypairsController } from './keypair/keypairs.controller.js';
import { LimitsController } from './limits/limits.controller.js';
import { SmallController } from './misc/small.controller.js';
import { QuotaSetsController } from './quota/quota-sets.controller.js';
import { SchedulingController } from './scheduling/scheduling.controller.js';
import { ConsoleGrants, ServerActionsController } from './server/server-actions.controller.js';
import { ServerCreation } from './server/server-create.js';
import { ServerMetadataController } from './server/server-metadata.controller.js';
import { ServerNetworkController } from './server/server-network.controller.js';
import { ServerPresenter } from './server/server-presenter.js';
import { ServerTagsController } from './server/server-tags.controller.js';
import { ServersController } from './server/servers.controller.js';
import { ServerGroupsController } from './server-group/server-groups.controller.js';
import { ServerNetwork } from './server-network.js';
import { ServicesController } from './service/services.controller.js';
import { TenantUsageController } from './usage/tenant-usage.controller.js';

/** User data and the like, in the vault. */
const secretsIn = (vault: Vault): ComputeSecrets => ({
  seal: (text) => vault.put('user-data', text),
  open: async ({ ref }) => Buffer.from(await vault.get(ref)).toString('utf8'),
});

@Module({})
export class ComputeModule {
  static of(gateway: Gateway, vault: Vault, settings: ComputeSettings): DynamicModule {
    return {
      module: ComputeModule,
      providers: [
        { provide: ComputeNetwork, useValue: new ServerNetwork(gateway.core, gateway.serverPorts) },
        { provide: ComputeSecrets, useValue: secretsIn(vault) },
        { provide: ComputeSettings, useValue: settings },
        { provide: LiveAnswers, useValue: gateway.live },
        ServerCreation,
        ServerPresenter,
        ConsoleGrants,
      ],
      controllers: [
        ServersController,
        ServerActionsController,
        ServerMetadataController,
        ServerTagsController,
        ServerNetworkController,
        SchedulingController,
        InstanceActionsController,
        FlavorsController,
        KeypairsController,
        QuotaSetsController,
        LimitsController,
        ServerGroupsController,
        AvailabilityZonesController,
        HypervisorsController,
        ServicesController,
        TenantUsageController,
        SmallController,
      ],
    };
  }
}
