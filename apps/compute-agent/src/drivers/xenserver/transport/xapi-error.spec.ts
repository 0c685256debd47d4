import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { fromXapi, knownCodes, XapiFault } from './xapi-error.js';

const table = JSON.parse(
  readFileSync(new URL('../../../../../../tools/doubles/xapi/generated/errors.json', import.meta.url), 'utf8'),
) as Record<string, string[]>;

it('knows no code that XAPI does not have', () => {
  expect(knownCodes().filter((code) => !(code.replace(/_\d+$/, '') in table))).toEqual([]);
});

it('says what a failure means, and keeps XAPI’s words for the log', () => {
  const meaning = (code: string, ...params: string[]) => fromXapi(new XapiFault(code, params), 'starting the guest');
  expect(meaning('NO_HOSTS_AVAILABLE')).toMatchObject({
    code: 'noResources',
    message: 'starting the guest was refused',
  });
  expect(meaning('HANDLE_INVALID', 'VM', 'OpaqueRef:1')).toMatchObject({ code: 'serverNotOnHost' });
  expect(meaning('HANDLE_INVALID', 'VDI', 'OpaqueRef:1')).toMatchObject({ code: 'fault' });
  expect(meaning('LICENCE_RESTRICTION', 'VIF_locking')).toMatchObject({
    code: 'unsupported',
    native: 'LICENCE_RESTRICTION(VIF_locking)',
  });
  expect(meaning('HOST_IS_SLAVE', '10.0.0.1').message).not.toContain('10.0.0.1');
  expect(fromXapi(new TypeError('x is undefined'), 'looking')).toMatchObject({ code: 'fault' });
});
