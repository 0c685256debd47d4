import { type IncomingMessage, request as plain } from 'node:http';
import { request as secure } from 'node:https';
import { pipeline } from 'node:stream/promises';
import { DomainError, type ErrorKind, unavailable } from '@omnivisor/contracts';

/** What the image service will say of these bytes at each try. */
const kinds: Readonly<Record<number, ErrorKind>> = { 404: 'notFound', 413: 'tooLarge', 415: 'unsupportedMedia' };

/** @see ImageCache.send */
export const sendImage = async (url: string, bytes: NodeJS.ReadableStream, signal: AbortSignal): Promise<void> => {
  const request = (url.startsWith('https:') ? secure : plain)(url, {
    method: 'PUT',
    headers: { 'content-type': 'application/octet-stream' },
    signal,
  });
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    request.once('response', resolve);
    request.once('error', reject);
  });
  try {
    // The service may answer before it has all; what goes wrong with the bytes is the request's error too.
    const [response] = await Promise.all([answered, pipeline(bytes, request).catch(() => answered)]);
    const { statusCode = 0 } = response.resume();
    if (statusCode >= 300)
      throw new DomainError(kinds[statusCode] ?? 'unavailable', `the image service answered ${statusCode}`);
  } catch (error) {
    if (error instanceof DomainError) throw error;
    signal.throwIfAborted();
    throw unavailable('the disk cannot be sent now', error);
  }
};
