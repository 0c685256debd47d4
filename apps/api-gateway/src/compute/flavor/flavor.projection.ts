import type { FlavorEvent, Instant } from '@omnivisor/contracts';
import { projection, type Recorded, table } from '@omnivisor/eventsourcing';
import { without } from './flavor.js';

/** A flavor as the API reads it. */
export interface FlavorRow {
  readonly id: string;
  readonly name: string;
  readonly vcpus: number;
  /** MiB. */
  readonly ram: number;
  /** GiB. */
  readonly disk: number;
  readonly ephemeral: number;
  /** MiB. */
  readonly swap: number;
  readonly rxtxFactor: number;
  readonly isPublic: boolean;
  readonly description: string | null;
  readonly extraSpecs: Readonly<Record<string, string>>;
  /** Projects that may use it when it is not public. */
  readonly access: readonly string[];
  readonly createdAt: Instant;
  readonly updatedAt: Instant | null;
}

export const flavorTable = table<FlavorRow>('flavors_v1', ['name']);

const byFlavor = (event: { readonly data: { readonly flavorId: string } }) => event.data.flavorId;

type On<T extends FlavorEvent['type']> = Recorded<Extract<FlavorEvent, { type: T }>>;
const change =
  <T extends FlavorEvent['type']>(patch: (row: FlavorRow, event: On<T>) => Partial<FlavorRow>) =>
  (row: FlavorRow | undefined, event: On<T>): FlavorRow | undefined =>
    row && { ...row, ...patch(row, event), updatedAt: event.recordedAt };

export const flavorProjection = projection<FlavorEvent, FlavorRow>(flavorTable, {
  FlavorCreated: {
    key: byFlavor,
    row: (_, { data, recordedAt }) => ({
      id: data.flavorId,
      name: data.name,
      vcpus: data.vcpus,
      ram: data.memory,
      disk: data.disk,
      ephemeral: data.ephemeral,
      swap: data.swap,
      rxtxFactor: data.rxtxFactor,
      isPublic: data.isPublic,
      description: data.description,
      extraSpecs: {},
      access: [],
      createdAt: recordedAt,
      updatedAt: null,
    }),
  },
  FlavorDescriptionChanged: {
    key: byFlavor,
    row: change<'FlavorDescriptionChanged'>((_, { data }) => ({ description: data.description })),
  },
  FlavorExtraSpecsSet: {
    key: byFlavor,
    row: change<'FlavorExtraSpecsSet'>((row, { data }) => ({ extraSpecs: { ...row.extraSpecs, ...data.extraSpecs } })),
  },
  FlavorExtraSpecRemoved: {
    key: byFlavor,
    row: change<'FlavorExtraSpecRemoved'>((row, { data }) => ({ extraSpecs: without(row.extraSpecs, data.key) })),
  },
  FlavorAccessGranted: {
    key: byFlavor,
    row: change<'FlavorAccessGranted'>((row, { data }) => ({ access: [...row.access, data.projectId] })),
  },
  FlavorAccessRevoked: {
    key: byFlavor,
    row: change<'FlavorAccessRevoked'>((row, { data }) => ({ access: row.access.filter((p) => p !== data.projectId) })),
  },
  FlavorDeleted: { key: byFlavor, row: () => undefined },
});
