import { createHash } from 'node:crypto';
import type { RowReader } from '@omnivisor/eventsourcing';
import { type EndpointRow, endpointTable, type ServiceRow, serviceTable } from '../record/tables.js';

/** A service that this cloud serves, as its configuration says. */
export interface BuiltInService {
  readonly type: string;
  readonly name: string;
  /** Below the root that all services share. */
  readonly path: string;
}

export const builtInServices: readonly BuiltInService[] = [
  { type: 'identity', name: 'keystone', path: '/identity' },
  { type: 'compute', name: 'nova', path: '/compute/v2.1' },
  { type: 'network', name: 'neutron', path: '/network' },
  { type: 'image', name: 'glance', path: '/image' },
  { type: 'placement', name: 'placement', path: '/placement' },
  { type: 'audit', name: 'omnivisor', path: '/audit' },
];

const INTERFACES = ['public', 'internal', 'admin'] as const;

const fixedId = (text: string): string => createHash('sha256').update(`omnivisor/${text}`).digest('hex').slice(0, 32);

export interface ServiceView {
  readonly id: string;
  readonly type: string;
  readonly name: string;
  readonly enabled: boolean;
  readonly description: string;
  readonly builtIn: boolean;
  readonly extra: Record<string, unknown>;
}
export interface EndpointView {
  readonly id: string;
  readonly serviceId: string;
  readonly interface: string;
  readonly regionId: string | null;
  readonly url: string;
  readonly enabled: boolean;
  readonly builtIn: boolean;
  readonly extra: Record<string, unknown>;
}

/** The services of this cloud: what it serves itself, and what operators added. */
export class Catalog {
  private remembered:
    | { readonly version: number | undefined; readonly services: ServiceRow[]; readonly endpoints: EndpointRow[] }
    | undefined;

  constructor(
    private readonly served: readonly BuiltInService[],
    readonly region: string,
  ) {}

  /** What operators added, looked up once for each version of identity. */
  private async added(rows: RowReader, version?: number) {
    if (version !== undefined && this.remembered?.version === version) return this.remembered;
    const added = { version, services: await rows.find(serviceTable), endpoints: await rows.find(endpointTable) };
    if (version !== undefined) this.remembered = added;
    return added;
  }

  async services(rows: RowReader, version?: number): Promise<ServiceView[]> {
    const own = this.served.map((s) => ({
      id: fixedId(`service/${s.type}`),
      type: s.type,
      name: s.name,
      enabled: true,
      description: '',
      builtIn: true,
      extra: {},
    }));
    const added = (await this.added(rows, version)).services.map((s) => ({
      ...s,
      name: s.name ?? '',
      description: s.description ?? '',
      builtIn: false,
    }));
    return [...own, ...added];
  }

  /** @param root what all services share, as the client sees it */
  async endpoints(rows: RowReader, root: string, version?: number): Promise<EndpointView[]> {
    const own = this.served.flatMap((s) =>
      INTERFACES.map((i) => ({
        id: fixedId(`endpoint/${s.type}/${i}`),
        serviceId: fixedId(`service/${s.type}`),
        interface: i,
        regionId: this.region,
        url: root + s.path,
        enabled: true,
        builtIn: true,
        extra: {},
      })),
    );
    const { endpoints } = await this.added(rows, version);
    return [...own, ...endpoints.map((e) => ({ ...e, builtIn: false }))];
  }

  /**
   * The catalog of a token.
   * @param version of identity that the token was validated at; the same version has the same catalog
   */
  async of(rows: RowReader, root: string, projectId: string | null, version?: number): Promise<unknown[]> {
    const endpoints = (await this.endpoints(rows, root, version)).filter((e) => e.enabled);
    return (await this.services(rows, version))
      .filter((s) => s.enabled)
      .map((s) => ({
        id: s.id,
        type: s.type,
        name: s.name,
        endpoints: endpoints
          .filter((e) => e.serviceId === s.id)
          .map((e) => ({
            id: e.id,
            interface: e.interface,
            region_id: e.regionId,
            url: substitute(e.url, projectId),
            region: e.regionId,
          })),
      }));
  }
}

const substitute = (url: string, projectId: string | null): string =>
  url.replace(/[$%]\((?:tenant_id|project_id)\)s/g, projectId ?? '');
