import type { ProviderSegment } from '@omnivisor/contracts';
import type { View } from '../common/collection.js';
import { invalidInput } from '../common/errors.js';

const TYPE = 'provider:network_type';
const PHYSICAL = 'provider:physical_network';
const ID = 'provider:segmentation_id';

/** Also the name of its stream, and a part of the names of traits. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const [LOWEST, HIGHEST] = [1, 4094];

/**
 * The segment that a request for a network names; undefined for a local one.
 * @param known physical networks that hosts reach
 * @throws DomainError `invalid` in the words of Neutron's type drivers
 */
export const requestedSegment = (given: View, known: ReadonlySet<string>): ProviderSegment | undefined => {
  const [type, physical, id] = [given[TYPE] ?? null, given[PHYSICAL] ?? null, given[ID] ?? null];
  if (type === null) {
    if (physical !== null || id !== null) throw invalidInput('network_type required');
    return undefined;
  }
  if (type === 'local') {
    const extra = physical !== null ? 'physical_network' : id !== null ? 'segmentation_id' : null;
    if (extra) throw invalidInput(`${extra} prohibited for local provider network`);
    return undefined;
  }
  if (type !== 'flat' && type !== 'vlan') throw invalidInput(`network_type value '${type}' not supported`);
  const named = type === 'flat' ? 'flat' : 'VLAN';
  if (physical === null || physical === '')
    throw invalidInput(
      type === 'vlan' && id !== null
        ? 'segmentation_id requires physical_network for VLAN provider network'
        : `physical_network required for ${named} provider network`,
    );
  const physicalNetwork = String(physical);
  if (!NAME.test(physicalNetwork) || !known.has(physicalNetwork))
    throw invalidInput(`physical_network '${physicalNetwork}' unknown for ${named} provider network`);
  if (type === 'flat') {
    if (id !== null) throw invalidInput('segmentation_id prohibited for flat provider network');
    return { networkType: 'flat', physicalNetwork, segmentationId: null };
  }
  if (id === null)
    throw invalidInput(
      `Physical network ${physicalNetwork} requires segmentation_id to be specified when creating a provider network`,
    );
  if (Number(id) < LOWEST || Number(id) > HIGHEST)
    throw invalidInput(`segmentation_id out of range (${LOWEST} through ${HIGHEST})`);
  return { networkType: 'vlan', physicalNetwork, segmentationId: Number(id) };
};
