import { unavailable } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { logger } from './logger.js';

const lines: string[] = [];
const log = logger('spec', 'info', { write: (line: string) => void lines.push(line) });
const last = () => JSON.parse(lines.at(-1)!);

describe('the logger', () => {
  it('prints an error with the chain of its causes', () => {
    log.error({ err: unavailable('no store', new Error('ECONNREFUSED')) }, 'append failed');
    expect(last()).toMatchObject({
      level: 'error',
      service: 'spec',
      msg: 'append failed',
      err: { kind: 'unavailable', message: 'no store', cause: { message: 'ECONNREFUSED' } },
    });
  });
  it('cuts out secrets by name, at any depth people use', () => {
    log.info({ password: 'p1', request: { headers: { 'x-auth-token': 'p2' }, body: { server: { adminPass: 'p3' } } } });
    expect(lines.at(-1)).not.toMatch(/p1|p2|p3/);
  });
});
