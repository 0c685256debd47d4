import type { Call } from '@omnivisor/openstack';
import { linksOf } from '../common/paging.js';
import { View, type ViewField } from '../common/versions.js';
import type { FlavorRow } from './flavor.projection.js';

interface Context {
  readonly publicUrl: string;
  readonly extraSpecs: boolean;
}
type Field = ViewField<FlavorRow, Context>;

const brief: readonly Field[] = [
  ['id', '2.1', null, (f) => f.id],
  ['name', '2.1', null, (f) => f.name],
  ['links', '2.1', null, (f, c) => linksOf(c.publicUrl, 'flavors', f.id)],
  ['description', '2.55', null, (f) => f.description],
];

const briefView = new View<FlavorRow, Context>(brief);
const fullView = new View<FlavorRow, Context>([
  ...brief,
  ['ram', '2.1', null, (f) => f.ram],
  ['disk', '2.1', null, (f) => f.disk],
  ['vcpus', '2.1', null, (f) => f.vcpus],
  ['swap', '2.1', '2.74', (f) => f.swap || ''],
  ['swap', '2.75', null, (f) => f.swap],
  ['OS-FLV-EXT-DATA:ephemeral', '2.1', null, (f) => f.ephemeral],
  ['OS-FLV-DISABLED:disabled', '2.1', '2.101', () => false],
  ['os-flavor-access:is_public', '2.1', null, (f) => f.isPublic],
  ['rxtx_factor', '2.1', '2.101', (f) => f.rxtxFactor],
  ['extra_specs', '2.61', null, (f, c) => (c.extraSpecs ? f.extraSpecs : undefined)],
]);

const contextOf = (call: Call): Context => ({
  publicUrl: call.publicUrl,
  extraSpecs: call.can('os_compute_api:os-flavor-extra-specs:index'),
});

export const flavorBriefs = (call: Call, rows: readonly FlavorRow[]) => {
  const context = contextOf(call);
  return rows.map((row) => briefView.render(call.version, row, context));
};
export const flavorDetails = (call: Call, rows: readonly FlavorRow[]) => {
  const context = contextOf(call);
  return rows.map((row) => fullView.render(call.version, row, context));
};
