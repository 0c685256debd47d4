import { operationsOf } from '@omnivisor/openstack';
import { z } from 'zod';
import { AdoptionController } from './adoption.controller.js';
import { AdoptedView, AdoptionBody, GuestsView } from './adoption.schema.js';

/** Bodies and answers by name of the operation. */
const described: Readonly<Record<string, { readonly body?: z.ZodType; readonly answer?: z.ZodType }>> = {
  list: { answer: GuestsView },
  adopt: { body: AdoptionBody, answer: AdoptedView },
  release: {},
};

const faults = {
  400: 'What was asked for does not fit the guest, or is wrong.',
  401: 'There is no valid token.',
  403: 'The caller is no administrator, or the quota of the project is used up.',
  404: 'There is no such host, guest or server.',
  409: 'The server was not adopted, or is in the middle of something.',
  501: 'The hypervisor of the host cannot adopt guests.',
  503: 'The host does not answer now; try again.',
};

const plain = (schema: z.ZodType): object => {
  const { $schema: _, ...json } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any', reused: 'inline' });
  return json;
};
const content = (schema: z.ZodType) => ({ 'application/json': { schema: plain(schema) } });

/** What administrators do with guests that are there already, as OpenAPI 3.1, made of the operations that are served. */
export const openApi = () => {
  const paths: Record<string, Record<string, object>> = {};
  for (const { spec, method } of operationsOf(AdoptionController)) {
    const about = described[method];
    if (!about) throw new Error(`${method} of adoption is not described`);
    const path = spec.path.replace(/:(\w+)/g, '{$1}');
    paths[path] = {
      ...paths[path],
      [spec.method.toLowerCase()]: {
        operationId: method,
        summary: spec.summary,
        parameters: [{ name: 'id', in: 'path', required: true, schema: { type: 'string' } }],
        ...(about.body ? { requestBody: { required: true, content: content(about.body) } } : {}),
        responses: {
          [`${spec.status ?? 200}`]: {
            description: spec.status === 202 ? 'Accepted; the server tells what becomes of it.' : 'The answer.',
            ...(about.answer ? { content: content(about.answer) } : {}),
          },
          ...Object.fromEntries(Object.entries(faults).map(([code, description]) => [code, { description }])),
        },
      },
    };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Adoption of guests',
      version: '1.0',
      description:
        'An extension of the Compute API for administrators: guests that somebody else made become servers of a project without a restart, and are given back. Faults have the form of Compute.',
    },
    servers: [{ url: '/compute' }],
    security: [{ token: [] }],
    paths,
    components: { securitySchemes: { token: { type: 'apiKey', in: 'header', name: 'X-Auth-Token' } } },
  };
};
