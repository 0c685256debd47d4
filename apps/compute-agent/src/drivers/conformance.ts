import { randomUUID } from 'node:crypto';
import { ms, ServerId } from '@omnivisor/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type FoundGuest,
  type GuestSpec,
  type HypervisorDriver,
  HypervisorError,
  type HypervisorErrorCode,
} from './hypervisor-driver.js';

/** A backend under test, and what the suite has to do behind the driver's back. A hook that is absent skips its test. */
export interface DriverUnderTest {
  readonly name: string;
  /** Optional members that have to be there; the others have to be absent. */
  readonly supports: readonly ('pausing' | 'consoleLog' | 'consoles')[];
  /** The driver under test; the suite closes it. */
  open(): Promise<HypervisorDriver>;
  /** A second driver over the same host, as a restarted agent makes it. */
  reopen(): Promise<HypervisorDriver>;
  close(driver: HypervisorDriver): Promise<void>;
  /** A small guest of this server that the host can carry; it reacts to the power button when the backend's test guest can. */
  guest(id: ServerId): Promise<GuestSpec>;
  /** The same, but more than the host has. */
  tooBig(id: ServerId): Promise<GuestSpec>;
  /** Makes the next spawn of this guest fail halfway. */
  failing(id: ServerId): Promise<GuestSpec>;
  /** What of the server is on the host, natively: files, processes, objects. Empty when nothing is. */
  leftovers(id: ServerId): Promise<string[]>;
  /** The guest switches itself off. */
  readonly shutDownFromInside?: (id: ServerId) => Promise<void>;
  /** The guest ignores the power button from now on. */
  readonly ignorePowerButton?: (id: ServerId) => Promise<void>;
  /** Makes a guest without our mark; tells whether it is still as it was. */
  readonly foreignGuest?: () => Promise<{ untouched(): Promise<boolean>; remove(): Promise<void> }>;
  /** The backend stops answering for this guest until the result is called. */
  readonly makeUnreachable?: (id: ServerId) => Promise<() => Promise<void>>;
  /** Resolves when the guest has come so far that it sees its power button; at once where that takes no time. */
  readonly ready?: (id: ServerId) => Promise<void>;
  /** Something the guest writes to its serial port when it starts. */
  readonly firstConsoleText?: RegExp;
  /** How long a guest of the test may take for anything; 10 s unless told. */
  readonly patience?: number;
}

const newId = (): ServerId => ServerId.parse(randomUUID());

const refusal = async (call: Promise<unknown>): Promise<HypervisorErrorCode> => {
  const error = await call.then(
    () => expect.fail('the call was not refused'),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(HypervisorError);
  expect((error as HypervisorError).message).not.toBe('');
  return (error as HypervisorError).code;
};

/** What every hypervisor driver promises, as one suite over any of them. */
export const describeHypervisorDriver = (under: DriverUnderTest): void => {
  const patience = under.patience ?? 10_000;
  const slow = { timeout: patience * 3 };

  describe(`hypervisor driver: ${under.name}`, () => {
    let driver: HypervisorDriver;
    const made = new Set<ServerId>();
    const never = new AbortController().signal;

    beforeAll(async () => {
      driver = await under.open();
    }, slow.timeout);

    afterAll(async () => {
      for (const id of made) await driver.destroy(id);
      await under.close(driver);
    }, slow.timeout);

    const running = async (): Promise<GuestSpec> => {
      const spec = await under.guest(newId());
      made.add(spec.mark.serverId);
      await driver.spawn(spec, never);
      return spec;
    };
    const discard = async (id: ServerId) => {
      await driver.destroy(id);
      made.delete(id);
    };
    const find = async (id: ServerId, at = driver): Promise<FoundGuest | undefined> =>
      (await at.list()).find((guest) => guest.mark.serverId === id);
    const power = async (id: ServerId) => (await driver.inspect(id)).power;
    const reaches = (id: ServerId, state: string) =>
      expect.poll(() => power(id), { timeout: patience, interval: 20 }).toBe(state);
    const leavesNothing = async (id: ServerId) => {
      expect(await under.leftovers(id)).toEqual([]);
      expect(await find(id)).toBeUndefined();
      expect(await refusal(driver.inspect(id))).toBe('serverNotOnHost');
    };

    describe('what it says of itself', () => {
      it('probes healthy, with a reason and a version', slow, async () => {
        const report = await driver.probe(never);
        expect(report).toMatchObject({ health: 'healthy' });
        expect(report.reason).not.toBe('');
        expect(report.version).toMatch(/\d/);
        for (const trait of report.traits) expect(trait).toMatch(/^[A-Z0-9_]{1,255}$/);
      });

      it('counts what the host has', async () => {
        const { vcpus, memoryMib, diskGib } = await driver.inventory();
        for (const amount of [vcpus, memoryMib, diskGib]) expect(Number.isInteger(amount) && amount > 0).toBe(true);
      });

      it('has an optional member exactly when it supports it', () => {
        for (const member of ['pausing', 'consoleLog', 'consoles'] as const)
          expect([member, driver[member] !== undefined]).toEqual([member, under.supports.includes(member)]);
      });
    });

    describe('spawning', () => {
      it('leaves the guest running, with its mark and size', slow, async () => {
        const spec = await running();
        const expected = { mark: spec.mark, power: 'running', memory: spec.flavor.memory, vcpus: spec.flavor.vcpus };
        expect(await driver.inspect(spec.mark.serverId)).toMatchObject(expected);
        expect(await find(spec.mark.serverId)).toMatchObject(expected);
        await discard(spec.mark.serverId);
      });

      it('makes one guest when asked twice, also at once', slow, async () => {
        const spec = await under.guest(newId());
        made.add(spec.mark.serverId);
        await Promise.all([driver.spawn(spec, never), driver.spawn(spec, never)]);
        await driver.spawn(spec, never);
        expect((await driver.list()).filter((guest) => guest.mark.serverId === spec.mark.serverId)).toHaveLength(1);
        await discard(spec.mark.serverId);
      });

      it('refuses another attempt beside the one that is there', slow, async () => {
        const spec = await running();
        const next = { ...spec, mark: { ...spec.mark, attempt: spec.mark.attempt + 1 } };
        expect(await refusal(driver.spawn(next, never))).toBe('fault');
        expect((await driver.inspect(spec.mark.serverId)).mark).toEqual(spec.mark);
        await discard(spec.mark.serverId);
      });

      it('leaves nothing when it fails', slow, async () => {
        const spec = await under.failing(newId());
        await refusal(driver.spawn(spec, never));
        await leavesNothing(spec.mark.serverId);
      });

      it('leaves nothing when it is aborted', slow, async () => {
        for (const abortAfter of [null, 0, 1, 30]) {
          const spec = await under.guest(newId());
          made.add(spec.mark.serverId);
          const abort = new AbortController();
          if (abortAfter === null) abort.abort();
          const spawned = driver.spawn(spec, abort.signal).then(
            () => 'spawned',
            () => 'aborted',
          );
          if (abortAfter !== null) setTimeout(() => abort.abort(), abortAfter);
          // An abort that comes after the last step comes too late, and the guest is whole.
          if ((await spawned) === 'aborted') await leavesNothing(spec.mark.serverId);
          else expect(abortAfter).not.toBeNull();
          await discard(spec.mark.serverId);
        }
      });

      it('refuses what the host cannot carry, and leaves nothing', slow, async () => {
        const spec = await under.tooBig(newId());
        expect(await refusal(driver.spawn(spec, never))).toBe('noResources');
        await leavesNothing(spec.mark.serverId);
      });
    });

    describe('a server that is not there', () => {
      it('is refused by everything but destroy', async () => {
        const id = newId();
        const calls = [
          () => driver.inspect(id),
          () => driver.powerOn(id, []),
          () => driver.powerOff(id, ms(0)),
          () => driver.reboot(id, 'hard', []),
          ...(driver.pausing ? [() => driver.pausing!.pause(id), () => driver.pausing!.unpause(id)] : []),
          ...(driver.consoleLog ? [() => driver.consoleLog!.tail(id, 100)] : []),
          ...(driver.consoles ? [() => driver.consoles!.open(id, 'serial')] : []),
        ];
        for (const call of calls) expect(await refusal(call())).toBe('serverNotOnHost');
        await driver.destroy(id);
      });

      it.runIf(under.foreignGuest)('may be a guest of somebody else: never listed, never touched', slow, async () => {
        const before = await driver.list();
        const foreign = await under.foreignGuest!();
        expect(await driver.list()).toEqual(before);
        for (const guest of before) await driver.inspect(guest.mark.serverId);
        expect(await foreign.untouched()).toBe(true);
        await foreign.remove();
      });
    });

    describe('power', () => {
      it('goes off by the guest when it reacts in time, and twice is once', slow, async () => {
        const { mark } = await running();
        await under.ready?.(mark.serverId);
        const asked = performance.now();
        await driver.powerOff(mark.serverId, ms(patience));
        expect(performance.now() - asked).toBeLessThan(patience);
        expect(await power(mark.serverId)).toBe('shutdown');
        await driver.powerOff(mark.serverId, ms(patience));
        expect(await power(mark.serverId)).toBe('shutdown');
        await discard(mark.serverId);
      });

      it('goes off at once without grace', slow, async () => {
        const { mark } = await running();
        await driver.powerOff(mark.serverId, ms(0));
        expect(await power(mark.serverId)).toBe('shutdown');
        await discard(mark.serverId);
      });

      it.runIf(under.ignorePowerButton)('is cut when the guest lets the grace pass', slow, async () => {
        const { mark } = await running();
        await under.ignorePowerButton!(mark.serverId);
        await driver.powerOff(mark.serverId, ms(200));
        expect(await power(mark.serverId)).toBe('shutdown');
        await discard(mark.serverId);
      });

      it.runIf(under.ignorePowerButton)('is not cut when the wait for the guest is given up', slow, async () => {
        const { mark, nics } = await running();
        await under.ignorePowerButton!(mark.serverId);
        for (const call of [
          (signal: AbortSignal) => driver.powerOff(mark.serverId, ms(patience * 3), signal),
          (signal: AbortSignal) => driver.reboot(mark.serverId, 'soft', nics, signal),
        ]) {
          const abort = new AbortController();
          const refused = refusal(call(abort.signal));
          setTimeout(() => abort.abort(), 50);
          expect(await refused).toBe('fault');
          expect(await refusal(call(abort.signal))).toBe('fault');
          expect(await power(mark.serverId)).toBe('running');
        }
        await discard(mark.serverId);
      });

      it('comes back on, and twice is once', slow, async () => {
        const spec = await running();
        const id = spec.mark.serverId;
        await driver.powerOff(id, ms(0));
        await driver.powerOn(id, spec.nics);
        await driver.powerOn(id, spec.nics);
        expect(await driver.inspect(id)).toMatchObject({
          power: 'running',
          mark: spec.mark,
          memory: spec.flavor.memory,
        });
        await discard(id);
      });

      it('is running after a reboot, hard or soft, also when it was off', slow, async () => {
        const spec = await running();
        const id = spec.mark.serverId;
        for (const kind of ['hard', 'soft'] as const) {
          await under.ready?.(id);
          await driver.reboot(id, kind, spec.nics);
          await reaches(id, 'running');
        }
        await driver.powerOff(id, ms(0));
        await driver.reboot(id, 'hard', spec.nics);
        await reaches(id, 'running');
        await discard(id);
      });

      it.runIf(under.supports.includes('pausing'))('pauses and goes on, and twice is once', slow, async () => {
        const { mark } = await running();
        const { pause, unpause } = driver.pausing!;
        for (let i = 0; i < 2; i++) await pause(mark.serverId);
        expect(await power(mark.serverId)).toBe('paused');
        for (let i = 0; i < 2; i++) await unpause(mark.serverId);
        expect(await power(mark.serverId)).toBe('running');
        await driver.powerOff(mark.serverId, ms(0));
        expect(await refusal(pause(mark.serverId))).toBe('fault');
        await discard(mark.serverId);
      });

      it('goes off from paused too', slow, async () => {
        const { mark } = await running();
        await driver.pausing?.pause(mark.serverId);
        await driver.powerOff(mark.serverId, ms(200));
        expect(await power(mark.serverId)).toBe('shutdown');
        await discard(mark.serverId);
      });

      it('takes two calls for one server in turn', slow, async () => {
        const spec = await running();
        const id = spec.mark.serverId;
        await Promise.all([driver.powerOff(id, ms(0)), driver.powerOn(id, spec.nics)]);
        expect(await power(id)).toBe('running');
        await Promise.all([driver.reboot(id, 'hard', spec.nics), driver.powerOff(id, ms(0))]);
        expect(await power(id)).toBe('shutdown');
        await Promise.all([driver.destroy(id), driver.destroy(id)]);
        await leavesNothing(id);
      });
    });

    describe('consoles', () => {
      it.runIf(under.firstConsoleText)('keep what the guest wrote', slow, async () => {
        const { mark } = await running();
        const tail = async (bytes: number) => (await driver.consoleLog!.tail(mark.serverId, bytes)).toString('latin1');
        await expect.poll(() => tail(65_536), { timeout: patience, interval: 20 }).toMatch(under.firstConsoleText!);
        const whole = await tail(65_536);
        expect(await tail(5)).toBe(whole.slice(-5));
        await discard(mark.serverId);
      });

      it.runIf(under.supports.includes('consoles'))('open to a stream that can be closed', slow, async () => {
        const { mark } = await running();
        const stream = await driver.consoles!.open(mark.serverId, 'serial');
        const closed = new Promise((resolve) => stream.readable.once('close', resolve));
        stream.readable.resume();
        stream.close();
        await closed;
        expect(await power(mark.serverId)).toBe('running');
        await discard(mark.serverId);
      });
    });

    describe('destroying', () => {
      it('leaves nothing, and twice is once', slow, async () => {
        const { mark } = await running();
        await driver.destroy(mark.serverId);
        await driver.destroy(mark.serverId);
        await leavesNothing(mark.serverId);
        made.delete(mark.serverId);
      });

      it('takes a guest that is off', slow, async () => {
        const { mark } = await running();
        await driver.powerOff(mark.serverId, ms(0));
        await discard(mark.serverId);
        await leavesNothing(mark.serverId);
      });
    });

    describe('after the agent has started anew', () => {
      it('finds its guests, running and off, and goes on with them', slow, async () => {
        const on = await running();
        const off = await running();
        await driver.powerOff(off.mark.serverId, ms(0));
        await under.close(driver);
        driver = await under.reopen();
        expect(await find(on.mark.serverId)).toMatchObject({ power: 'running', mark: on.mark });
        expect(await find(off.mark.serverId)).toMatchObject({ power: 'shutdown', mark: off.mark });
        await driver.spawn(on, never);
        await driver.powerOn(off.mark.serverId, off.nics);
        expect(await power(off.mark.serverId)).toBe('running');
        for (const spec of [on, off]) await discard(spec.mark.serverId);
      });

      it.runIf(under.shutDownFromInside)('sees what happened meanwhile', slow, async () => {
        const { mark } = await running();
        await under.close(driver);
        await under.shutDownFromInside!(mark.serverId);
        driver = await under.reopen();
        await reaches(mark.serverId, 'shutdown');
        await discard(mark.serverId);
      });
    });

    it.runIf(under.shutDownFromInside)('tells when a guest switches itself off', slow, async () => {
      const { mark } = await running();
      const done = new AbortController();
      const seen: ServerId[] = [];
      const events = driver.events(done.signal);
      const reading = (async () => {
        for await (const event of events) seen.push(event.serverId);
      })();
      await under.shutDownFromInside!(mark.serverId);
      await expect.poll(() => seen, { timeout: patience, interval: 20 }).toContain(mark.serverId);
      await reaches(mark.serverId, 'shutdown');
      done.abort();
      await reading;
      await discard(mark.serverId);
    });

    it.runIf(under.makeUnreachable)(
      'says `unavailable` while the backend does not answer, and recovers',
      slow,
      async () => {
        const { mark } = await running();
        const recover = await under.makeUnreachable!(mark.serverId);
        expect(await refusal(driver.inspect(mark.serverId))).toBe('unavailable');
        await recover();
        await reaches(mark.serverId, 'running');
        await discard(mark.serverId);
      },
    );
  });
};
