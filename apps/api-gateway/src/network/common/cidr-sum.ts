import { formatAddress, parseAddress } from './addresses.js';

/** The fewest CIDRs that hold exactly these addresses: members of a group are mostly neighbours. */
export const sumOfAddresses = (addresses: readonly string[]): string[] => {
  const sums: string[] = [];
  for (const version of [4, 6] as const) {
    const values = [
      ...new Set(addresses.map(parseAddress).flatMap((a) => (a?.version === version ? [a.value] : []))),
    ].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
    const bits = version === 4 ? 32 : 128;
    for (let i = 0; i < values.length; ) {
      const first = values[i]!;
      let run = 1;
      while (i + run < values.length && values[i + run] === first + BigInt(run)) run++;
      let size = 1;
      while (size * 2 <= run && first % BigInt(size * 2) === 0n) size *= 2;
      sums.push(`${formatAddress({ version, value: first })}/${bits - Math.log2(size)}`);
      i += size;
    }
  }
  return sums;
};
