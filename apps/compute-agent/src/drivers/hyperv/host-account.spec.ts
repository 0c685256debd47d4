import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ErrorRecord, fileInUse } from '../../../../../tools/doubles/hyperv/errors.mjs';
import { featuresOf } from '../hypervisor-driver.js';
import { Bench, migratesTo, never } from './testing/bench.js';

const ACCOUNT = { isHyperVAdministrator: true, asksWmi: true, opensPipes: true, readsDirectory: true };

const silentPort = () =>
  new ErrorRecord({
    id: 'PipeUnavailable,Omnivisor.Host',
    category: 'ResourceUnavailable',
    message: 'no answer',
  } as never);

let bench: Bench;
beforeEach(async () => {
  bench = await Bench.open();
});
afterEach(() => bench.close());

const probed = async (facts: object, node = {}) => {
  const host = await bench.host(facts);
  const driver = bench.driver(host, node);
  return { host, driver, report: await driver.probe(AbortSignal.timeout(5_000)) };
};

describe('an account that WMI tells nothing', () => {
  it('has guests, and does without what comes by it', async () => {
    const facts = { account: { ...ACCOUNT, asksWmi: false }, migration: migratesTo('HV2') };
    const { driver, report } = await probed(facts);
    expect(report).toMatchObject({
      health: 'healthy',
      reason: expect.stringMatching(/WMI of Hyper-V does not answer \(Access denied\)/),
    });
    expect([driver.guestIntegration, driver.liveMigration]).toEqual([undefined, undefined]);
    const spec = bench.guest();
    await driver.spawn(spec, never);
    const console = await driver.consoles!.open(spec.id, 'serial');
    console.writable.write('typed');
    await expect.poll(async () => (await driver.consoleLog!.tail(spec.id, 100)).toString()).toMatch(/is up\r\ntyped/);
    console.close();
    await driver.reboot(spec.id, 'soft', []);
    expect(await driver.inspect(spec.id)).toMatchObject({ power: 'running' });
  });

  it('has the rest again when it may ask', async () => {
    const { host, driver } = await probed({ account: { ...ACCOUNT, asksWmi: false }, migration: migratesTo('HV2') });
    host.facts.account = ACCOUNT;
    expect((await driver.probe(AbortSignal.timeout(5_000))).reason).not.toMatch(/WMI/);
    expect([driver.guestIntegration, driver.liveMigration]).not.toContain(undefined);
  });
});

describe('a serial port', () => {
  it('that the account may not open is not offered, nor the log of one; the console by RDP is', async () => {
    const { host, driver, report } = await probed({ account: { ...ACCOUNT, opensPipes: false } });
    expect(report).toMatchObject({
      health: 'healthy',
      reason: expect.stringMatching(/no serial console and no console log/),
    });
    const features = () => featuresOf(driver).filter((feature) => feature.startsWith('console'));
    expect(features()).toEqual(['consoleTickets.rdp']);
    expect([...host.vms.values()]).toEqual([]);
    host.facts.account = ACCOUNT;
    await driver.probe(AbortSignal.timeout(5_000));
    expect(features()).toEqual(expect.arrayContaining(['consoleLog', 'consoles.serial']));
  });

  it('that does not answer when it is tried leaves the others to be opened', async () => {
    const host = await bench.host({});
    host.failNext('Open-HostConsole', silentPort());
    const driver = bench.driver(host);
    expect(await driver.probe(AbortSignal.timeout(5_000))).toMatchObject({ health: 'healthy' });
    expect(driver.consoles).toBeDefined();
  });

  it('that the account may not open is told from one that does not answer', async () => {
    const { host, driver } = await probed({});
    host.facts.account = { ...ACCOUNT, opensPipes: false };
    const spec = bench.guest();
    await driver.spawn(spec, never);
    const opened = () => driver.consoles!.open(spec.id, 'serial');
    await expect(opened()).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('may not open serial ports'),
    });
    host.facts.account = ACCOUNT;
    host.failNext('Open-HostConsole', silentPort());
    await expect(opened()).rejects.toMatchObject({ code: 'unavailable' });
    (await opened()).close();
  });
});

describe('the service of Hyper-V', () => {
  it('hides no guest while it is stopped', async () => {
    const { host, driver } = await probed({});
    const spec = bench.guest();
    await driver.spawn(spec, never);
    host.facts.managementService = 'Stopped';
    for (const asked of [() => driver.inspect(spec.id), () => driver.list(), () => driver.destroy(spec.id)])
      await expect(asked()).rejects.toMatchObject({ code: 'unavailable' });
    host.facts.managementService = 'Running';
    expect(await driver.inspect(spec.id)).toMatchObject({ power: 'running' });
  });
});

describe('a host that speaks German', () => {
  it('has guests, and knows those that it does not have', async () => {
    const { driver, report } = await probed({ language: 'de' });
    expect(report.health).toBe('healthy');
    const spec = bench.guest();
    await driver.spawn(spec, never);
    expect(await driver.inspect(spec.id)).toMatchObject({ power: 'running' });
    await driver.destroy(spec.id);
    await expect(driver.inspect(spec.id)).rejects.toMatchObject({ code: 'serverNotOnHost' });
  });

  it('has files in use for a moment after their guest', async () => {
    const { host, driver } = await probed({ language: 'de' });
    const spec = bench.guest();
    await driver.spawn(spec, never);
    host.failNext('Remove-HostItem', fileInUse('root.vhdx'));
    await driver.destroy(spec.id);
    expect(await driver.list()).toEqual([]);
  });
});

describe('the delegation of a host', () => {
  const unread = { account: { ...ACCOUNT, readsDirectory: false }, migration: migratesTo('HV2') };

  it('that the directory does not tell is missed in words', async () => {
    const { driver, report } = await probed(unread);
    expect(report).toMatchObject({
      health: 'healthy',
      reason: expect.stringMatching(/could not be read.*DELEGATES_TO/),
    });
    expect(driver.liveMigration).toBeUndefined();
  });

  it('is what the operator says then', async () => {
    const domain = 'corp.example';
    const source = await probed({ name: 'HV1', domain, ...unread }, { delegatesTo: ['hv2.corp.example'] });
    const target = await probed({ name: 'HV2', domain, migration: migratesTo('HV1') });
    const spec = bench.guest();
    await source.driver.spawn(spec, never);
    const offer = await source.driver.liveMigration!.offer(spec.id);
    const ticket = await target.driver.liveMigration!.receive(spec, offer, { disks: 'auto', attached: [] }, never);
    await source.driver.liveMigration!.send(spec.id, ticket, { signal: never });
    await target.driver.liveMigration!.accept(spec.id);
    expect(await target.driver.inspect(spec.id)).toMatchObject({ power: 'running' });
  });
});
