import { operationsOf } from '@omnivisor/openstack';
import { z } from 'zod';
import { EventPage, EventView, filterFields, pageFields } from './events/event.schema.js';
import { EventsController } from './events/events.controller.js';
import { TimelineController } from './timeline/timeline.controller.js';
import { Timeline } from './timeline/timeline.schema.js';

interface Answer {
  readonly type: string;
  readonly schema?: z.ZodType;
}
/** What the schemas of an operation do not say: its parameters one by one, and its answer. */
interface Described {
  readonly query?: Readonly<Record<string, z.ZodType>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly answer: Answer;
}

const JSON_TYPE = 'application/json';

/** By path; each operation of the audit API has an entry, else the document cannot be made. */
export const described: Readonly<Record<string, Described>> = {
  '/v1/events': { query: { ...filterFields, ...pageFields }, answer: { type: JSON_TYPE, schema: EventPage } },
  '/v1/events/stream': {
    query: filterFields,
    headers: { 'Last-Event-ID': 'Position of the last event that was seen.' },
    answer: { type: 'text/event-stream' },
  },
  '/v1/servers/:id/timeline': { answer: { type: JSON_TYPE, schema: Timeline } },
  '/v1/events/:position': { answer: { type: JSON_TYPE, schema: z.object({ event: EventView }) } },
};

const faults = {
  400: 'A parameter is wrong.',
  401: 'There is no valid token.',
  403: 'The token has no role that audits.',
  404: 'There is no such thing.',
  503: 'It cannot be answered now; try again.',
};

const plain = (schema: z.ZodType): object => {
  const { $schema: _, ...json } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any', reused: 'inline' });
  return json;
};

/** The audit API as OpenAPI 3.1, made of the operations that are served. */
export const openApi = (controllers: readonly object[] = [EventsController, TimelineController]) => {
  const paths: Record<string, object> = {};
  for (const { spec, method } of controllers.flatMap(operationsOf)) {
    if (!spec.path.startsWith('/v1/')) continue;
    const about = described[spec.path];
    if (!about) throw new Error(`${spec.path} of the audit API is not described`);
    const fault = (code: string, description: string) => [code, { description, $ref: '#/components/responses/Fault' }];
    paths[spec.path.replace(/:(\w+)/g, '{$1}')] = {
      get: {
        operationId: method,
        summary: spec.summary,
        parameters: [
          ...[...spec.path.matchAll(/:(\w+)/g)].map(([, name]) => ({
            name,
            in: 'path',
            required: true,
            schema: { type: 'string' },
          })),
          ...Object.entries(about.query ?? {}).map(([name, schema]) => ({
            name,
            in: 'query',
            description: schema.description,
            schema: plain(schema),
          })),
          ...Object.entries(about.headers ?? {}).map(([name, description]) => ({
            name,
            in: 'header',
            description,
            schema: { type: 'string' },
          })),
        ],
        responses: {
          200: {
            description: 'The answer.',
            content: { [about.answer.type]: about.answer.schema ? { schema: plain(about.answer.schema) } : {} },
          },
          ...Object.fromEntries(Object.entries(faults).map(([code, text]) => fault(code, text))),
        },
        ...(spec.policy === 'open' ? { security: [] } : {}),
      },
    };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Omnivisor audit API',
      version: '1.0',
      description:
        'Reads the event log. Needs a token with the role `auditor` on a project, for what is the matter of this project; `auditor` on the system, or `admin`, for everything.',
    },
    servers: [{ url: '/audit' }],
    security: [{ token: [] }],
    paths,
    components: {
      securitySchemes: { token: { type: 'apiKey', in: 'header', name: 'X-Auth-Token' } },
      responses: {
        Fault: {
          description: 'It was refused.',
          content: {
            [JSON_TYPE]: {
              schema: plain(
                z.object({ error: z.object({ code: z.number().int(), message: z.string(), title: z.string() }) }),
              ),
            },
          },
        },
      },
    },
  };
};
