import { eventSetOf, type HostFacts, type PlacementExplanation, type RecordedEvent } from '@omnivisor/contracts';
import { placementReasons, tell, who } from './tell.js';

/** A call of a host's hypervisor, as the host's report tells it. */
export interface HypervisorCall {
  /** Member of the driver interface. */
  readonly operation: string;
  /** Null where the caller may not know it. */
  readonly host: string | null;
  /** e.g. `QEMU 7002022`; null when the log does not say. */
  readonly hypervisor: string | null;
}

export interface CausalNode {
  readonly at: string;
  readonly position: number;
  readonly eventId: string;
  readonly type: string;
  /** The service that wrote it. */
  readonly service: string;
  readonly who: string;
  readonly what: string;
  readonly reasons: readonly string[];
  readonly call: HypervisorCall | null;
  /** What followed from it, the oldest first. */
  readonly effects: CausalNode[];
}

/** A request, or what a service began by itself, and all that followed. */
export interface CausalRoot {
  readonly requestId: string;
  readonly at: string;
  readonly who: string;
  readonly effects: readonly CausalNode[];
}

/** What a report of a host says that it did. */
const OPERATIONS: Readonly<Record<string, string>> = {
  ServerSpawned: 'spawn',
  ServerSpawnFailed: 'spawn',
  ServerStarted: 'powerOn',
  ServerStopped: 'powerOff',
  ServerRebooted: 'reboot',
  ServerPaused: 'pause',
  ServerUnpaused: 'unpause',
  ServerSuspended: 'suspend',
  ServerResumed: 'resume',
  ServerRebuilt: 'rebuild',
  ServerRescued: 'rescue',
  ServerUnrescued: 'unrescue',
  ServerSnapshotTaken: 'exportDisk',
  ServerResized: 'resize',
  ServerResizeConfirmed: 'confirmResize',
  ServerResizeReverted: 'revertResize',
  ServerInterfaceAttached: 'attachInterface',
  ServerInterfaceDetached: 'detachInterface',
  ServerGuestAbsent: 'destroy',
};

const isReport = ({ context: { actor } }: RecordedEvent): boolean =>
  actor.kind === 'service' && actor.service.startsWith('host-');

export interface TreeOptions {
  /** False for whoever may not know on which hosts things are. */
  readonly showHosts: boolean;
  readonly nameOf: (hostId: string) => string | undefined;
  /** Facts of the host with an id when the event was recorded, as far as the log has them. */
  readonly factsOf: (hostId: string, event: RecordedEvent) => HostFacts | undefined;
}

const callOf = (event: RecordedEvent, { showHosts, nameOf, factsOf }: TreeOptions): HypervisorCall | null => {
  const operation = OPERATIONS[event.type];
  const { host } = event.data as { host?: string };
  if (operation === undefined || !isReport(event) || host === undefined) return null;
  const facts = factsOf(host, event);
  return {
    operation,
    host: showHosts ? (nameOf(host) ?? host) : null,
    hypervisor: facts ? `${facts.hypervisorType} ${facts.hypervisorVersion}` : null,
  };
};

const nodeOf = (event: RecordedEvent, options: TreeOptions): CausalNode => {
  const { explanation } = event.data as { explanation?: PlacementExplanation };
  const hidden = isReport(event) && !options.showHosts;
  return {
    at: event.recordedAt,
    position: event.position,
    eventId: event.id,
    type: event.type,
    service: isReport(event) ? 'compute-agent' : (eventSetOf(event.type)?.writer ?? 'unknown'),
    who: hidden ? 'host' : who(event.context.actor),
    what: tell(event, options.showHosts),
    reasons: explanation ? placementReasons(explanation, options.showHosts) : [],
    call: callOf(event, options),
    effects: [],
  };
};

/** What caused what: events hang below the event that caused them, else below their request. Pure. */
export const causalTree = (events: readonly RecordedEvent[], options: TreeOptions): CausalRoot[] => {
  const nodes = new Map<string, CausalNode>();
  const roots = new Map<string, CausalRoot & { readonly effects: CausalNode[] }>();
  for (const event of [...events].sort((a, b) => a.position - b.position)) {
    if (nodes.has(event.id)) continue;
    const node = nodeOf(event, options);
    nodes.set(event.id, node);
    const { causationId, requestId } = event.context;
    const cause = causationId === null ? undefined : nodes.get(causationId);
    if (cause) {
      cause.effects.push(node);
      continue;
    }
    const root = roots.get(requestId) ?? { requestId, at: event.recordedAt, who: node.who, effects: [] };
    roots.set(requestId, root);
    root.effects.push(node);
  }
  return [...roots.values()];
};
