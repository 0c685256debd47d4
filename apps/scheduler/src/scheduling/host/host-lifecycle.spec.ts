import type { HostEvent, HostFacts } from '@omnivisor/contracts';
import { describe, expect, it } from 'vitest';
import { facts } from '../../testing/simulation.js';
import { type HostCommand, hostAggregate } from './host-lifecycle.js';

const hostId = 'h' as never;
const enrolled: HostEvent = {
  type: 'HostEnrolled',
  data: { hostId, name: 'a', availabilityZone: 'nova', publicKey: 'U1', providerId: 'h' as never },
};
const session = (n: number): HostEvent => ({
  type: 'HostSessionStarted',
  data: { hostId, session: n, facts: facts('a') },
});
const down: HostEvent = { type: 'HostWentDown', data: { hostId, session: 1, missedBeats: 3 } };
const retired: HostEvent = { type: 'HostRetired', data: { hostId } };
const given = (...events: HostEvent[]) => ({
  when: (command: HostCommand) =>
    hostAggregate.decide(command, events.reduce(hostAggregate.evolve, hostAggregate.initial)),
});
const types = (events: HostEvent[]) => events.map((e) => e.type);
const guest = (serverId: string, attempt = 1) => ({ serverId: serverId as never, attempt, reason: 'no tombstone' });

describe('a host', () => {
  it('is enrolled once, with one key', () => {
    const command = { type: 'enroll' as const, ...enrolled.data } as HostCommand;
    expect(given().when(command)).toEqual([enrolled]);
    expect(given(enrolled).when(command)).toEqual([]);
    expect(() => given(enrolled).when({ ...command, publicKey: 'U2' } as HostCommand)).toThrow('another key');
  });
  it('starts the next session at each hello', () => {
    const hello = { type: 'hello', hostId, facts: facts('a') } as const;
    expect(given(enrolled, session(1)).when(hello)).toMatchObject([{ data: { session: 2 } }]);
    expect(given(enrolled, session(1)).when({ ...hello, after: 1 })).toMatchObject([{ data: { session: 2 } }]);
    expect(() => given(enrolled, session(1), session(2)).when({ ...hello, after: 1 })).toThrow('another session');
    expect(() => given().when(hello)).toThrow('not enrolled');
    expect(() => given(enrolled, retired).when(hello)).toThrow('retired');
  });
  it('goes down for its own session only, and once', () => {
    const command = { type: 'down', hostId, session: 1, missedBeats: 3 } as const;
    expect(types(given(enrolled, session(1)).when(command))).toEqual(['HostWentDown']);
    expect(given(enrolled, session(1), session(2)).when(command)).toEqual([]);
    expect(given(enrolled, session(1), down).when(command)).toEqual([]);
  });
  it('is neither fenced nor retired while it is up', () => {
    const fence = { type: 'fence', hostId, reason: 'x' } as const;
    expect(() => given(enrolled, session(1)).when(fence)).toThrow('is up');
    expect(types(given(enrolled, session(1), down).when(fence))).toEqual(['HostFenced']);
    expect(() => given(enrolled, session(1)).when({ type: 'retire', hostId })).toThrow('is up');
    expect(given(enrolled, retired).when({ type: 'retire', hostId })).toEqual([]);
  });
  it('that is fenced or retired is not emptied any more', () => {
    const asked: HostEvent = { type: 'HostMaintenanceRequested', data: { hostId, generation: 2, reason: null } };
    const entered: HostEvent = { type: 'HostMaintenanceEntered', data: { hostId, generation: 2 } };
    for (const [command, type, reason] of [
      [{ type: 'fence', hostId, reason: 'x' }, 'HostFenced', 'the host was fenced'],
      [{ type: 'retire', hostId }, 'HostRetired', 'the host was retired'],
    ] as const) {
      expect(given(enrolled, session(1), asked, down).when(command)).toMatchObject([
        { type: 'HostMaintenanceFailed', data: { generation: 2, reason } },
        { type },
      ]);
      expect(types(given(enrolled, session(1), asked, entered, down).when(command))).toEqual([type]);
    }
  });
  it('does not come up by the beat of a fenced session', () => {
    const fenced: HostEvent = { type: 'HostFenced', data: { hostId, reason: 'x' } };
    expect(given(enrolled, session(1), down, fenced).when({ type: 'up', hostId, session: 1 })).toEqual([]);
  });
  it('tells how its hypervisors are, each change once', () => {
    const ill = [{ backend: 'fake' as const, health: 'unhealthy' as const, reason: 'dead', version: null }];
    const told: HostEvent = { type: 'HostProbed', data: { hostId, probes: ill } };
    const probed = (of: number) => ({ type: 'probed' as const, hostId, session: of, probes: ill });
    expect(given(enrolled, session(1)).when(probed(1))).toEqual([told]);
    expect(given(enrolled, session(1), told).when(probed(1))).toEqual([]);
    expect(() => given(enrolled, session(1), session(2)).when(probed(1))).toThrow('session');
    // An agent that has found no hypervisor speaks for a host that nobody drives.
    expect(given(enrolled).when(probed(0))).toEqual([told]);
    expect(given(enrolled, session(1), down).when(probed(0))).toEqual([told]);
    expect(() => given(enrolled, session(1)).when(probed(0))).toThrow('session');
  });
  it('tells what it has when that has changed, and not when it comes again', () => {
    const well = [{ backend: 'fake' as const, health: 'healthy' as const, reason: 'ran', version: null }];
    const probed = (change: Partial<HostFacts>) =>
      ({ type: 'probed', hostId, session: 1, probes: [], facts: { ...facts('a', change), probes: well } }) as const;
    const [grown] = given(enrolled, session(1)).when(probed({ diskGib: 200 }));
    expect(grown).toMatchObject({ type: 'HostProbed', data: { facts: { diskGib: 200 } } });
    const cpuInfo = { model: 'm', arch: 'x86_64' };
    const [turned] = given(enrolled, session(1), grown!).when(probed({ cpuInfo, diskGib: 200 }));
    const again = probed({ diskGib: 200, cpuInfo: { arch: 'x86_64', model: 'm' } });
    expect(given(enrolled, session(1), grown!, turned!).when(again)).toEqual([]);
    expect(given(enrolled, session(1)).when(probed({}))).toEqual([]);
  });

  it('reports quarantined guests as they come and go', () => {
    const report = (...guests: ReturnType<typeof guest>[]) =>
      ({ type: 'reportQuarantine', hostId, session: 1, guests }) as const;
    const found: HostEvent = { type: 'HostQuarantineReported', data: { hostId, ...guest('s1') } };
    expect(given(enrolled, session(1)).when(report(guest('s1')))).toEqual([found]);
    expect(given(enrolled, session(1), found).when(report(guest('s1')))).toEqual([]);
    expect(types(given(enrolled, session(1), found).when(report(guest('s2'))))).toEqual([
      'HostQuarantineReported',
      'HostQuarantineCleared',
    ]);
    expect(() => given(enrolled, session(2)).when(report())).toThrow('session');
  });
  it('has a verdict only for a guest that is there', () => {
    const settle = { type: 'settleQuarantine', hostId, serverId: 's1' as never, verdict: 'discard' } as const;
    const found: HostEvent = { type: 'HostQuarantineReported', data: { hostId, ...guest('s1') } };
    expect(types(given(enrolled, session(1), found).when(settle))).toEqual(['HostQuarantineSettled']);
    expect(() => given(enrolled).when(settle)).toThrow('quarantine');
    const { attempt } = guest('s1');
    expect(types(given(enrolled, session(1), found).when({ ...settle, attempt }))).toEqual(['HostQuarantineSettled']);
    expect(() => given(enrolled, session(1), found).when({ ...settle, attempt: attempt + 1 })).toThrow(
      `of attempt ${attempt}`,
    );
  });
});
