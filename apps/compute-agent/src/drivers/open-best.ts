import { join } from 'node:path';
import { type Backend, ms, type ProbeResult, seconds } from '@omnivisor/contracts';
import { type Clock, SystemClock } from '@omnivisor/platform/ports';
import { z } from 'zod';
import type { AgentConfig } from '../config.js';
import { readJson, writeJson } from './common/atomic-file.js';
import { FakeDriver, FakeHypervisor } from './fake/index.js';
import { HyperVDriver } from './hyperv/hyperv.driver.js';
import { hypervOptions } from './hyperv/hyperv-config.js';
import type { HypervisorDriver, ProbeReport } from './hypervisor-driver.js';
import { QemuDriver, type QemuDriverOptions } from './qemu/qemu.driver.js';
import { VsphereDriver } from './vsphere/vsphere.driver.js';
import { vsphereOptions } from './vsphere/vsphere-config.js';
import { XenDriver } from './xen/xen.driver.js';
import { xenOptions } from './xen/xen-config.js';
import { XenServerDriver } from './xenserver/xenserver.driver.js';
import { xenserverOptions } from './xenserver/xenserver-config.js';

/** A probe that takes longer has not come back. */
const PROBE_LIMIT = seconds(30);

const makers: Partial<Record<Backend, (config: AgentConfig, clock: Clock) => HypervisorDriver>> = {
  qemu: (config) => new QemuDriver(qemuOptions(config)),
  xen: ({ OMNIVISOR_MIGRATION_ADDRESS: migrationAddress, OMNIVISOR_SHARED_DISKS: sharedDisks, ...config }) =>
    new XenDriver({
      ...xenOptions(config, config.OMNIVISOR_CLOUD_ID, config.OMNIVISOR_PATIENCE),
      ...(migrationAddress === undefined ? {} : { migrationAddress }),
      ...(sharedDisks === undefined ? {} : { sharedDisks }),
    }),
  xenserver: (config) =>
    new XenServerDriver(xenserverOptions(config, config.OMNIVISOR_CLOUD_ID, config.OMNIVISOR_STATE_DIR)),
  vsphere: (config) => new VsphereDriver(vsphereOptions(config, config.OMNIVISOR_CLOUD_ID, config.OMNIVISOR_STATE_DIR)),
  hyperv: (config) => new HyperVDriver(hypervOptions(config, config.OMNIVISOR_CLOUD_ID)),
  fake: (config, clock) =>
    new FakeDriver(
      new FakeHypervisor({
        clock,
        stateDir: join(config.OMNIVISOR_STATE_DIR, 'fake-guests'),
        inventory: {
          vcpus: config.OMNIVISOR_FAKE_VCPUS,
          memoryMib: config.OMNIVISOR_FAKE_MEMORY_MIB,
          diskGib: config.OMNIVISOR_FAKE_DISK_GIB,
        },
        delays: { spawn: ms(config.OMNIVISOR_FAKE_SPAWN_MS) },
      }),
      { cloudId: config.OMNIVISOR_CLOUD_ID },
    ),
};

const qemuOptions = ({
  OMNIVISOR_MIGRATION_ADDRESS: migrationAddress,
  OMNIVISOR_SHARED_DISKS: sharedDisks,
  OMNIVISOR_CPU_MODEL: cpuModels,
  OMNIVISOR_CPU_DEDICATED_SET: dedicated,
  OMNIVISOR_CPU_SHARED_SET: shared,
  ...config
}: AgentConfig): QemuDriverOptions => ({
  stateDir: config.OMNIVISOR_STATE_DIR,
  cloudId: config.OMNIVISOR_CLOUD_ID,
  ...(migrationAddress === undefined ? {} : { migrationAddress }),
  ...(sharedDisks === undefined ? {} : { sharedDisks }),
  ...(cpuModels === undefined ? {} : { cpuModels }),
  ...(dedicated || shared ? { cpus: { dedicated: dedicated ?? [], ...(shared ? { shared } : {}) } } : {}),
});

export interface OpenedDriver {
  readonly driver: HypervisorDriver;
  readonly report: ProbeReport;
  readonly probes: readonly ProbeResult[];
}

/** Of an earlier start, or of another release with backends of its own. */
const Kept = z.object({ backend: z.string() });
const keptIn = (config: AgentConfig): string => join(config.OMNIVISOR_STATE_DIR, 'backend.json');

/** What this host was taken up with before; null at its first start, and once operators name that no more. */
const keptBackend = (config: AgentConfig): Backend | null => {
  const kept = readJson(keptIn(config));
  if (kept === null) return null;
  const { backend } = Kept.parse(kept);
  return config.OMNIVISOR_BACKENDS.find((named) => named === backend) ?? null;
};

/** How good it is to be taken up, not at all with 0. A host that was taken up before goes on where its guests are. */
const rankOf = async (driver: HypervisorDriver, report: ProbeReport, isKept: boolean): Promise<number> => {
  if (report.health === 'healthy') return 2;
  if (report.inMaintenance) return 1;
  if (!isKept || report.health === 'undetected') return 0;
  return driver.check().then(
    () => 1,
    () => 0,
  );
};

/**
 * Probes what is configured, in its order, and opens the backend that the host was taken up with before, as long as it
 * answers: any other knows nothing of its guests. At the first start that is the first that is healthy, else the first
 * that is in maintenance, whose guests go on; one that was only second best, as the better ones were ill, is not kept to.
 * Null when there is none.
 */
export const openBest = async (
  config: AgentConfig,
  clock: Clock = new SystemClock(),
): Promise<OpenedDriver | { readonly driver: null; readonly probes: readonly ProbeResult[] }> => {
  const kept = keptBackend(config);
  const probes: ProbeResult[] = [];
  let best: { driver: HypervisorDriver; report: ProbeReport; rank: number } | null = null;
  for (const backend of config.OMNIVISOR_BACKENDS) {
    const make = makers[backend];
    if (!make) {
      probes.push({ backend, health: 'undetected', reason: 'this release has no driver for it', version: null });
      continue;
    }
    let driver: HypervisorDriver;
    try {
      driver = make(config, clock);
    } catch (error) {
      // Its configuration names a file that cannot be read, say; other backends are not to suffer.
      probes.push({ backend, health: 'unhealthy', reason: (error as Error).message, version: null });
      continue;
    }
    const report = await driver.probe(AbortSignal.timeout(Math.ceil(PROBE_LIMIT * config.OMNIVISOR_PATIENCE)));
    const rank = await rankOf(driver, report, backend === kept);
    const isOther = kept !== null && backend !== kept;
    const why =
      isOther && rank > 0 ? `; not taken up: this host is one of ${kept} while OMNIVISOR_BACKENDS names it` : '';
    probes.push({ backend, health: report.health, reason: `${report.reason}${why}`, version: report.version });
    if (!isOther && rank > (best?.rank ?? 0)) {
      await best?.driver.close();
      best = { driver, report, rank };
    } else await driver.close();
  }
  if (!best) return { driver: null, probes };
  const { driver, report } = best;
  const better = config.OMNIVISOR_BACKENDS.slice(0, config.OMNIVISOR_BACKENDS.indexOf(driver.backend));
  const isBest = probes.every(({ backend, health }) => health === 'undetected' || !better.includes(backend));
  if (isBest || kept !== null)
    writeJson(keptIn(config), { backend: driver.backend } satisfies z.output<typeof Kept>, true);
  return { driver, report, probes };
};
