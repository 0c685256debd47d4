import * as hostBus from './host.js';
import {
  abortSnapshotImage,
  beginSnapshotImage,
  completeSnapshotImage,
  createDiskTransfer,
  deleteDiskTransfer,
  inspectImage,
  signImageUrl,
} from './images.js';
import { describeImage, identityValidate, judgeImage, reserve, schedulerState } from './services.js';

/** What one program may say and hear, besides asking and being answered; subjects as NATS writes them. */
export interface BusPermissions {
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
}

/** The wake-up after an append; it carries no truth. */
const LOG = 'log.appended';
const subjectsOf = (...endpoints: readonly { readonly subject: string }[]) => endpoints.map(({ subject }) => subject);
const scheduling = subjectsOf(reserve, judgeImage, schedulerState);
const images = subjectsOf(
  ...[signImageUrl, beginSnapshotImage, completeSnapshotImage, abortSnapshotImage],
  ...[createDiskTransfer, deleteDiskTransfer, describeImage, inspectImage],
);

/** What each of our own programs needs of the bus, and no more: one that is taken over speaks for no other. */
export const servicePermissions: Readonly<Record<string, BusPermissions>> = {
  'api-gateway': {
    publish: [
      ...[LOG, hostBus.wakeSubject('*'), ...scheduling, ...images, 'admin.scheduler.*'],
      // What is published of the log for the world outside, and the streams that keep it.
      ...['events.>', 'cadf.>', 'versioned_notifications.>', 'audit.checkpoint', '$JS.API.>'],
    ],
    subscribe: [
      ...[LOG, 'admin.api-gateway.*', ...subjectsOf(identityValidate)],
      ...subjectsOf(hostBus.desired, hostBus.confirm, hostBus.report, hostBus.serverBoot, hostBus.snapshotUpload),
      ...subjectsOf(hostBus.migrationTicket, hostBus.metadata, hostBus.answer),
    ],
  },
  scheduler: {
    publish: [LOG, ...subjectsOf(identityValidate)],
    subscribe: [
      ...[LOG, 'admin.scheduler.*', ...scheduling],
      ...subjectsOf(hostBus.hello, hostBus.beat, hostBus.probed, hostBus.quarantine, hostBus.maintained),
    ],
  },
  'image-service': {
    publish: [LOG, ...subjectsOf(identityValidate)],
    subscribe: [LOG, 'admin.image-service.*', ...images],
  },
  'omnivisor-cli': { publish: ['admin.*.*'], subscribe: [] },
};
