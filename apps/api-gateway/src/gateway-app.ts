import type { Server } from 'node:http';
import { seconds } from '@omnivisor/contracts';
import type { EventIndex } from '@omnivisor/eventsourcing/event-index';
import type { Vault } from '@omnivisor/eventsourcing/vault';
import {
  createOpenStackApp,
  type EdgeLogger,
  type OpenStackApp,
  type OpenStackAppOptions,
  RequestLimiter,
  type RequestLimits,
  trustOf,
} from '@omnivisor/openstack';
import { AppModule } from './app.module.js';
import { AuditDesk } from './audit/audit-desk.js';
import { Erasure } from './audit/erasure/erasure.js';
import { ErasureDesk } from './audit/erasure/erasure-desk.js';
import { EventFollower } from './audit/events/event-follower.js';
import { Evidence, type EvidencePorts } from './audit/evidence/evidence.js';
import { EvidenceDesk } from './audit/evidence/evidence-desk.js';
import { AuditIndex } from './audit/index/audit-index.js';
import { Refusals } from './audit/refusals.js';
import { refusalsBehind } from './audit/refusals-behind.js';
import { AdoptionDesk } from './compute/adoption/adoption-desk.js';
import { Adoptions } from './compute/adoption/adoptions.js';
import type { ComputeImages } from './compute/compute-ports.js';
import { GuestDesk } from './compute/guest/guest-desk.js';
import { Guests } from './compute/guest/guests.js';
import { HttpImages } from './compute/image/http-images.js';
import { MoveDesk } from './compute/migration/move-desk.js';
import { OwnNetworkApi } from './compute/network/own-network-api.js';
import { ServerNetwork } from './compute/server-network.js';
import { serveConsolePages } from './console/console-pages.js';
import { ConsoleProxy } from './console/console-proxy.js';
import { grantedConsoles } from './console/granted-consoles.js';
import type { GatewayPorts } from './core/gateway-core.js';
import { Gateway } from './gateway.js';
import { Identity } from './identity/identity.js';
import { passThrough } from './pass-through.js';
import { gatewayProjections } from './projections.js';
import { ReportDesk } from './report/report-desk.js';

export interface GatewayAppOptions {
  readonly ports: GatewayPorts;
  /** Times as long as usual that hosts may take for what they are asked; 1 unless told. */
  readonly patience?: number;
  readonly vault: Vault;
  readonly evidence: EvidencePorts;
  /** Finds events for auditors. */
  readonly eventIndex: EventIndex;
  readonly logger: EdgeLogger;
  readonly region: string;
  readonly tokenSeconds: number;
  readonly adminPassword: string | undefined;
  /** Where images and placement are served; requests pass through, each service checks the token itself. */
  readonly imageUrl: string;
  readonly placementUrl: string;
  /** How Compute asks Image; by HTTP at `imageUrl` when not given. */
  readonly images?: ComputeImages;
  readonly publicUrl: string | undefined;
  readonly trustedProxies: readonly string[];
  readonly consoleOrigins: readonly string[];
  /** Rules of an operator by service. */
  readonly policies?: OpenStackAppOptions['policies'];
  /** How often a minute; without limits when not given. */
  readonly limits?: RequestLimits;
  readonly onError: (where: string, error: unknown) => void;
}

/** One replica of the gateway with its HTTP; `start` before `app.listen`. */
export interface GatewayApp {
  readonly gateway: Gateway;
  readonly identity: Identity;
  readonly app: OpenStackApp;
  readonly refusals: Refusals;
  readonly evidence: Evidence;
  readonly auditIndex: AuditIndex;
  /** @param agentUrl `ws://` root under which hosts reach this replica */
  serveConsoles(agentUrl: string): void;
  stop(): Promise<void>;
}

/** Passes requests of a service on, as a stream in both directions. */
const PASSED = [
  ['/image', 'imageUrl'],
  ['/placement', 'placementUrl'],
] as const;

export const startGatewayApp = async (options: GatewayAppOptions): Promise<GatewayApp> => {
  const gateway = new Gateway(options.ports, options.vault, options.onError, options.patience);
  const identity = new Identity(gateway.core, options.vault, {
    region: options.region,
    tokenLifetime: seconds(options.tokenSeconds),
    adminPassword: options.adminPassword,
  });
  const erasure = new Erasure(gateway.core, options.ports.store, gateway.personalKeys);
  gateway.core.run(erasure);
  await gateway.start();
  await gateway.core.projector.catchUp();
  await identity.start();
  const refusals = new Refusals(gateway.core, options.onError);
  refusals.start();
  const evidence = new Evidence(gateway.core, options.vault, options.evidence, options.onError);
  const evidenceDesk = new EvidenceDesk(gateway.core, evidence);
  await evidence.start();
  await evidenceDesk.start();
  const index = new AuditIndex(gateway.core, options.eventIndex, options.onError);
  index.start();
  const auditDesk = new AuditDesk(gateway.core, index, gatewayProjections, options.evidence.origin);
  await auditDesk.start();
  const erasureDesk = new ErasureDesk(gateway.core, erasure);
  await erasureDesk.start();
  const reportDesk = new ReportDesk(gateway.core, index, evidence, options.evidence.origin);
  await reportDesk.start();
  const follower = new EventFollower(gateway.core, index);
  await follower.start();
  const compute = { quota: {} };
  const serverNetwork = new ServerNetwork(gateway.core, gateway.serverPorts);
  const adoptions = new Adoptions(gateway.core, gateway.live, serverNetwork, compute);
  const adoptionDesk = new AdoptionDesk(gateway.core, adoptions);
  await adoptionDesk.start();
  const guestDesk = new GuestDesk(gateway.core, new Guests(gateway.live));
  await guestDesk.start();
  const moveDesk = new MoveDesk(gateway.core);
  await moveDesk.start();
  const limiter = new RequestLimiter(options.limits);
  const app: OpenStackApp = await createOpenStackApp({
    module: AppModule.of({
      gateway,
      identity,
      vault: options.vault,
      neighbours: {
        images: options.images ?? new HttpImages(options.imageUrl),
        network: new OwnNetworkApi(() => app.fastify),
      },
      compute,
      audit: { index, follower, identity: identity.desk },
    }),
    services: ['identity', 'compute', 'network', 'audit'],
    tokens: () => identity.desk.tokens,
    logger: options.logger,
    limiter,
    refused: (refusal) => refusals.record(refusal),
    lookingBack: (moment, read) => gateway.core.lookingBack(moment, read),
    publicUrl: options.publicUrl,
    trustedProxies: options.trustedProxies,
    ...(options.policies ? { policies: options.policies } : {}),
    extend: async (fastify) => {
      const passed = PASSED.map(([prefix, key]) => ({ prefix, upstream: options[key] }));
      refusalsBehind(
        fastify,
        PASSED.map(([prefix]) => prefix),
        identity.desk.tokens,
        refusals,
      );
      await serveConsolePages(fastify, options.consoleOrigins);
      await passThrough(fastify, passed, trustOf(options.trustedProxies), limiter);
    },
  });
  return {
    gateway,
    identity,
    app,
    refusals,
    evidence,
    auditIndex: index,
    serveConsoles: (agentUrl) =>
      new ConsoleProxy(gateway.core, grantedConsoles(gateway.core), gateway.live, {
        agentUrl,
        // Our own page is one of those that may, where it is known to be ours.
        origins: [...options.consoleOrigins, ...(options.publicUrl ? [new URL(options.publicUrl).origin] : [])],
        onError: options.onError,
      }).attach(app.fastify.server as Server),
    stop: async () => {
      await follower.stop();
      await app.close();
      await adoptionDesk.stop();
      await guestDesk.stop();
      await moveDesk.stop();
      await auditDesk.stop();
      await erasureDesk.stop();
      await reportDesk.stop();
      await index.stop();
      await refusals.stop();
      await evidenceDesk.stop();
      await evidence.stop();
      await identity.stop();
      await gateway.stop();
    },
  };
};
