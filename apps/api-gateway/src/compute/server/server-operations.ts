import type { ServerEvent, ServerOperation } from '@omnivisor/contracts';

/** What instance actions and refusals call an operation, and the event that says it is done. */
export const operations = {
  start: { action: 'start', done: 'ServerStarted' },
  stop: { action: 'stop', done: 'ServerStopped' },
  softReboot: { action: 'reboot', done: 'ServerRebooted' },
  hardReboot: { action: 'reboot', done: 'ServerRebooted' },
  pause: { action: 'pause', done: 'ServerPaused' },
  unpause: { action: 'unpause', done: 'ServerUnpaused' },
  suspend: { action: 'suspend', done: 'ServerSuspended' },
  resume: { action: 'resume', done: 'ServerResumed' },
  rebuild: { action: 'rebuild', done: 'ServerRebuilt' },
  rescue: { action: 'rescue', done: 'ServerRescued' },
  snapshot: { action: 'createImage', done: 'ServerSnapshotTaken' },
  resize: { action: 'resize', done: 'ServerResized' },
  confirmResize: { action: 'confirmResize', done: 'ServerResizeConfirmed' },
  revertResize: { action: 'revertResize', done: 'ServerResizeReverted' },
  unrescue: { action: 'unrescue', done: 'ServerUnrescued' },
} as const satisfies Record<ServerOperation, { readonly action: string; readonly done: ServerEvent['type'] }>;
