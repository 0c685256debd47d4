import { mortalAgent } from '../../conformance/mortal-agent.js';
import { QemuDriver, type QemuDriverOptions } from '../qemu.driver.js';
import { TinyGuests } from './tiny-guests.js';

void mortalAgent((options: QemuDriverOptions) => {
  const tiny = new TinyGuests([options.stateDir]);
  return { driver: new QemuDriver(options), spec: (id) => tiny.spec(id) };
});
