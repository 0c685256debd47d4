import { describe, expect, it } from 'vitest';
import { refuseMemoryBeyond } from './host-resources.js';

const refused = expect.objectContaining({ code: 'noResources' });

describe('memory that a guest could not start with', () => {
  it('is more than the host has; what others were promised is the business of the scheduler', () => {
    expect(() => refuseMemoryBeyond({ memoryMib: 1025, hugePages: null }, 1024)).toThrow(refused);
    refuseMemoryBeyond({ memoryMib: 1024, hugePages: null }, 1024, () => 0);
  });

  it('is, on large pages, more than there are free ones of that size', () => {
    const free = (size: number) => (size === 2048 ? 512 : 0);
    refuseMemoryBeyond({ memoryMib: 512, hugePages: 2048 }, 1024, free);
    expect(() => refuseMemoryBeyond({ memoryMib: 514, hugePages: 2048 }, 1024, free)).toThrow(refused);
    expect(() => refuseMemoryBeyond({ memoryMib: 512, hugePages: 1 << 20 }, 1024, free)).toThrow(refused);
  });
});
