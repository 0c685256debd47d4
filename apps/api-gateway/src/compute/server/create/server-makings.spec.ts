import type { Bytes, GiB } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { assertDiskFits } from './server-makings.js';

const GIB = 1024 ** 3;
const fits = (disk: number, size: number, virtualSize?: number | null, minDisk = 0) =>
  assertDiskFits(
    { disk: disk as GiB },
    {
      ...{ size: size as Bytes, minDisk: minDisk as GiB },
      ...(virtualSize === undefined ? {} : { virtualSize: virtualSize as Bytes | null }),
    },
  );

describe("a flavor's disk", () => {
  it('holds the disk in the image, whatever its bytes take', () => {
    expect(() => fits(1, 200, 2 * GIB)).toThrow(
      `Flavor's disk is too small for requested image. Flavor disk is ${GIB} bytes, image is ${2 * GIB} bytes.`,
    );
    expect(() => fits(2, 200, 2 * GIB)).not.toThrow();
  });
  it('holds the bytes of an image, where nobody knows its disk', () => {
    for (const unknown of [null, undefined]) {
      expect(() => fits(1, 2 * GIB, unknown)).toThrow(/image is 2147483648 bytes/);
      expect(() => fits(1, GIB, unknown)).not.toThrow();
    }
  });
  it('is as large as the image wants it', () =>
    expect(() => fits(1, 200, 200, 2)).toThrow(
      `Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is ${GIB} bytes, minimum size is ${2 * GIB} bytes.`,
    ));
  it('of no size is that of the image', () => expect(() => fits(0, 200, 2 * GIB, 2)).not.toThrow());
});
