import type { RecordedEvent, ServerEvent, ServerFault } from '@omnivisor/contracts';
import type { ServerRow } from '../compute/server/view/server.projection.js';
import type { Notification } from './notification.js';
import { actionPayload, createPayload, rebuildPayload, rescuePayload, updatePayload } from './server-payloads.js';

/** Names that Nova gives to what these events tell. */
const ACTIONS: { readonly [T in ServerEvent['type']]?: string } = {
  ServerStartRequested: 'instance.power_on.start',
  ServerStarted: 'instance.power_on.end',
  ServerStopRequested: 'instance.power_off.start',
  ServerStopped: 'instance.power_off.end',
  ServerRebootRequested: 'instance.reboot.start',
  ServerRebooted: 'instance.reboot.end',
  ServerPauseRequested: 'instance.pause.start',
  ServerPaused: 'instance.pause.end',
  ServerUnpauseRequested: 'instance.unpause.start',
  ServerUnpaused: 'instance.unpause.end',
  ServerSuspendRequested: 'instance.suspend.start',
  ServerSuspended: 'instance.suspend.end',
  ServerResumeRequested: 'instance.resume.start',
  ServerResumed: 'instance.resume.end',
  ServerRebuildRequested: 'instance.rebuild.start',
  ServerRebuilt: 'instance.rebuild.end',
  ServerRescueRequested: 'instance.rescue.start',
  ServerRescued: 'instance.rescue.end',
  ServerUnrescueRequested: 'instance.unrescue.start',
  ServerUnrescued: 'instance.unrescue.end',
  ServerInterfaceAttachRequested: 'instance.interface_attach.start',
  ServerInterfaceAttached: 'instance.interface_attach.end',
  ServerInterfaceDetachRequested: 'instance.interface_detach.start',
  ServerInterfaceDetached: 'instance.interface_detach.end',
  ServerResizeScheduled: 'instance.resize.start',
  ServerResized: 'instance.resize_finish.end',
  ServerResizeConfirmRequested: 'instance.resize_confirm.start',
  ServerResizeConfirmed: 'instance.resize_confirm.end',
  ServerResizeRevertRequested: 'instance.resize_revert.start',
  ServerResizeReverted: 'instance.resize_revert.end',
  ServerDeleteRequested: 'instance.delete.start',
  ServerReleaseRequested: 'instance.delete.start',
  ServerDeleted: 'instance.delete.end',
  ServerLocked: 'instance.lock',
  ServerUnlocked: 'instance.unlock',
};
/** Nova says nothing of these. */
const SILENT = new Set<string>([
  'ServerCreateAbandoned',
  'ServerAttemptAbandoned',
  'ServerGuestAbsent',
  'ServerGuestQuarantined',
  'ServerInterfaceReleased',
  'ServerSnapshotDropped',
  'ServerQuotaSettled',
  'ServerResourcesReleased',
]);

const failure = (row: ServerRow, message: string): ServerFault => row.fault ?? { code: 500, message };

/**
 * What Nova would tell of an event of a server. Whatever has no name of its own there is an `instance.update`. Pure.
 * @param before the row before the event, `row` the one after it
 */
export const serverNotification = (
  event: RecordedEvent & ServerEvent,
  before: ServerRow | undefined,
  row: ServerRow,
): Notification | null => {
  if (SILENT.has(event.type)) return null;
  const { context } = event;
  const compute = row.host === null ? 'nova-api:omnivisor' : `nova-compute:${row.host}`;
  const api = 'nova-api:omnivisor';
  switch (event.type) {
    case 'ServerScheduled':
      return { name: 'instance.create.start', publisher: compute, payload: createPayload(row, context, null) };
    case 'ServerSpawned':
      return { name: 'instance.create.end', publisher: compute, payload: createPayload(row, context, null) };
    case 'ServerSpawnFailed':
    case 'ServerBuildFailed': {
      const reason = event.type === 'ServerSpawnFailed' ? event.data.reason : event.data.fault.message;
      const payload = createPayload(row, context, failure(row, reason));
      return { name: 'instance.create.error', publisher: compute, payload, isError: true };
    }
    case 'ServerActionFailed': {
      const { action, fault } = event.data;
      if (action !== 'reboot' && action !== 'rebuild' && action !== 'resize') break;
      const payload = (action === 'rebuild' ? rebuildPayload : actionPayload)(row, context, fault);
      return { name: `instance.${action}.error`, publisher: compute, payload, isError: true };
    }
    case 'ServerInterfaceAttachFailed': {
      const payload = actionPayload(row, context, event.data.fault);
      return { name: 'instance.interface_attach.error', publisher: compute, payload, isError: true };
    }
    case 'ServerRebuildRequested':
    case 'ServerRebuilt':
      return { name: ACTIONS[event.type]!, publisher: compute, payload: rebuildPayload(row, context, null) };
    case 'ServerRescueRequested':
    case 'ServerRescued': {
      const payload = rescuePayload(row, context, row.operation?.image?.id ?? null);
      return { name: ACTIONS[event.type]!, publisher: compute, payload };
    }
  }
  const name = ACTIONS[event.type];
  if (name === undefined)
    return { name: 'instance.update', publisher: api, payload: updatePayload(row, before, context) };
  const publisher = name === 'instance.lock' || name === 'instance.unlock' ? api : compute;
  return { name, publisher, payload: actionPayload(row, context, null) };
};
