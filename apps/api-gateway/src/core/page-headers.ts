/**
 * Headers of a page that loads its own files and asks its own origin, nothing else.
 * @param framedBy sources of CSP's `frame-ancestors`: who may show it in a frame
 * @param more other directives of its Content-Security-Policy
 */
export const pageHeaders = (framedBy: readonly string[] = [], ...more: readonly string[]) => ({
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "form-action 'none'",
    "base-uri 'none'",
    `frame-ancestors ${framedBy.length > 0 ? framedBy.join(' ') : "'none'"}`,
    ...more,
  ].join('; '),
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-cache',
});
