import { createHash } from 'node:crypto';

/** MACs that a port may take, Neutron's prefix first; the pool takes the first one that is free. */
export const macCandidates = (portId: string): string[] =>
  Array.from({ length: 16 }, (_, i) => {
    const digest = createHash('sha256').update(`${portId} ${i}`).digest();
    return ['fa', '16', '3e', ...[0, 1, 2].map((n) => digest[n]!.toString(16).padStart(2, '0'))].join(':');
  });
