import type { RowReader } from '@omnivisor/eventsourcing';
import { hostTable } from '../../compute/host/host.projection.js';

/** Physical networks that some host reaches. */
export const physicalNetworks = async (rows: RowReader): Promise<ReadonlySet<string>> => {
  const hosts = await rows.find(hostTable);
  return new Set(hosts.flatMap(({ retired, facts }) => (retired ? [] : (facts?.physicalNetworks ?? []))));
};
