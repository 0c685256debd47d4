import { type DynamicModule, Module } from '@nestjs/common';
import type { Vault } from '@omnivisor/eventsourcing/vault';
import type { Gateway } from '../gateway.js';
import { computeControllers, computeProviders } from './compute.api.js';
import { ComputeImages, ComputeNetwork, ComputeNetworkApi, ComputeSecrets, ComputeSettings } from './compute-ports.js';
import { LiveAnswers } from './host/live-answers.js';
import { ServerNetwork } from './server-network.js';

/** User data and the like, in the vault. */
const secretsIn = (vault: Vault): ComputeSecrets => ({
  seal: (secret) => vault.put('user-data', secret),
  open: ({ ref }) => vault.get(ref),
});

/** What Compute asks of other services in the caller's name. */
export interface ComputeNeighbours {
  readonly images: ComputeImages;
  readonly network: ComputeNetworkApi;
}

@Module({})
export class ComputeModule {
  static of(gateway: Gateway, vault: Vault, neighbours: ComputeNeighbours, settings: ComputeSettings): DynamicModule {
    return {
      module: ComputeModule,
      providers: [
        { provide: ComputeNetwork, useValue: new ServerNetwork(gateway.core, gateway.serverPorts) },
        { provide: ComputeNetworkApi, useValue: neighbours.network },
        { provide: ComputeImages, useValue: neighbours.images },
        { provide: ComputeSecrets, useValue: secretsIn(vault) },
        { provide: ComputeSettings, useValue: settings },
        { provide: LiveAnswers, useValue: gateway.live },
        ...computeProviders,
      ],
      controllers: computeControllers,
    };
  }
}
