import { version as microversion, rank } from '../microversion.js';
import type { ServiceType } from '../operation.js';
import { explanationOf, type FaultRenderer, json, titleOf } from './fault.js';

const COMPUTE_NAMES: Readonly<Record<number, string>> = {
  400: 'badRequest',
  401: 'unauthorized',
  403: 'forbidden',
  404: 'itemNotFound',
  405: 'badMethod',
  409: 'conflictingRequest',
  413: 'overLimit',
  415: 'badMediaType',
  429: 'overLimit',
  501: 'notImplemented',
  503: 'serviceUnavailable',
};

const compute: FaultRenderer = (fault) => ({
  contentType: 'application/json; charset=UTF-8',
  text: JSON.stringify({
    [COMPUTE_NAMES[fault.status] ?? 'computeFault']: {
      code: fault.status,
      message: fault.message,
      ...(fault.retryAfter !== undefined && (fault.status === 413 || fault.status === 429)
        ? { retryAfter: String(fault.retryAfter) }
        : {}),
    },
  }),
});

const identity: FaultRenderer = (fault) =>
  json({ error: { code: fault.status, message: fault.message, title: titleOf(fault.status) } });

const NETWORK_NAMES: Readonly<Record<number, string>> = {
  400: 'HTTPBadRequest',
  403: 'PolicyNotAuthorized',
  404: 'HTTPNotFound',
  405: 'HTTPMethodNotAllowed',
  409: 'Conflict',
  412: 'RevisionNumberConstraintFailed',
  413: 'HTTPRequestEntityTooLarge',
  415: 'HTTPUnsupportedMediaType',
  429: 'HTTPTooManyRequests',
  500: 'HTTPInternalServerError',
  501: 'HTTPNotImplemented',
  503: 'HTTPServiceUnavailable',
};

const network: FaultRenderer = (fault) =>
  json({
    NeutronError: {
      type: fault.name ?? NETWORK_NAMES[fault.status] ?? 'HTTPInternalServerError',
      message: fault.message,
      detail: typeof fault.detail === 'string' ? fault.detail : '',
    },
  });

const escapeHtml = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

/** Glance answers with what its WSGI toolkit makes of an error: HTML, or JSON or text when only that is accepted. */
const image: FaultRenderer = (fault, { accept }) => {
  const title = titleOf(fault.status);
  const status = `${fault.status} ${title}`;
  if (accept === '' || accept.includes('*/*') || accept.includes('text/html') || accept.includes('text/*'))
    return {
      contentType: 'text/html; charset=UTF-8',
      text: `<html>\n <head>\n  <title>${status}</title>\n </head>\n <body>\n  <h1>${status}</h1>\n  ${escapeHtml(fault.message)}<br /><br />\n\n\n </body>\n</html>`,
    };
  if (accept.includes('application/json') || accept.includes('application/*'))
    return json({ message: `${fault.message}<br /><br />\n\n\n`, code: status, title });
  return { contentType: 'text/plain; charset=UTF-8', text: `${status}\n\n${fault.message}\n\n\n\n\n` };
};

const WITH_CODES = rank(microversion('1.23'));

const placement: FaultRenderer = (fault, { requestId, version }) =>
  json({
    errors: [
      {
        status: fault.status,
        title: titleOf(fault.status),
        detail: `${explanationOf(fault.status)}\n\n ${fault.message}  `,
        request_id: requestId,
        ...(version && rank(version) >= WITH_CODES ? { code: fault.code ?? 'placement.undefined_code' } : {}),
        ...(fault.status === 406 ? { max_version: '1.39', min_version: '1.0' } : {}),
      },
    ],
  });

export const renderers: Readonly<Record<ServiceType, FaultRenderer>> = {
  compute,
  identity,
  network,
  image,
  placement,
  volume: compute,
  audit: identity,
};
