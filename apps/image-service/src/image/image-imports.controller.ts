import type { Readable } from 'node:stream';
import { Controller } from '@nestjs/common';
import { DomainError, invalid, notFound } from '@omnivisor/contracts';
import { type Call, nextPath, Operation, pageOf, Reply } from '@omnivisor/openstack';
import { z } from 'zod';
import { ImageContext } from '../core.js';
import { sizeIn } from './byte-range.js';
import { imageOf } from './image-access.js';
import { IMPORT_METHODS, ImageImports } from './image-imports.js';
import { ImageUploads } from './image-uploads.js';
import { type TaskRow, tasksTable } from './tasks.projection.js';

const MAX_PAGE = 1_000;
const DEFAULT_PAGE = 25;

const taskView = (task: TaskRow): Record<string, unknown> => ({
  id: task.id,
  type: 'api_image_import',
  status: task.status,
  owner: task.owner,
  created_at: task.createdAt,
  updated_at: task.updatedAt,
  expires_at: null,
  self: `/v2/tasks/${task.id}`,
  schema: '/v2/schemas/task',
});
const detailView = (task: TaskRow): Record<string, unknown> => ({
  ...taskView(task),
  image_id: task.imageId,
  request_id: task.requestId,
  user_id: task.userId,
  input: {
    image_id: task.imageId,
    import_req: { method: { name: task.method, ...(task.source === null ? {} : { uri: task.source }) } },
  },
  result: task.status === 'success' ? { image_id: task.imageId } : null,
  message: task.message,
});

const record = (value: unknown): Record<string, unknown> =>
  value !== null && typeof value === 'object' && !Array.isArray(value) ? (value as Record<string, unknown>) : {};

/** Import of image data in two steps, and the tasks that carry it out. */
@Controller()
export class ImageImportsController {
  constructor(
    private readonly images: ImageContext,
    private readonly uploads: ImageUploads,
    private readonly imports: ImageImports,
  ) {}

  @Operation({
    ...{ service: 'image', method: 'PUT', path: '/v2/images/:id/stage', policy: 'authenticated' },
    stream: true,
    status: 204,
  })
  async stage(call: Call<Readable>) {
    const type = (call.headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase();
    if (type !== 'application/octet-stream')
      throw new DomainError('unsupportedMedia', `Invalid content type ${type.slice(0, 200)}`);
    const image = await imageOf(call as Call, await this.images.core.fresh(), 'modify_image');
    await this.uploads.stage(image, call.body, sizeIn(call.headers), (step) => call.context(step));
  }

  @Operation({
    ...{ service: 'image', method: 'POST', path: '/v2/images/:id/import', policy: 'authenticated' },
    body: z.unknown(),
    status: 202,
  })
  async import(call: Call) {
    const body = record(call.body);
    if (!Object.hasOwn(body, 'method')) throw invalid("Import request requires a 'method' field.");
    const { name, uri } = record(body.method);
    if (name === undefined) throw invalid("Import request requires a 'name' field.");
    const method = IMPORT_METHODS.find((m) => m === name);
    if (!method)
      throw invalid(`Unknown import method name '${typeof name === 'string' ? name.slice(0, 100) : typeof name}'.`);
    // All stores are the one that this site has.
    for (const key of ['all_stores', 'all_stores_must_succeed'])
      if (body[key] !== undefined && typeof body[key] !== 'boolean')
        throw invalid(`'${key}' must be boolean value only`);
    if (Object.hasOwn(body, 'stores')) throw invalid('Stores cannot be chosen: this site has one.');
    const image = await imageOf(call, await this.images.core.fresh(), 'modify_image');
    await this.imports.begin(image, { method, uri }, call.token.projectId, (step) => call.context(step));
    return new Reply(undefined, { headers: { 'content-type': 'text/html; charset=UTF-8' } });
  }

  @Operation({ service: 'image', method: 'GET', path: '/v2/images/:id/tasks', policy: 'authenticated' })
  async ofImage(call: Call) {
    const rows = await this.images.core.fresh();
    const image = await imageOf(call, rows, 'get_image');
    const query = { where: { imageId: image.id }, orderBy: [['created', 'desc']] as const, limit: MAX_PAGE };
    return { tasks: (await rows.find(tasksTable, query)).map(detailView) };
  }

  @Operation({ service: 'image', method: 'GET', path: '/v2/tasks', policy: 'tasks_api_access' })
  async list(call: Call) {
    const limit = call.query.limit === undefined ? DEFAULT_PAGE : pageOf(call, MAX_PAGE).limit;
    const one = (name: string) => call.query[name]?.at(-1);
    const marker = one('marker');
    const status = one('status');
    const type = one('type');
    const rows = await (await this.images.core.fresh()).find(tasksTable, {
      orderBy: [['created', one('sort_dir') === 'asc' ? 'asc' : 'desc']],
      ...(status === undefined ? {} : { where: { status } }),
      ...(marker === undefined ? {} : { after: marker }),
      limit,
    });
    const tasks = type === undefined || type === 'api_image_import' ? rows : [];
    return {
      tasks: tasks.map(taskView),
      first: '/v2/tasks',
      ...(tasks.length > 0 && tasks.length === limit ? { next: nextPath(call, tasks.at(-1)!.id) } : {}),
      schema: '/v2/schemas/tasks',
    };
  }

  @Operation({ service: 'image', method: 'GET', path: '/v2/tasks/:id', policy: 'tasks_api_access' })
  async show(call: Call) {
    const task = await (await this.images.core.fresh()).get(tasksTable, call.params.id ?? '');
    if (!task) throw notFound(`No task found with ID ${call.params.id?.slice(0, 100)}`);
    return detailView(task);
  }

  @Operation({ service: 'image', method: 'GET', path: '/v2/schemas/task', policy: 'authenticated' })
  taskSchema(_call: Call) {
    return taskSchema;
  }

  @Operation({ service: 'image', method: 'GET', path: '/v2/schemas/tasks', policy: 'authenticated' })
  tasksSchema(_call: Call) {
    return tasksSchema;
  }
}

const text = (description: string, more: object = {}) => ({ type: 'string', description, ...more });
const taskSchema = {
  name: 'task',
  properties: {
    id: text('An identifier for the task'),
    type: text('The type of task represented by this content', { enum: ['api_image_import'] }),
    status: text('The current status of this task', { enum: ['processing', 'success', 'failure'] }),
    input: { type: ['null', 'object'], description: 'The parameters required by task, JSON blob' },
    result: { type: ['null', 'object'], description: 'The result of current task, JSON blob' },
    owner: { type: ['null', 'string'], description: 'An identifier for the owner of this task' },
    message: text('Human-readable informative message only included when appropriate (usually on failure)'),
    image_id: text('Image associated with the task'),
    request_id: text('Human-readable informative request-id'),
    user_id: { type: ['null', 'string'], description: 'User associated with the task' },
    expires_at: { type: ['null', 'string'], description: 'Datetime when this resource would be subject to removal' },
    created_at: text('Datetime when this resource was created'),
    updated_at: text('Datetime when this resource was updated'),
    self: { type: 'string', readOnly: true },
    schema: { type: 'string', readOnly: true },
  },
};
const tasksSchema = {
  name: 'tasks',
  properties: {
    tasks: { type: 'array', items: taskSchema },
    first: { type: 'string' },
    next: { type: 'string' },
    schema: { type: 'string' },
  },
  links: [
    { rel: 'first', href: '{first}' },
    { rel: 'next', href: '{next}' },
    { rel: 'describedby', href: '{schema}' },
  ],
};
