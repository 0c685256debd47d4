import pg from 'pg';
import { describe, expect, it } from 'vitest';
import { isRefusal } from './link.js';

const error = (code: string) => Object.assign(new pg.DatabaseError('said', 4, 'error'), { code });

describe('an error of the database', () => {
  it.each(['23505', '42P01', '22P02', '40001'])('%s is its refusal', (code) =>
    expect(isRefusal(error(code))).toBe(true),
  );
  it.each(['08006', '53100', '53200', '53300', '57P01', '57P03', '58030', '25006'])(
    '%s says that it cannot work now: callers may try again',
    (code) => expect(isRefusal(error(code))).toBe(false),
  );
  it('is none when the connection broke', () => expect(isRefusal(new Error('read ECONNRESET'))).toBe(false));
});
