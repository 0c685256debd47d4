import { ServerId } from '@omnivisor/contracts';
import { expect, it } from 'vitest';
import { type Mark, readMark, withoutMark, writeMark } from './mark.js';

const mark: Mark = {
  cloudId: 'cloud',
  serverId: ServerId.parse('0c2c7a4e-52a3-4b8e-8f4d-000000000001'),
  attempt: 1,
  build: 0,
  stage: 'settled',
  size: { vcpus: 1, memory: 64, disk: 0 },
  root: 'C:\\root.vhdx',
  rescue: null,
  ephemeral: null,
  configDrive: null,
  slot: null,
  images: [],
  ports: {},
  disks: {},
  adopted: false,
  former: null,
  wishes: { properties: { os_type: 'windows' }, extraSpecs: { 'os:secure_boot': 'required' } },
  rescueWishes: null,
  rescueConfigDrive: null,
  ejected: null,
  before: null,
  rebuilding: null,
};

it('is read back from the notes it was written to, beside what an operator wrote there', () => {
  const notes = writeMark(mark, 'backed up on Sundays\r\ndo not delete');
  expect(readMark(notes)).toEqual(mark);
  expect(withoutMark(notes)).toBe('backed up on Sundays\ndo not delete');
  expect(readMark(writeMark({ ...mark, build: 2 }, notes))).toMatchObject({ build: 2 });
  expect(writeMark(mark, notes).match(/omnivisor /g)).toHaveLength(1);
});

it('says nothing of hardware where an older release wrote it', () => {
  const { wishes: _, rescueWishes: __, ...older } = { ...mark, before: { size: mark.size, root: mark.root } };
  expect(readMark(writeMark(older as never, ''))).toMatchObject({
    wishes: null,
    rescueWishes: null,
    before: { wishes: null },
  });
});

it('is none where the notes have none that can be read', () => {
  for (const notes of [null, '', 'a note', 'omnivisor {', 'omnivisor {"cloudId":"cloud"}'])
    expect(readMark(notes)).toBeNull();
});
