import { Reply } from '@omnivisor/openstack';

const escaped = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

/** An answer of Glance's WSGI toolkit for a status that no kind of domain error stands for. */
export const wsgiFault = (
  accept: string | undefined,
  status: number,
  title: string,
  message: string,
  headers: Record<string, string> = {},
): Reply => {
  const code = `${status} ${title}`;
  if (accept !== undefined && !/\*\/\*|text\//.test(accept) && accept.includes('json'))
    return new Reply({ message: `${message}<br /><br />\n\n\n`, code, title }, { status, headers });
  return new Reply(
    `<html>\n <head>\n  <title>${code}</title>\n </head>\n <body>\n  <h1>${code}</h1>\n  ${escaped(message)}<br /><br />\n\n\n </body>\n</html>`,
    { status, headers: { ...headers, 'content-type': 'text/html; charset=UTF-8' } },
  );
};
