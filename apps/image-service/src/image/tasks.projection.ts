import type { ImageEvent, ImageId } from '@omnivisor/contracts';
import { projection, type Recorded, table } from '@omnivisor/eventsourcing';

/** An import as Glance's tasks show it. */
export interface TaskRow {
  readonly id: string;
  readonly imageId: ImageId;
  readonly status: 'processing' | 'success' | 'failure';
  readonly method: string;
  readonly source: string | null;
  /** Project that asked for it. */
  readonly owner: string | null;
  readonly userId: string | null;
  readonly requestId: string;
  readonly message: string;
  readonly createdAt: string;
  readonly updatedAt: string;
  /** Position of its first event: the order of tasks. */
  readonly created: number;
}
export const tasksTable = table<TaskRow>('image_tasks_v1', ['imageId', 'created'], ['created']);

const ended =
  (status: TaskRow['status']) =>
  (row: TaskRow | undefined, event: Extract<Recorded<ImageEvent>, { data: { taskId: string } }>): TaskRow | undefined =>
    row && {
      ...row,
      status,
      message: event.type === 'ImageImportFailed' ? event.data.reason : row.message,
      updatedAt: second(event.recordedAt),
    };
const second = (at: string): string => `${at.slice(0, 19)}Z`;
const key = (event: { data: { taskId: string } }) => event.data.taskId;

export const taskProjection = projection<ImageEvent, TaskRow>(tasksTable, {
  ImageImportStarted: {
    key,
    row: (_, { data, context, recordedAt, position }) => ({
      id: data.taskId,
      imageId: data.imageId,
      status: 'processing',
      method: data.method,
      source: data.source,
      owner: data.owner,
      userId: context.actor.kind === 'user' ? context.actor.userId : null,
      requestId: context.requestId,
      message: '',
      createdAt: second(recordedAt),
      updatedAt: second(recordedAt),
      created: position,
    }),
  },
  ImageImportSucceeded: { key, row: ended('success') },
  ImageImportFailed: { key, row: ended('failure') },
});
