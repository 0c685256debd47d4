import { beforeAll } from 'vitest';
import { describeHypervisorDriver } from '../../conformance/index.js';
import { Images } from './double.js';
import { migratesFrom, realHost, VerifySettings } from './real-host.js';

/** Run by tools/verify/hyperv.mjs, which has put what it was told into the environment. */
const { serve, ...settings } = JSON.parse(process.env.OMNIVISOR_VERIFY!) as {
  serve: { address: string; port: number };
};
const images = new Images();
beforeAll(async () => {
  await images.open(serve.address, serve.port);
  return () => images.close();
});

const parsed = VerifySettings.parse(settings);
const migrates = await migratesFrom(parsed);
describeHypervisorDriver(realHost(parsed, (file, format) => images.source(file, format), migrates));
