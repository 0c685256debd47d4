import { unavailable } from '@omnivisor/contracts';
import type { Call } from '@omnivisor/openstack';
import { ComputeImages } from '../compute-ports.js';

const DEADLINE = 30_000;
const PATCH_TYPE = 'application/openstack-images-v2.1-json-patch';

/** Image by HTTP; the caller's token goes with each request, so Image decides what it may do. */
export class HttpImages extends ComputeImages {
  /** @param url root of the image service, without a trailing slash */
  constructor(private readonly url: string) {
    super();
  }

  async ask(call: Call, method: string, path: string, patch?: readonly object[]) {
    try {
      const answer = await fetch(`${this.url}/image${path}`, {
        method,
        headers: {
          accept: 'application/json',
          'x-auth-token': call.headers['x-auth-token'] ?? '',
          'x-openstack-request-id': call.requestId,
          'x-forwarded-for': call.address,
          ...(patch ? { 'content-type': PATCH_TYPE } : {}),
        },
        ...(patch ? { body: JSON.stringify(patch) } : {}),
        signal: AbortSignal.any([call.signal, AbortSignal.timeout(DEADLINE)]),
      });
      const text = await answer.text();
      if (answer.status >= 500) throw new Error(`Image answered ${answer.status}`);
      const json = answer.headers.get('content-type')?.startsWith('application/json') ?? false;
      return { status: answer.status, body: json && text !== '' ? (JSON.parse(text) as unknown) : undefined };
    } catch (cause) {
      throw unavailable('Image is currently unavailable. Please try again at a later time.', cause);
    }
  }
}
