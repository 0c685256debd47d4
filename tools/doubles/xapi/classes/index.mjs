import * as host from './host.mjs';
import * as pool from './pool.mjs';
import * as vbd from './vbd.mjs';
import * as vdi from './vdi.mjs';
import * as vif from './vif.mjs';
import * as vm from './vm.mjs';
import * as lifecycle from './vm-lifecycle.mjs';
import * as migrate from './vm-migrate.mjs';

/** What answers a call at once, by method. */
export const calls = {
  ...host.calls,
  ...migrate.calls,
  ...pool.calls,
  ...vbd.calls,
  ...vdi.calls,
  ...vif.calls,
  ...vm.calls,
};

/** What is work: it runs within a task. */
export const operations = {
  ...host.operations,
  ...lifecycle.operations,
  ...migrate.operations,
  ...vbd.operations,
  ...vdi.operations,
  ...vif.operations,
};
