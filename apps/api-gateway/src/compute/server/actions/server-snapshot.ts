import type { ServerEvent, ServerId, ServerSnapshot } from '@omnivisor/contracts';
import { operated, type Server } from '../state/server.js';
import { guard, guardState, type StateRule } from '../state/server-rules.js';

export type SnapshotCommand =
  | { readonly type: 'snapshot'; readonly serverId: ServerId; readonly snapshot: ServerSnapshot }
  /** The image was removed, or has its bytes after all. */
  | {
      readonly type: 'confirmSnapshotDropped';
      readonly serverId: ServerId;
      readonly imageId: ServerSnapshot['imageId'];
    };

const rule: StateRule = { action: 'createImage', from: ['active', 'stopped', 'paused', 'suspended'], task: [null] };

/** A lock does not bar it: the server stays as it is. @throws DomainError when no image can be made of it now */
export const guardSnapshot = (server: Server, id: ServerId): void => {
  guard(server, id, true);
  guardState(server, id, rule);
};

export const decideSnapshot = (server: Server, command: SnapshotCommand): ServerEvent[] => {
  const { serverId } = command;
  if (command.type === 'confirmSnapshotDropped') {
    const { imageId } = command;
    if (!server.imagesToDrop?.includes(imageId)) return [];
    return [{ type: 'ServerSnapshotDropped', data: { serverId, imageId } }];
  }
  guardSnapshot(server, serverId);
  const data = { serverId, generation: server.generation + 1, snapshot: command.snapshot };
  return [{ type: 'ServerSnapshotRequested', data }];
};

type SnapshotEvent = Extract<ServerEvent, { type: `ServerSnapshot${string}` }>;

export const evolveSnapshot = (server: Server, event: SnapshotEvent): Server => {
  switch (event.type) {
    case 'ServerSnapshotRequested': {
      const { generation, snapshot } = event.data;
      const operation = { generation, kind: 'snapshot', done: false, snapshot } as const;
      return { ...server, taskState: 'image_uploading', generation, operation };
    }
    case 'ServerSnapshotTaken':
      return operated(server, event.data.generation, event.data.power, event.data.bootId);
    case 'ServerSnapshotDropped':
      return { ...server, imagesToDrop: (server.imagesToDrop ?? []).filter((id) => id !== event.data.imageId) };
  }
};
