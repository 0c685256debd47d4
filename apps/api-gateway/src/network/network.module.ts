import { Module } from '@nestjs/common';
import { NetworkExtrasController } from './extension/network-extras.controller.js';
import { NetworkTagsController } from './extension/tags.controller.js';
import { NetworksController } from './network/networks.controller.js';
import { PortsController } from './port/ports.controller.js';
import { NetworkQuotasController } from './quota/quotas.controller.js';
import { SecurityGroupRulesController } from './security-group/security-group-rules.controller.js';
import { SecurityGroupsController } from './security-group/security-groups.controller.js';
import { SubnetsController } from './subnet/subnets.controller.js';

/** The Network API; `GatewayCore` comes from outside. */
@Module({
  controllers: [
    NetworksController,
    SubnetsController,
    PortsController,
    SecurityGroupsController,
    SecurityGroupRulesController,
    NetworkQuotasController,
    NetworkTagsController,
    NetworkExtrasController,
  ],
})
export class NetworkModule {}
