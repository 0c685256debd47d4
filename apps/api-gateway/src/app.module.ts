import { type DynamicModule, Global, Module } from '@nestjs/common';
import type { Vault } from '@omnivisor/eventsourcing/vault';
import { AuditModule, type AuditParts } from './audit/audit.module.js';
import { ComputeModule, type ComputeNeighbours } from './compute/compute.module.js';
import type { ComputeSettings } from './compute/compute-ports.js';
import { GatewayCore } from './core/gateway-core.js';
import type { Gateway } from './gateway.js';
import type { Identity } from './identity/identity.js';
import { identityModule } from './identity/identity.module.js';
import { NetworkModule } from './network/network.module.js';

export interface GatewayParts {
  readonly gateway: Gateway;
  readonly identity: Identity;
  readonly vault: Vault;
  readonly neighbours: ComputeNeighbours;
  readonly compute: ComputeSettings;
  readonly audit: AuditParts;
}

@Global()
@Module({})
class CoreModule {
  static of(core: GatewayCore): DynamicModule {
    return {
      module: CoreModule,
      providers: [{ provide: GatewayCore, useValue: core }],
      exports: [GatewayCore],
    };
  }
}

/** The HTTP side of one replica: a module for each area. */
@Module({})
export class AppModule {
  static of({ gateway, identity, vault, neighbours, compute, audit }: GatewayParts): DynamicModule {
    return {
      module: AppModule,
      imports: [
        CoreModule.of(gateway.core),
        identityModule(identity),
        ComputeModule.of(gateway, vault, neighbours, compute),
        NetworkModule,
        AuditModule.of(audit),
      ],
    };
  }
}
