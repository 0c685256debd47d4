import { type Actor, eventSetOf, type RecordedEvent, type RefusalEvent } from '@omnivisor/contracts';
import { eventView } from '../events/event.view.js';
import type { AuditedEvent } from '../index/audit-index.js';
import { outcomeOf } from '../index/outcome.js';

/** A resource of CADF (DSP0262, section 6.2), as far as the log knows it. */
interface CadfResource {
  readonly id: string;
  readonly typeURI: string;
  readonly name?: string;
  readonly project_id?: string;
  readonly domain_id?: string;
  readonly host?: { readonly address: string };
  readonly request_id?: string;
}

/** An activity of CADF 1.0 in JSON. */
export interface CadfEvent {
  readonly typeURI: 'http://schemas.dmtf.org/cloud/audit/1.0/event';
  readonly id: string;
  readonly eventType: 'activity';
  readonly eventTime: string;
  readonly action: string;
  readonly outcome: 'success' | 'failure' | 'pending';
  readonly reason?: {
    readonly reasonType: string;
    readonly reasonCode: string;
    readonly policyType?: string;
    readonly policyId?: string;
  };
  readonly initiator: CadfResource;
  readonly target: CadfResource;
  readonly observer: CadfResource;
  readonly requestPath?: string;
  readonly tags: readonly string[];
  readonly attachments: readonly { readonly name: string; readonly contentType: string; readonly content: string }[];
}

/** CADF's taxonomy of resources by kind of stream. */
export const TARGETS: Readonly<Record<string, string>> = {
  'identity-domain': 'data/security/domain',
  project: 'data/security/project',
  user: 'data/security/account/user',
  'application-credential': 'data/security/credential',
  'access-rule': 'data/security/access-rule',
  credential: 'data/security/credential',
  'unified-limits': 'data/security/limit',
  'resource-registry': 'service/placement/resource_providers',
  role: 'data/security/role',
  group: 'data/security/group',
  assignment: 'data/security/account/user',
  region: 'data/security/region',
  'catalog-service': 'data/security/service',
  endpoint: 'data/security/endpoint',
  'identity-name': 'data/security/identity',
  token: 'data/security/credential',
  'token-keys': 'data/security/key',
  login: 'data/security/account',
  server: 'service/compute/servers',
  servergroup: 'service/compute/os-server-groups',
  keypair: 'data/security/keypair',
  flavor: 'service/compute/flavors',
  console: 'service/compute/servers/remote-consoles',
  quota: 'service/compute/os-quota-sets',
  host: 'service/compute/os-hypervisors',
  provider: 'service/placement/resource_providers',
  placement: 'service/compute/servers',
  image: 'service/image/images',
  network: 'service/network/networks',
  subnet: 'service/network/subnets',
  'address-pool': 'service/network/subnets',
  'physical-network': 'service/network/networks',
  port: 'service/network/ports',
  'security-group': 'service/network/security-groups',
  'network-quota': 'service/network/quotas',
  refusal: 'service',
  sealing: 'data/security/key',
  personal: 'data/security/key',
  'feed-reader': 'data/security/account',
};

/** CADF's taxonomy of actions, by what events are called; the first that fits. */
const ACTIONS: readonly (readonly [RegExp, string])[] = [
  [/^RequestRefused$|^RefusalsCounted$|^PlacementRefused$/, 'deny'],
  [/^LoginFailuresCounted$/, 'authenticate/login'],
  [/^TokenRevoked$|Unassigned$|AccessRevoked$|MemberRemoved$|ReaderRevoked$/, 'revoke'],
  [/Assigned$|AccessGranted$|MemberAdded$|^RoleImplied$|^ConsoleAuthorized$|ReaderAdmitted$/, 'allow'],
  [/^RoleNoLongerImplied$/, 'revoke'],
  [/^ServerCreateRequested$|^ServerSpawn|^ServerBuildFailed$|^ServerScheduled$/, 'create'],
  [
    /^ServerDelete|Deleted$|Removed$|Dropped$|Retired$|GivenBack$|Closed$|Cleared$|Erased$|Forgotten$|^ServerGuestAbsent$/,
    'delete',
  ],
  [/^ServerStart/, 'start'],
  [/^ServerStop/, 'stop'],
  [/^ServerReboot/, 'start/reboot'],
  [/^Server(Unpause|Resume|Unlock)|Enabled$|Reactivated$/, 'enable'],
  [/^Server(Pause|Suspend|Lock)|Disabled$|Deactivated$|Fenced$/, 'disable'],
  [/^ServerPowerChanged$|^ServerGuest|^HostWent|^HostQuarantineReported$|^HostSessionStarted$/, 'monitor'],
  [/^ServerActionFailed$/, 'unknown'],
  [/^ImageDerivation|^ImageDerived$|^ImageInspect/, 'evaluate'],
  [/^Image(Upload|Data|Staging|Staged|Import)/, 'update/upload'],
  [/Created$|Added$|Enrolled$|Taken$|Reserved$|Claimed$|Allocated$|Made$/, 'create'],
  [/Released$|Returned$|Abandoned$|Detached$/, 'delete'],
  [/./, 'update'],
];

export const actionOf = (type: string): string => ACTIONS.find(([pattern]) => pattern.test(type))![1];

/** `Z` and microseconds, as OpenStack's middleware writes it. */
const timeOf = (instant: string): string => instant.replace(/(\.\d{3})?Z$/, (_, ms = '.000') => `${ms}000+0000`);

const initiatorOf = (actor: Actor, id: string | null, requestId: string): CadfResource =>
  actor.kind === 'user'
    ? {
        id: actor.userId,
        typeURI: 'service/security/account/user',
        ...(actor.projectId === null ? {} : { project_id: actor.projectId }),
        ...(actor.domainId ? { domain_id: actor.domainId } : {}),
        ...(actor.address === null ? {} : { host: { address: actor.address } }),
        request_id: requestId,
      }
    : {
        id: id ?? 'host',
        typeURI: actor.service.startsWith('host-') ? 'service/compute/node' : 'service',
        name: id ?? 'host',
        request_id: requestId,
      };

/** Method and path of a refused request, with the names of its parameters in place. */
const METHODS: Readonly<Record<string, string>> = {
  GET: 'read',
  HEAD: 'read',
  POST: 'create',
  PUT: 'update',
  PATCH: 'update',
  DELETE: 'delete',
};

const refused = (event: RecordedEvent): Partial<CadfEvent> => {
  const { type, data } = event as unknown as RefusalEvent;
  if (type === 'RefusalsCounted')
    return {
      action: 'deny',
      reason: { reasonType: 'HTTP', reasonCode: '403' },
      target: { id: data.userId, typeURI: 'service', name: `${data.count} requests` },
    };
  const [method = '', path = ''] = data.operation.split(' ', 2);
  const filled = path.replace(/:(\w+)/g, (name, key: string) => data.targets[key] ?? name);
  const [, service = '', ...rest] = path.split('/');
  const kind = rest.filter((part) => !/^v\d/.test(part) && !part.startsWith(':') && part !== '');
  return {
    action: METHODS[method] ?? 'unknown',
    reason: {
      reasonType: 'HTTP',
      reasonCode: String(data.status),
      ...(data.rule === null ? {} : { policyType: 'oslo.policy', policyId: data.rule }),
    },
    target: { id: Object.values(data.targets).at(-1) ?? service, typeURI: ['service', service, ...kind].join('/') },
    requestPath: filled,
  };
};

/**
 * An event of the log as CADF: same id, so that doing it twice tells nothing new. What changed, as the log has it, is
 * attached. Pure.
 */
export const cadfEvent = (audited: AuditedEvent, observer: string, showHosts: boolean): CadfEvent => {
  const { event, project } = audited;
  const { context } = event;
  const view = eventView(audited, showHosts);
  const set = eventSetOf(event.type);
  const kind = set?.stream ?? 'unknown';
  const key = view.stream === null ? 'hidden' : view.stream.slice(kind.length + 1);
  return {
    typeURI: 'http://schemas.dmtf.org/cloud/audit/1.0/event',
    id: event.id,
    eventType: 'activity',
    eventTime: timeOf(event.recordedAt),
    action: actionOf(event.type),
    outcome: outcomeOf(event.type),
    initiator: initiatorOf(context.actor, view.actor.id, context.requestId),
    target: {
      id: key,
      typeURI: TARGETS[kind] ?? 'unknown',
      ...(project === null ? {} : { project_id: project }),
    },
    observer: { id: observer, typeURI: 'service', name: set?.writer ?? 'unknown' },
    tags: [`correlation_id?value=${context.correlationId}`, `position?value=${event.position}`],
    attachments: [{ name: event.type, contentType: 'application/json', content: JSON.stringify(view.data) }],
    ...(kind === 'refusal' ? refused(event) : {}),
  };
};
