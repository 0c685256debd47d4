import type { Bytes, ImageAttributes, ImageEvent, ImageId } from '@omnivisor/contracts';
import { specificationOf } from '@omnivisor/eventsourcing/testing';
import { describe, it } from 'vitest';
import { imageAggregate } from './image-lifecycle.js';

const imageId = '7e3c5d0a-6c39-4c68-9a0e-3d8f6f1b9a01' as ImageId;
const uploadId = '0b1f5c9e-2a4d-4e8f-8b1c-5d6e7f8a9b01';
const given = specificationOf(imageAggregate);
const attributes: ImageAttributes = {
  name: 'cirros',
  owner: 'p1',
  diskFormat: 'qcow2',
  containerFormat: 'bare',
  visibility: 'shared',
  protected: false,
  hidden: false,
  minDisk: 0,
  minRam: 0,
  tags: [],
};
const created = (a: Partial<ImageAttributes> = {}, properties: Record<string, string> = {}): ImageEvent => ({
  type: 'ImageCreated',
  data: { imageId, attributes: { ...attributes, ...a }, properties },
});
const started: ImageEvent = { type: 'ImageUploadStarted', data: { imageId, uploadId } };
const bytes = {
  size: 5 as Bytes,
  checksum: 'm',
  sha512: 's',
  virtualSize: 5 as Bytes,
  detectedFormat: 'qcow2',
};
const uploaded: ImageEvent = { type: 'ImageDataUploaded', data: { imageId, uploadId, ...bytes } };
const deleted: ImageEvent = { type: 'ImageDeleted', data: { imageId } };
const patch = (...changes: unknown[]) =>
  ({ kind: 'patch', imageId, changes: changes as never, isAdmin: false }) as const;
const set = (name: string, value: unknown, op = 'replace', draft = 10) => ({ op, name, value, draft });

describe('creating an image', () => {
  const create = {
    kind: 'create' as const,
    imageId,
    attributes: { ...attributes, tags: ['b', 'a', 'b'] },
    properties: {},
  };
  it('keeps each tag once', () =>
    given()
      .when(create)
      .then(created({ tags: ['a', 'b'] })));
  it('is refused for an id that was ever used', () => {
    given(created())
      .when(create)
      .thenRefused('conflict', /already exists!/);
    given(created(), deleted).when(create).thenRefused('conflict');
  });
  it('is refused for a negative size', () =>
    given()
      .when({ ...create, attributes: { ...attributes, minRam: -1 } })
      .thenRefused('invalid', /'min_ram'/));
  it('is refused beyond the limits', () => {
    const many = Array.from({ length: 129 }, (_, i) => `t${i}`);
    given()
      .when({ ...create, attributes: { ...attributes, tags: many } })
      .thenRefused('tooLarge', /Attempted: 129/);
    given()
      .when({ ...create, properties: Object.fromEntries(many.map((k) => [k, 'x'])) })
      .thenRefused('tooLarge', /image properties/);
  });
});

describe('uploading', () => {
  const start = { kind: 'startUpload', imageId, uploadId } as const;
  const complete = { kind: 'completeUpload', imageId, uploadId, ...bytes } as const;
  it('starts once', () => {
    given(created()).when(start).then(started);
    given(created(), started)
      .when(start)
      .thenRefused('conflict', /from saving to saving/);
    given(created(), started, uploaded)
      .when(start)
      .thenRefused('conflict', /from active to saving/);
  });
  it('needs both formats', () => {
    given(created({ diskFormat: null }))
      .when(start)
      .thenRefused('invalid', /Property disk_format must be set/);
    given(created({ diskFormat: null, containerFormat: null }))
      .when(start)
      .thenRefused('invalid', /Properties disk_format, container_format/);
  });
  it('ends with the bytes', () => given(created(), started).when(complete).then(uploaded));
  it('goes back to queued when the bytes are refused, and can start again', () => {
    const refused: ImageEvent = { type: 'ImageUploadRefused', data: { imageId, uploadId, reason: 'qcow2 called raw' } };
    given(created(), started)
      .when({ kind: 'refuseUpload', imageId, uploadId, reason: 'qcow2 called raw' })
      .then(refused);
    given(created(), started, refused).when(start).then(started);
  });
  it('is gone when the image was deleted meanwhile, or another upload took over', () => {
    given(created(), started, deleted)
      .when(complete)
      .thenRefused('conflict', /deleted during the upload/);
    const other = { ...complete, uploadId: '0b1f5c9e-2a4d-4e8f-8b1c-5d6e7f8a9b02' };
    given(created(), started).when(other).thenRefused('conflict');
  });
  it('that ended already can fail as often as one likes', () => {
    const fail = { kind: 'failUpload', imageId, uploadId, reason: 'x' } as const;
    given(created(), started, uploaded).when(fail).thenNothing();
    given(created(), started, deleted).when(fail).thenNothing();
    given().when(fail).thenNothing();
  });
});

describe('patching an image', () => {
  const updated = (a: object, properties: object = {}): ImageEvent => ({
    type: 'ImageUpdated',
    data: { imageId, attributes: a, properties: properties as Record<string, string> },
  });
  it('changes attributes and properties, and records what changed', () =>
    given(created({}, { a: '1', b: '2' }))
      .when(
        patch(set('name', 'new'), set('a', '3'), { op: 'remove', name: 'b' }, set('c', '4', 'add'), set('min_ram', 0)),
      )
      .then(updated({ name: 'new' }, { a: '3', b: null, c: '4' })));
  it('that changes nothing records nothing', () =>
    given(created())
      .when(patch(set('name', 'cirros')))
      .thenNothing());
  it('sees its own earlier changes', () =>
    given(created())
      .when(patch(set('x', '1', 'add'), set('x', '2'), { op: 'remove', name: 'x' }, set('y', '1', 'add')))
      .then(updated({}, { y: '1' })));
  it('is refused for a property that is not there', () => {
    given(created())
      .when(patch(set('x', '1')))
      .thenRefused('conflict', /Property x does not exist/);
    given(created())
      .when(patch({ op: 'remove', name: 'x' }))
      .thenRefused('conflict');
  });
  it('does not remove attributes', () =>
    given(created())
      .when(patch({ op: 'remove', name: 'name' }))
      .thenRefused('forbidden', /may not be removed/));
  it('adds over what is there only in the newer draft', () => {
    given(created({}, { a: '1' }))
      .when(patch(set('a', '2', 'add')))
      .then(updated({}, { a: '2' }));
    given(created({}, { a: '1' }))
      .when(patch(set('a', '2', 'add', 4)))
      .thenRefused('conflict', /already present/);
  });
  it('leaves formats alone once there are bytes', () =>
    given(created(), started, uploaded)
      .when(patch(set('disk_format', 'raw')))
      .thenRefused('forbidden', /queued image/));
  it('gives the image away only for an administrator', () => {
    given(created())
      .when(patch(set('owner', 'p2')))
      .thenRefused('forbidden', /non admin/);
    given(created())
      .when({ ...patch(set('owner', 'p2')), isAdmin: true })
      .then(updated({ owner: 'p2' }));
  });
});

describe('an image', () => {
  it('that is protected is not deleted', () => {
    given(created({ protected: true }))
      .when({ kind: 'delete', imageId })
      .thenRefused('forbidden', /is protected/);
    given(created()).when({ kind: 'delete', imageId }).then(deleted);
    given(created(), deleted).when({ kind: 'delete', imageId }).thenRefused('notFound');
  });
  it('with bytes can be taken out of use and back', () => {
    const off: ImageEvent = { type: 'ImageDeactivated', data: { imageId } };
    given(created(), started, uploaded).when({ kind: 'deactivate', imageId }).then(off);
    given(created(), started, uploaded, off).when({ kind: 'deactivate', imageId }).thenNothing();
    given(created(), started, uploaded, off)
      .when({ kind: 'reactivate', imageId })
      .then({ type: 'ImageReactivated', data: { imageId } });
    given(created())
      .when({ kind: 'deactivate', imageId })
      .thenRefused('forbidden', /status 'queued'/);
  });
  it('takes and gives tags', () => {
    given(created({ tags: ['a'] }))
      .when({ kind: 'addTag', imageId, tag: 'a' })
      .thenNothing();
    given(created({ tags: ['a'] }))
      .when({ kind: 'removeTag', imageId, tag: 'b' })
      .thenRefused('notFound');
  });
  it('is shared with members while it is a shared one', () => {
    const added: ImageEvent = { type: 'ImageMemberAdded', data: { imageId, memberId: 'p2' } };
    given(created()).when({ kind: 'addMember', imageId, memberId: 'p2' }).then(added);
    given(created(), added)
      .when({ kind: 'addMember', imageId, memberId: 'p2' })
      .thenRefused('conflict', /duplicated/);
    given(created({ visibility: 'private' }))
      .when({ kind: 'addMember', imageId, memberId: 'p2' })
      .thenRefused('forbidden', /Only shared/);
    given(created(), added)
      .when({ kind: 'setMemberStatus', imageId, memberId: 'p2', status: 'accepted' })
      .then({ type: 'ImageMemberStatusChanged', data: { imageId, memberId: 'p2', status: 'accepted' } });
    given(created()).when({ kind: 'removeMember', imageId, memberId: 'p2' }).thenRefused('notFound');
  });
});
