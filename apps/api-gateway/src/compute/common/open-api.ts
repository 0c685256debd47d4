import { operationsOf } from '@omnivisor/openstack';
import { z } from 'zod';

/** What an operation takes and gives, by its name. */
export type Described = Readonly<Record<string, { readonly body?: z.ZodType; readonly answer?: z.ZodType }>>;

const plain = (schema: z.ZodType): object => {
  const { $schema: _, ...json } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any', reused: 'inline' });
  return json;
};
const content = (schema: z.ZodType) => ({ 'application/json': { schema: plain(schema) } });

/** An extension of ours of the Compute API as OpenAPI 3.1, made of the operations that are served; each is about one `id`. */
export const openApiOf = (
  controller: Parameters<typeof operationsOf>[0],
  described: Described,
  faults: Readonly<Record<string, string>>,
  about: { readonly title: string; readonly description: string },
) => {
  const paths: Record<string, Record<string, object>> = {};
  for (const { spec, method } of operationsOf(controller)) {
    const { body, answer } = described[method] ?? {};
    if (!described[method]) throw new Error(`${method} of ${about.title} is not described`);
    const path = spec.path.replace(/:(\w+)/g, '{$1}');
    paths[path] = {
      ...paths[path],
      [spec.method.toLowerCase()]: {
        operationId: method,
        summary: spec.summary,
        parameters: [{ name: 'id', in: 'path', required: true, schema: { type: 'string' } }],
        ...(body ? { requestBody: { required: true, content: content(body) } } : {}),
        responses: {
          [`${spec.status ?? 200}`]: {
            description: spec.status === 202 ? 'Accepted; the server tells what becomes of it.' : 'The answer.',
            ...(answer ? { content: content(answer) } : {}),
          },
          ...Object.fromEntries(Object.entries(faults).map(([code, description]) => [code, { description }])),
        },
      },
    };
  }
  return {
    openapi: '3.1.0',
    info: { title: about.title, version: '1.0', description: about.description },
    servers: [{ url: '/compute' }],
    security: [{ token: [] }],
    paths,
    components: { securitySchemes: { token: { type: 'apiKey', in: 'header', name: 'X-Auth-Token' } } },
  };
};
