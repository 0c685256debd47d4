import { spawn } from 'node:child_process';
import { expect, it, vi } from 'vitest';
import { Guests } from './guests.js';
import { Host, type HostShell } from './host-shell.js';
import { watchGuests } from './watch.js';

it('listens again to a store whose watch cannot be started, and ends when it is told to', async () => {
  const asked: string[] = [];
  const shell: HostShell = {
    isRemote: true,
    start: (script) => {
      asked.push(script);
      return spawn('/nowhere/to/be/found', [], { stdio: ['pipe', 'pipe', 'pipe'] });
    },
    close: () => {},
  };
  const closing = new AbortController();
  const watch = watchGuests(new Guests(new Host(shell), '/x', 'cloud'), () => undefined, closing.signal);
  const watches = () => asked.filter((script) => script.includes('xenstore-watch'));
  await vi.waitFor(() => expect(watches()).toHaveLength(2), { timeout: 4_000 });
  closing.abort();
  await watch;
});
