import { hostBus, ms, type RecordedEvent } from '@omnivisor/contracts';
import { describe, expect, it, vi } from 'vitest';
import { memoryCore } from '../../core/gateway-core.fixtures.js';
import { HostWakes, type HostWakesPorts } from './host-wakes.js';

const setup = async (ports: Partial<HostWakesPorts>) => {
  const { core, world } = memoryCore([]);
  const heard: unknown[] = [];
  for (const host of ['a', 'b'])
    await world.bus.subscribe(hostBus.wakeSubject(host), (message) => heard.push([host, message]));
  let observer: (event: RecordedEvent) => void = () => {};
  core.observe = (given) => {
    observer = given;
  };
  const wakes = new HostWakes(
    core,
    {
      hostsTouchedBy: async () => [],
      regroupedBy: () => [],
      hostsThatTrust: async () => [],
      ...ports,
    },
    (where, error) => {
      throw new Error(where, { cause: error });
    },
  );
  wakes.start();
  let position = 0;
  const happened = (type: string, data: object = {}) => {
    position += 1;
    const stream = type.startsWith('Server') ? 'server-s' : 'port-p';
    observer({ type, data, stream, position } as unknown as RecordedEvent);
  };
  const after = async (duration: number) => {
    await world.clock.advance(ms(duration));
    return heard.splice(0);
  };
  return { happened, after, rows: core.readModel };
};

describe('wake-ups', () => {
  it('go to the host that an event names, and to those it touches, once', async () => {
    const { happened, after } = await setup({ hostsTouchedBy: async () => ['b', 'a'] });
    happened('ServerScheduled', { host: 'a' });
    expect(await after(0)).toEqual([
      ['b', { kind: 'desired' }],
      ['a', { kind: 'desired' }],
    ]);
  });

  it('go to the source of a server that has arrived elsewhere', async () => {
    const { happened, after, rows } = await setup({});
    const remains = [{ placement: { host: 'b' } }];
    vi.spyOn(rows, 'get').mockResolvedValue({ migration: {}, placement: { host: 'a' }, remains });
    happened('ServerMigrated', { host: 'a' });
    expect(await after(0)).toContainEqual(['b', { kind: 'desired' }]);
  });

  it('tell of many changes of groups at once, soon', async () => {
    const asked: unknown[] = [];
    const { happened, after } = await setup({
      regroupedBy: ({ position }) => [`g${position % 2}`],
      hostsThatTrust: async (_, groups) => {
        asked.push([...groups]);
        return ['a', 'b'];
      },
    });
    for (let n = 0; n < 10; n++) happened('PortCreated');
    expect(await after(50)).toEqual([]);
    expect(await after(100)).toEqual([
      ['a', { kind: 'desired' }],
      ['b', { kind: 'desired' }],
    ]);
    happened('PortDeleted');
    expect(await after(100)).toHaveLength(2);
    expect(asked).toEqual([['g1', 'g0'], ['g1']]);
  });

  it('leave out a host that was woken since', async () => {
    const { happened, after } = await setup({
      regroupedBy: ({ type }) => (type === 'PortCreated' ? ['g'] : []),
      hostsThatTrust: async () => ['a', 'b'],
    });
    happened('PortCreated');
    happened('ServerScheduled', { host: 'a' });
    expect(await after(0)).toEqual([['a', { kind: 'desired' }]]);
    expect(await after(100)).toEqual([['b', { kind: 'desired' }]]);
  });
});
