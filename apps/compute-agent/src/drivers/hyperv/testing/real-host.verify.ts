import { afterAll, beforeAll, expect, it } from 'vitest';
import { record } from '../../../../../../tools/lab/record.mjs';
import { describeHypervisorDriver } from '../../conformance/index.js';
import { Images } from './double.js';
import { checkpointed, preparedOf, realHost, VerifySettings } from './real-host.js';

/** Run by tools/verify/hyperv.mjs, which has put what it was told into the environment. */
const {
  serve,
  record: file,
  ...settings
} = JSON.parse(process.env.OMNIVISOR_VERIFY!) as {
  serve: { address: string; port: number };
  record: string | null;
};
const images = new Images();
beforeAll(async () => {
  await images.open(serve.address, serve.port);
  return () => images.close();
});

const parsed = VerifySettings.parse(settings);
const source = (file: string, format: 'vhd' | 'vhdx') => images.source(file, format);
const prepared = await preparedOf(parsed);
const lines: (readonly [proof: string, behaviour: string, what: 'tried' | 'passed'])[] = [];
const suite = realHost(parsed, source, prepared, (...line) => lines.push(line));
describeHypervisorDriver(suite);
afterAll(() => {
  const { backend, level, command } = suite;
  if (file !== null) record(file, { backend, level, command: command!, over: prepared.version }, lines);
});

it('starts a guest with the disk that it has above a checkpoint of others', { timeout: 600_000 }, async () => {
  const { before, after } = await checkpointed(parsed, source);
  expect(before).toMatch(/\.avhdx?$/i);
  expect(after).toBe(before);
});
