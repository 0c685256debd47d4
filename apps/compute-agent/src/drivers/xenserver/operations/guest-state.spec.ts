import { randomUUID } from 'node:crypto';
import { ServerId } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import {
  attachedDisks,
  type GuestState,
  neededDisks,
  newState,
  readDiskMark,
  readState,
  STATE_KEY,
} from './guest-state.js';

const serverId = ServerId.parse(randomUUID());
const mark = { cloudId: 'cloud', serverId, attempt: 1, build: 0 };
const disk = (role: string, vdi: string, device: string) => ({ role, vdi, device });
const state: GuestState = {
  ...newState(mark, 'xs1', { vcpus: 1, memoryMib: 64 }),
  disks: [disk('root', 'r', '0'), disk('swap', 's', '2')],
};

describe("a guest's state", () => {
  it('is read as it was written', () => {
    expect(readState({ [STATE_KEY]: JSON.stringify(state), folder: 'x' })).toEqual(state);
  });

  it('is nobody’s to touch when it cannot be read, and none where there is none', () => {
    expect(readState({ [STATE_KEY]: '{}' })).toBe('unreadable');
    expect(readState({ [STATE_KEY]: 'not JSON' })).toBe('unreadable');
    expect(readState({ folder: 'x' })).toBeNull();
    expect(readDiskMark({ [STATE_KEY]: 'not JSON' })).toBeNull();
  });

  it('says which disks the VM has: a rescued guest has its own root as second one', () => {
    expect(attachedDisks(state).map(({ vdi, device }) => [vdi, device])).toEqual([
      ['r', '0'],
      ['s', '2'],
    ]);
    const rescued = { ...state, rescue: [disk('root', 'x', '0'), disk('config', 'c', '3')] };
    expect(attachedDisks(rescued).map(({ vdi, device }) => [vdi, device])).toEqual([
      ['x', '0'],
      ['c', '3'],
      ['r', '1'],
    ]);
  });

  it('says which disks are needed, those from before a resize among them', () => {
    const before = { size: state.size, disks: [disk('root', 'old', '0')], flavor: '', hardware: null, wishes: null };
    const rescue = [disk('root', 'x', '0')];
    expect([...neededDisks({ ...state, before, rescue })].sort()).toEqual(['old', 'r', 's', 'x']);
  });
});
