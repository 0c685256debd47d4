import { randomUUID } from 'node:crypto';
import { RequestId } from '@omnivisor/contracts';

export const newRequestId = (): RequestId => `req-${randomUUID()}` as RequestId;

/** The id a caller gave to the whole of what it does; undefined when there is none, or none that is valid. */
export const globalRequestId = (header: string | string[] | undefined): RequestId | undefined => {
  if (typeof header !== 'string') return undefined;
  const parsed = RequestId.safeParse(header);
  return parsed.success ? parsed.data : undefined;
};
