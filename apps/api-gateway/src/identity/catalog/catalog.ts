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

/** What operators added, and the catalogs made of it. */
interface Remembered {
  readonly version: number | undefined;
  readonly services: readonly ServiceView[];
  readonly endpoints: readonly EndpointRow[];
  /** By root and project. */
  readonly catalogs: Map<string, readonly unknown[]>;
}

/** Clients choose how they name the root, so there may be any number. */
const MAX_CATALOGS = 500;

/** The services of this cloud: what it serves itself, and what operators added. */
export class Catalog {
  private remembered: Remembered | undefined;
  private readonly own: readonly ServiceView[];

  constructor(
    private readonly served: readonly BuiltInService[],
    readonly region: string,
  ) {
    this.own = served.map((s) => ({
      id: fixedId(`service/${s.type}`),
      type: s.type,
      name: s.name,
      enabled: true,
      description: '',
      builtIn: true,
      extra: {},
    }));
  }

  async services(rows: RowReader, version?: number): Promise<readonly ServiceView[]> {
    return (await this.at(rows, version)).services;
  }

  /** @param root what all services share, as the client sees it */
  async endpoints(rows: RowReader, root: string, version?: number): Promise<EndpointView[]> {
    return this.endpointsOf(await this.at(rows, version), root);
  }

  /**
   * The catalog of a token.
   * @param version of identity that the token was validated at; the same version has the same catalog
   */
  async of(rows: RowReader, root: string, projectId: string | null, version?: number): Promise<readonly unknown[]> {
    const remembered = await this.at(rows, version);
    const key = `${root} ${projectId ?? ''}`;
    const known = remembered.catalogs.get(key);
    if (known) return known;
    const catalog = this.make(remembered, root, projectId);
    if (remembered.catalogs.size >= MAX_CATALOGS) remembered.catalogs.clear();
    remembered.catalogs.set(key, catalog);
    return catalog;
  }

  /** What operators added, looked up once for each version of identity. */
  private async at(rows: RowReader, version?: number): Promise<Remembered> {
    if (version !== undefined && this.remembered?.version === version) return this.remembered;
    const added = (await rows.find(serviceTable)).map((s: ServiceRow) => ({
      ...s,
      name: s.name ?? '',
      description: s.description ?? '',
      builtIn: false,
    }));
    const services = [...this.own, ...added];
    const remembered = { version, services, endpoints: await rows.find(endpointTable), catalogs: new Map() };
    if (version !== undefined) this.remembered = remembered;
    return remembered;
  }

  private endpointsOf({ endpoints }: Remembered, root: string): EndpointView[] {
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
    return [...own, ...endpoints.map((e) => ({ ...e, builtIn: false }))];
  }

  private make(remembered: Remembered, root: string, projectId: string | null): readonly unknown[] {
    const endpoints = this.endpointsOf(remembered, root).filter((e) => e.enabled);
    return remembered.services
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
