import { describe, expect, it } from 'vitest';
import type { ImageRow } from '../image/image.projection.js';
import { formOf, isOriginal } from './stored-form.js';

const row = (diskFormat: string, containerFormat: string, format?: string) =>
  ({ diskFormat, containerFormat, ...(format ? { format } : {}), size: 512 }) as unknown as ImageRow;

describe('the form of stored bytes', () => {
  it.each([
    ['as it was told', row('vmdk', 'bare', 'vmdk'), 'vmdk'],
    ['of a disk that came before it was kept', row('qcow2', 'bare'), 'qcow2'],
    ['of a kernel that did', row('aki', 'aki'), 'aki'],
    ['of a VMDK that did, whichever kind it is', row('vmdk', 'bare'), 'vmdk-sparse'],
    ['in a container', row('vmdk', 'ova'), null],
  ])('is known: %s', (_, image, form) => expect(formOf(image)).toBe(form));
  it('is made into a stream where nobody knows that it is one', () =>
    expect([isOriginal(row('vmdk', 'bare'), 'vmdk'), isOriginal(row('vmdk', 'bare'), 'vmdk-sparse')]).toEqual([
      false,
      true,
    ]));
});
