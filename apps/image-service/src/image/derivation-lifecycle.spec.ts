import type { Bytes, GuestFacts, ImageEvent, ImageFormat, ImageId } from '@omnivisor/contracts';
import { specificationOf } from '@omnivisor/eventsourcing/testing';
import { describe, it } from 'vitest';
import { imageAggregate } from './image-lifecycle.js';

const imageId = '7e3c5d0a-6c39-4c68-9a0e-3d8f6f1b9a01' as ImageId;
const uploadId = '0b1f5c9e-2a4d-4e8f-8b1c-5d6e7f8a9b01';
const taskId = '0b1f5c9e-2a4d-4e8f-8b1c-5d6e7f8a9b0f';
const given = specificationOf(imageAggregate);
const created: ImageEvent = {
  type: 'ImageCreated',
  data: {
    imageId,
    attributes: {
      ...{ name: 'i', owner: 'p1', diskFormat: 'raw', containerFormat: 'bare', visibility: 'private' },
      ...{ protected: false, hidden: false, minDisk: 0, minRam: 0, tags: [] },
    },
    properties: {},
  },
};
const started: ImageEvent = { type: 'ImageUploadStarted', data: { imageId, uploadId } };
const bytes = { size: 5 as Bytes, checksum: 'm', sha512: 's', virtualSize: 5 as Bytes, detectedFormat: 'raw' };
const uploaded: ImageEvent = { type: 'ImageDataUploaded', data: { imageId, uploadId, ...bytes } };
const deleted: ImageEvent = { type: 'ImageDeleted', data: { imageId } };
const active = [created, started, uploaded] as const;
const id = (n: number) => `1b1f5c9e-2a4d-4e8f-8b1c-5d6e7f8a9b0${n}`;
const begun = (n: number, format: ImageFormat): ImageEvent => ({
  type: 'ImageDerivationStarted',
  data: { imageId, derivationId: id(n), format },
});
const made = { size: 9 as Bytes, sha256: 'h', composed: false, base: null };
const derived = (n: number, format: ImageFormat, more: object = {}): ImageEvent => ({
  type: 'ImageDerived',
  data: { imageId, derivationId: id(n), format, ...made, ...more },
});
const start = (n: number, format: ImageFormat) =>
  ({ kind: 'startDerivation', imageId, derivationId: id(n), format }) as const;
const complete = (n: number, format: ImageFormat, more: object = {}) =>
  ({ kind: 'completeDerivation', imageId, derivationId: id(n), format, ...made, ...more }) as const;
const drop = (n: number, format: ImageFormat) =>
  ({ kind: 'dropDerivation', imageId, derivationId: id(n), format }) as const;
const fail = (n: number, format: ImageFormat) =>
  ({ kind: 'failDerivation', imageId, derivationId: id(n), format, reason: 'x' }) as const;

describe('a derived form', () => {
  it('is begun once, whoever asks', () => {
    given(...active)
      .when(start(1, 'vhdx'))
      .then(begun(1, 'vhdx'));
    given(...active, begun(1, 'vhdx'))
      .when(start(2, 'vhdx'))
      .thenNothing();
    given(...active, begun(1, 'vhdx'), derived(1, 'vhdx'))
      .when(start(2, 'vhdx'))
      .thenNothing();
    given(...active, begun(1, 'vhdx'))
      .when(start(2, 'vdi'))
      .then(begun(2, 'vdi'));
  });
  it('needs bytes that may be used', () => {
    given(created).when(start(1, 'vhdx')).thenRefused('conflict');
    given(...active, { type: 'ImageDeactivated', data: { imageId } })
      .when(start(1, 'vhdx'))
      .thenRefused('conflict');
    given(...active, deleted)
      .when(start(1, 'vhdx'))
      .thenRefused('notFound');
  });
  it('is complete for the one that made it', () => {
    given(...active, begun(1, 'vhdx'))
      .when(complete(1, 'vhdx'))
      .then(derived(1, 'vhdx'));
    given(...active, begun(1, 'vhdx'), derived(1, 'vhdx'))
      .when(complete(1, 'vhdx'))
      .thenNothing();
    given(...active, begun(1, 'vhdx'))
      .when(complete(2, 'vhdx'))
      .thenRefused('conflict', /given up/);
    given(...active)
      .when(complete(1, 'vhdx'))
      .thenRefused('conflict', /given up/);
  });
  it('rests on another one only while that is there', () => {
    const ova = { composed: true, base: 'vmdk' as const };
    const both = [begun(1, 'vmdk'), derived(1, 'vmdk'), begun(2, 'ova')] as const;
    given(...active, ...both)
      .when(complete(2, 'ova', ova))
      .then(derived(2, 'ova', ova));
    given(...active, begun(2, 'ova'))
      .when(complete(2, 'ova', ova))
      .thenRefused('conflict');
    const dropped = (n: number, format: ImageFormat): ImageEvent => ({
      type: 'ImageDerivationDropped',
      data: { imageId, derivationId: id(n), format },
    });
    given(...active, ...both, derived(2, 'ova', ova))
      .when(drop(1, 'vmdk'))
      .then(dropped(2, 'ova'), dropped(1, 'vmdk'));
  });
  it('can fail and be begun again', () => {
    const failed: ImageEvent = {
      type: 'ImageDerivationFailed',
      data: { imageId, derivationId: id(1), format: 'vhdx', reason: 'x' },
    };
    given(...active, begun(1, 'vhdx'))
      .when(fail(1, 'vhdx'))
      .then(failed);
    given(...active, begun(1, 'vhdx'), failed)
      .when(start(2, 'vhdx'))
      .then(begun(2, 'vhdx'));
    given(...active, begun(1, 'vhdx'), derived(1, 'vhdx'))
      .when(fail(1, 'vhdx'))
      .thenNothing();
    given(...active, begun(1, 'vhdx'), deleted)
      .when(fail(1, 'vhdx'))
      .thenNothing();
  });
  it('is given up while it is made, and can be begun again', () => {
    const dropped: ImageEvent = {
      type: 'ImageDerivationDropped',
      data: { imageId, derivationId: id(1), format: 'vhdx' },
    };
    given(...active, begun(1, 'vhdx'))
      .when(drop(1, 'vhdx'))
      .then(dropped);
    given(...active, begun(1, 'vhdx'), dropped)
      .when(complete(1, 'vhdx'))
      .thenRefused('conflict', /given up/);
    given(...active, begun(1, 'vhdx'), dropped)
      .when(start(2, 'vhdx'))
      .then(begun(2, 'vhdx'));
    given(...active, deleted)
      .when(drop(1, 'vhdx'))
      .thenNothing();
  });
  it('that another one replaced is not dropped in its place', () =>
    given(...active, begun(2, 'vhdx'), derived(2, 'vhdx'))
      .when(drop(1, 'vhdx'))
      .thenNothing());
});

describe('an import', () => {
  const begin = (method: 'glance-direct' | 'web-download') =>
    ({ kind: 'startImport', imageId, taskId, method, uploadId: id(9), source: null, owner: 'p1' }) as const;
  const staging: ImageEvent = { type: 'ImageStagingStarted', data: { imageId, uploadId } };
  const staged: ImageEvent = { type: 'ImageStaged', data: { imageId, uploadId } };
  const importing = (upload: string, method: 'glance-direct' | 'web-download'): ImageEvent => ({
    type: 'ImageImportStarted',
    data: { imageId, taskId, uploadId: upload, method, source: null, owner: 'p1' },
  });
  it('takes staged bytes under their own key', () =>
    given(created, staging, staged).when(begin('glance-direct')).then(importing(uploadId, 'glance-direct')));
  it('waits for the whole of them', () => {
    given(created, staging).when(begin('glance-direct')).thenRefused('conflict');
    given(created, staged).when(begin('glance-direct')).thenRefused('conflict');
  });
  it('from the web begins with an image that waits', () => {
    given(created)
      .when(begin('web-download'))
      .then(importing(id(9), 'web-download'));
    given(created, staging).when(begin('web-download')).thenRefused('conflict');
    given(created, importing(id(9), 'web-download'))
      .when(begin('web-download'))
      .thenNothing();
  });
  it('ends with the bytes and the success of its task', () =>
    given(created, staging, staged, importing(uploadId, 'glance-direct'))
      .when({ kind: 'completeUpload', imageId, uploadId, ...bytes })
      .then(uploaded, { type: 'ImageImportSucceeded', data: { imageId, taskId } }));
  it('that fails gives the image back', () => {
    const failed: ImageEvent = { type: 'ImageImportFailed', data: { imageId, taskId, uploadId, reason: 'r' } };
    const end = { kind: 'failImport', imageId, taskId, reason: 'r' } as const;
    const past = [created, staging, staged, importing(uploadId, 'glance-direct')] as const;
    given(...past)
      .when(end)
      .then(failed);
    given(...past, failed)
      .when(end)
      .thenNothing();
    given(...past, failed)
      .when({ kind: 'startUpload', imageId, uploadId: id(8) })
      .then({
        type: 'ImageUploadStarted',
        data: { imageId, uploadId: id(8) },
      });
    given(...past, deleted)
      .when(end)
      .thenNothing();
  });
});

describe('a look at the guest', () => {
  const guest = { partitions: 'none' } as GuestFacts;
  const look = { kind: 'completeInspection', imageId, uploadId, guest, readiness: {} } as const;
  const inspected: ImageEvent = { type: 'ImageInspected', data: { imageId, uploadId, guest, readiness: {} } };
  it('is recorded once, for the bytes that were looked at', () => {
    given(...active)
      .when(look)
      .then(inspected);
    given(...active, inspected)
      .when(look)
      .thenNothing();
    given(...active)
      .when({ ...look, uploadId: id(1) })
      .thenNothing();
    given(...active, deleted)
      .when(look)
      .thenNothing();
  });
  it('is counted before it begins, once for all who know of as many', () => {
    const start = { kind: 'startInspection', imageId, uploadId, looks: 0 } as const;
    const started: ImageEvent = { type: 'ImageInspectionStarted', data: { imageId, uploadId } };
    given(...active)
      .when(start)
      .then(started);
    given(...active, started)
      .when(start)
      .thenNothing();
    given(...active, started)
      .when({ ...start, looks: 1 })
      .then(started);
    given(...active, started, inspected)
      .when({ ...start, looks: 1 })
      .thenNothing();
    given(...active)
      .when({ ...start, uploadId: id(1) })
      .thenNothing();
  });
});
