import { EventEmitter } from 'node:events';
import { describe, expect, it, vi } from 'vitest';
import { Lifecycle } from './lifecycle.js';

const quiet = { info: () => {}, error: () => {}, fatal: () => {} };

describe('a service that is told to stop', () => {
  it('closes what it opened last first, although one fails', async () => {
    const signals = new EventEmitter();
    const exit = vi.fn();
    const closed: string[] = [];
    const lifecycle = new Lifecycle({ logger: quiet as never, signals, exit });
    lifecycle.onStop('store', () => closed.push('store'));
    lifecycle.onStop('bad', () => {
      throw new Error('stuck');
    });
    lifecycle.onStop('http', async () => closed.push('http'));
    signals.emit('SIGTERM');
    await vi.waitFor(() => expect(exit).toHaveBeenCalledWith(1));
    expect(closed).toEqual(['http', 'store']);
  });
  it('ends at once at the second signal', () => {
    const signals = new EventEmitter();
    const exit = vi.fn();
    new Lifecycle({ logger: quiet as never, signals, exit }).onStop('slow', () => new Promise(() => {}));
    signals.emit('SIGINT');
    signals.emit('SIGINT');
    expect(exit).toHaveBeenCalledWith(1);
  });
});
