import type { AllocationPool, PoolRange } from '@omnivisor/contracts';
import { type Cidr, formatAddress, formatCidr, isUsable, parseAddress, usable } from '../common/addresses.js';
import { invalidInput, neutronError } from '../common/errors.js';

/** The gateway a subnet gets when nobody names one: its first address. */
export const firstAddress = (cidr: Cidr): string => formatAddress({ version: cidr.version, value: usable(cidr).first });

/** @throws DomainError as Neutron words it */
export const checkGateway = (cidr: Cidr, gateway: string, pools: readonly AllocationPool[]): void => {
  const address = parseAddress(gateway);
  if (!address || address.version !== cidr.version || !isUsable(cidr, address))
    throw invalidInput('Gateway is not valid on subnet');
  for (const pool of pools) {
    const [start, end] = [parseAddress(pool.start)!, parseAddress(pool.end)!];
    if (start.value <= address.value && address.value <= end.value)
      throw neutronError(
        'conflict',
        'GatewayConflictWithAllocationPools',
        `Gateway ip ${gateway} conflicts with allocation pool ${pool.start}-${pool.end}.`,
      );
  }
};

/** @throws DomainError as Neutron words it */
export const checkPools = (cidr: Cidr, pools: readonly AllocationPool[]): void => {
  const seen: { readonly start: bigint; readonly end: bigint; readonly text: string }[] = [];
  for (const pool of pools) {
    const text = `${pool.start}-${pool.end}`;
    const [start, end] = [parseAddress(pool.start), parseAddress(pool.end)];
    if (!start || !end || start.version !== cidr.version || end.version !== cidr.version || start.value > end.value)
      throw neutronError('invalid', 'InvalidAllocationPool', `The allocation pool ${text} is not valid.`);
    if (!isUsable(cidr, start) || !isUsable(cidr, end))
      throw neutronError(
        'invalid',
        'OutOfBoundsAllocationPool',
        `The allocation pool ${text} spans beyond the subnet cidr ${formatCidr(cidr)}.`,
      );
    const other = seen.find((s) => s.start <= end.value && start.value <= s.end);
    if (other)
      throw neutronError(
        'conflict',
        'OverlappingAllocationPools',
        `Found overlapping allocation pools: ${other.text} ${text} for subnet ${formatCidr(cidr)}.`,
      );
    seen.push({ start: start.value, end: end.value, text });
  }
};

/** An address for the network's own side where no gateway serves: the lowest one that nobody has. */
export const serviceAddressOf = (
  range: Pick<PoolRange, 'gateway' | 'allocationPools' | 'serviceAddress'>,
  dhcp: boolean,
  lowest: () => string | null,
): string | null => (range.gateway !== null || !dhcp ? null : (range.serviceAddress ?? lowest()));
