import type { ByVersion, Microversion, ServiceType } from './operation.js';

/** Order of microversions as one number. */
export const rank = (v: Microversion): number => v.major * 10_000 + v.minor;
export const versionText = (v: Microversion): string => `${v.major}.${v.minor}`;

const FORMAT = /^([1-9]\d{0,3})\.(0|[1-9]\d{0,3})$/;

/** @returns undefined when the text is no `X.Y` */
export const parseVersion = (text: string): Microversion | undefined => {
  const match = FORMAT.exec(text);
  return match ? { major: Number(match[1]), minor: Number(match[2]) } : undefined;
};

/** A version that we wrote ourselves. @throws Error when it is none */
export const version = (text: string): Microversion => {
  const parsed = parseVersion(text);
  if (!parsed) throw new Error(`not a microversion: ${text}`);
  return parsed;
};

/** A version table made ready for look-ups. */
export class VersionTable<T> {
  private readonly steps: readonly (readonly [rank: number, value: T])[];

  constructor(table: ByVersion<T>) {
    this.steps = table.map(([from, value]) => [rank(version(from)), value] as const);
    for (let i = 1; i < this.steps.length; i++)
      if (this.steps[i]![0] <= this.steps[i - 1]![0]) throw new Error('version table is not ascending');
  }

  /** What holds at a version; undefined before the first row. */
  at(v: Microversion): T | undefined {
    const wanted = rank(v);
    for (let i = this.steps.length - 1; i >= 0; i--) if (this.steps[i]![0] <= wanted) return this.steps[i]![1];
    return undefined;
  }
}

export interface VersionRange {
  readonly min: Microversion;
  readonly max: Microversion;
}

/** First and last microversion of the services that have them. */
export const microversions: { readonly [S in ServiceType]?: VersionRange } = {
  compute: { min: version('2.1'), max: version('2.104') },
  placement: { min: version('1.0'), max: version('1.39') },
  volume: { min: version('3.0'), max: version('3.71') },
};

/** The version of services without microversions. */
export const fixedVersion: { readonly [S in ServiceType]?: Microversion } = {
  identity: { major: 3, minor: 14 },
  network: { major: 2, minor: 0 },
  image: { major: 2, minor: 17 },
  audit: { major: 1, minor: 0 },
};

const NONE: Microversion = { major: 0, minor: 0 };

export type Negotiation =
  | { readonly ok: true; readonly version: Microversion }
  | { readonly ok: false; readonly status: 400 | 406; readonly asked: string };

/**
 * The microversion a request asks for. `OpenStack-API-Version: <service> X.Y` may name several services, separated by
 * commas; the last one for ours counts. Compute also reads its older header.
 */
export const negotiate = (
  service: ServiceType,
  headers: Readonly<Record<string, string | string[] | undefined>>,
): Negotiation => {
  const range = microversions[service];
  if (!range) return { ok: true, version: fixedVersion[service] ?? { major: 1, minor: 0 } };
  const asked = requested(service, headers);
  if (asked === undefined) return { ok: true, version: range.min };
  if (asked === 'latest') return { ok: true, version: range.max };
  // Placement takes any two numbers for a version, if one it does not have.
  const parsed = parseVersion(asked) ?? (service === 'placement' && /^0\.\d+$/.test(asked) ? NONE : undefined);
  if (!parsed) return { ok: false, status: 400, asked };
  const inRange = rank(parsed) >= rank(range.min) && rank(parsed) <= rank(range.max);
  return inRange ? { ok: true, version: parsed } : { ok: false, status: 406, asked };
};

const requested = (
  service: ServiceType,
  headers: Readonly<Record<string, string | string[] | undefined>>,
): string | undefined => {
  const header = headers['openstack-api-version'];
  if (header !== undefined) {
    let found: string | undefined;
    for (const part of String(header).split(',')) {
      const [name, value = ''] = part.trim().split(/\s+/, 2);
      if (name?.toLowerCase() === service) found = value.toLowerCase();
    }
    if (found !== undefined) return found;
  }
  if (service !== 'compute') return undefined;
  const legacy = headers['x-openstack-nova-api-version'];
  return legacy === undefined ? undefined : String(legacy).trim().toLowerCase();
};
