#!/usr/bin/env node
/**
 * node tools/generate/support-matrix.mjs [--check]
 *
 * Writes docs/support-matrix.md from the results of the conformance suite; --check only compares. Run it after a build.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { argumentsOf } from '../arguments.mjs';

const FILE = fileURLToPath(new URL('../../docs/support-matrix.md', import.meta.url));
const root = fileURLToPath(new URL('../../', import.meta.url));
const drivers = join(root, 'apps/compute-agent/src/drivers');

/** What every driver has to do, as the suite groups it; beside them stand the `features` of contracts. */
export const basics = {
  host: { title: 'Probe, health and inventory of the host', nova: [] },
  spawning: { title: 'Spawn', nova: ['operation.launch', 'storage.image'] },
  listing: { title: 'State of guests', nova: ['operation.get-guest-info'] },
  power: { title: 'Start, stop, reboot', nova: ['operation.reboot'] },
  destroying: { title: 'Destroy', nova: ['operation.terminate'] },
  configDrive: { title: 'Config drive', nova: ['guest.setup.configdrive'] },
  isolation: { title: 'Guests of others are left alone', nova: [] },
  events: { title: "A guest's own shutdown is seen", nova: [] },
  concurrency: { title: 'Calls at once, and a backend that is gone', nova: [] },
  recovery: { title: 'An agent that ends in the middle', nova: [] },
};

/** Rows of Nova's that single behaviours answer, of a proof that is about more. */
export const parts = {
  quiesce: {
    title: 'File systems frozen for a snapshot',
    of: 'snapshots',
    behaviours: ['are quiesced by the guest agent, and the guest thaws'],
    nova: ['operation.quiesce', 'operation.unquiesce'],
  },
};

const DRIVERS = 'apps/compute-agent/src/drivers';
/**
 * What is done of Nova's rows without being part of the suite, and the tests that are about it. They run with `npm test`
 * where the machine has what they need; what they said is not seen here, so that nothing is counted.
 */
export const elsewhere = [
  {
    ...{
      nova: 'operation.report-cpu-traits',
      backend: 'qemu, xen, xenserver, vsphere',
      how: 'the table that they share',
    },
    ...{ file: `${DRIVERS}/qemu/probe-report.spec.ts`, tests: ['are the os-traits names of its flags, each once'] },
  },
  {
    ...{ nova: 'operation.uefi-boot', backend: 'qemu', how: 'a Linux boots, in TCG' },
    file: `${DRIVERS}/qemu/qemu-firmware.e2e.spec.ts`,
    tests: ['boots by UEFI on q35', 'boots with secure boot, and locks its kernel down'],
  },
  {
    ...{ nova: 'operation.uefi-boot', backend: 'hyperv', how: "bytes booted, in QEMU, from the double's disk" },
    file: `${DRIVERS}/hyperv/hyperv-boots.e2e.spec.ts`,
    tests: ['runs from a VHDX on generation 2 with secure boot'],
  },
  {
    ...{ nova: 'operation.uefi-boot', backend: 'xenserver', how: 'what XAPI is asked for' },
    ...{ file: `${DRIVERS}/xenserver/operations/hardware.spec.ts`, tests: ['boots by UEFI, securely, when asked'] },
  },
  {
    ...{ nova: 'operation.uefi-boot', backend: 'vsphere', how: 'what the vCenter is asked for' },
    file: `${DRIVERS}/vsphere/operations/hardware.spec.ts`,
    tests: ['is what the image asks for, by the names of Nova and of VMware'],
  },
  {
    ...{ nova: 'operation.boot-emulated-tpm', backend: 'qemu', how: 'its process and its state; no guest looks' },
    ...{ file: `${DRIVERS}/qemu/guest-files.int.spec.ts`, tests: ['have a TPM of their own, which ends with them'] },
  },
  {
    ...{ nova: 'guest.disk.rate-limit', backend: 'qemu', how: 'what QEMU says of a running guest' },
    ...{
      file: `${DRIVERS}/qemu/guest-files.int.spec.ts`,
      tests: ['take no more of the host than their flavor allows'],
    },
  },
  {
    ...{ nova: 'operation.quiesce', backend: 'hyperv', how: 'which checkpoint the double is asked for' },
    file: `${DRIVERS}/hyperv/hyperv-host.spec.ts`,
    tests: ['freezes the file systems of a guest that can, for a snapshot, and not those of one that cannot'],
  },
  {
    ...{ nova: 'operation.cache-images', backend: 'agents of all', how: 'files of the cache' },
    file: 'apps/compute-agent/src/images/image-cache.int.spec.ts',
    tests: [
      'are fetched once for everybody who waits',
      'go a day after the last guest was made of them, unless one still needs them',
    ],
  },
];

/** Of everything that what a lab has shown of a backend depends on. */
export const sourcesHash = (backend) => {
  const hash = createHash('sha256');
  for (const folder of ['interface', 'common', 'conformance', backend])
    for (const file of filesBelow(join(drivers, folder))) {
      if (file.includes('/generated/')) continue;
      hash.update(file.slice(drivers.length)).update('\0').update(readFileSync(file)).update('\0');
    }
  return hash.digest('hex');
};
const filesBelow = (folder) =>
  readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();

/** What no driver is asked: agents tell it of the machines they run on. */
const BY_THE_AGENT = ['operation.get-host-uptime', 'operation.get-host-ip'];
/** Row names of Nova's feature support matrix, August 2026. */
const NOVA_ROWS = `
  operation.attach-volume operation.attach-tagged-volume operation.detach-volume operation.extend-volume
  operation.attach-interface operation.attach-tagged-interface operation.detach-interface
  operation.maintenance-mode operation.evacuate operation.rebuild operation.rebuild-volume-backed
  operation.get-guest-info operation.get-host-uptime operation.get-host-ip operation.live-migrate
  operation.force-live-migration-to-complete operation.abort-in-progress-live-migration operation.launch
  operation.pause operation.reboot operation.rescue operation.resize operation.resume
  operation.set-admin-password operation.snapshot operation.suspend operation.swap-volume operation.terminate
  operation.trigger-crash-dump operation.unpause guest.disk.autoconfig guest.disk.rate-limit
  guest.setup.configdrive guest.setup.inject.file guest.setup.inject.networking console.rdp console.serial.log
  console.serial.interactive console.spice console.vnc storage.block storage.block.backend.fibrechannel
  storage.block.backend.iscsi storage.block.backend.iscsi.auth.chap storage.image operation.uefi-boot
  operation.device-tags operation.quiesce operation.unquiesce operation.multiattach-volume
  operation.encrypted-volume operation.trusted-certs operation.file-backed-memory operation.report-cpu-traits
  operation.port-with-resource-request operation.boot-encrypted-vm operation.cache-images
  operation.boot-emulated-tpm operation.boot-stateless-firmware
`
  .trim()
  .split(/\s+/);

const LEVELS = {
  L0: 'in this process: a machine that only keeps records',
  L1: "the wire protocol, against the vendor's simulator or a double that enforces the documented contract",
  L2: 'a real hypervisor, which booted a guest',
  L3: 'the real product on real hardware',
};
const BACKENDS = ['qemu', 'xen', 'xenserver', 'vsphere', 'hyperv', 'fake'];

const plural = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;

/** One behaviour's record: recordings of earlier releases have the day alone, and count as older than any change. */
const recordOf = (lab, kept) => {
  const { day, sources } = typeof kept === 'string' ? { day: kept, sources: null } : kept;
  return { day, isOlder: sources === null || sources !== lab.now };
};

/** What a lab has shown of a row: behaviours that the suite still has. */
const shownByLab = ({ proofs, lab }, proof) => {
  const { passed, skipped } = proofs[proof];
  return Object.entries(lab?.proofs[proof] ?? {})
    .filter(([name]) => passed.includes(name) || skipped[name] !== undefined)
    .map(([name, kept]) => ({ name, ...recordOf(lab, kept) }));
};

const labCell = ({ level }, shown) => {
  const older = shown.filter(({ isOlder }) => isOlder).length;
  const mark = older === 0 ? '' : older === shown.length ? ' (older)' : ` (${older} older)`;
  return `${level}, ${shown.length}${mark}`;
};

/** What a backend has shown of one row, or of the named behaviours of it; what was not tried is not claimed. */
const cell = (results, proof, { only, isUnreached } = {}) => {
  if (!results) return '';
  const found = results.proofs[proof];
  if (!found) return '—';
  const isMeant = (name) => !only || only.includes(name);
  const passed = found.passed.filter(isMeant);
  const lab = shownByLab(results, proof).filter(({ name }) => isMeant(name));
  const levels = [
    ...(passed.length > 0 ? [`${found.level}, ${passed.length}`] : []),
    ...(lab.length > 0 ? [labCell(results.lab, lab)] : []),
  ];
  return [levels.join('; ') || 'not tried', ...(isUnreached ? ['API: 501'] : [])].join('; ');
};

const table = (head, rows) => [
  `| ${head.join(' | ')} |`,
  `|${head.map(() => '---').join('|')}|`,
  ...rows.map((r) => `| ${r.join(' | ')} |`),
];

const labLines = (results, titles) => {
  const { lab, proofs } = results;
  if (!lab) return [];
  const when = ({ day, isOlder }) => `${day}${isOlder ? ', older' : ''}`;
  const shown = Object.keys(proofs).flatMap((proof) =>
    shownByLab(results, proof).map((found) => `- ${titles[proof]}: ${found.name} (${when(found)})`),
  );
  const what = plural(shown.length, 'behaviour');
  return [
    '',
    `${what} shown over ${lab.over} by \`${lab.command}\`, last on the day that is said (${lab.level}):`,
    '',
    ...shown.sort(),
    ...Object.entries(lab.proofs.scenario ?? {}).flatMap(([what, kept]) => [
      '',
      `In a whole cloud, by its public API: ${what} (${when(recordOf(lab, kept))}).`,
    ]),
  ];
};

const section = (results, titles) => {
  const { backend, command, proofs, remarks = [] } = results;
  const all = Object.values(proofs);
  const passed = all.reduce((n, p) => n + p.passed.length, 0);
  const byReason = new Map();
  for (const [proof, { skipped }] of Object.entries(proofs))
    for (const [behaviour, why] of Object.entries(skipped))
      byReason.set(why, [...(byReason.get(why) ?? []), `${titles[proof]}: ${behaviour}`]);
  return [
    '',
    `### ${backend}`,
    '',
    `${plural(passed, 'behaviour')} shown by \`${command}\`.`,
    ...remarks.flatMap((remark) => ['', remark]),
    ...labLines(results, titles),
    ...[...byReason]
      .sort()
      .flatMap(([why, list]) => ['', `Not tried, for want of ${why}:`, '', ...list.sort().map((line) => `- ${line}`)]),
  ];
};

const inRepository = (file) => `[${file.split('/').pop()}](../${file})`;

/**
 * @param all results of the suite, one for each backend
 * @param features `features` of contracts
 */
export const supportMatrix = (all, features) => {
  const rows = { ...basics, ...features };
  const titles = Object.fromEntries(Object.entries(rows).map(([name, { title }]) => [name, title]));
  const by = Object.fromEntries(all.map((results) => [results.backend, results]));
  const backends = BACKENDS.filter((backend) => by[backend]);
  const answered = new Set([
    ...[...Object.values(rows), ...Object.values(parts)].flatMap((row) => row.nova),
    ...elsewhere.map(({ nova }) => nova),
    ...BY_THE_AGENT,
  ]);
  const line = ([name, { title, nova, trait, of = name, behaviours: only, isUnreached }]) => [
    title,
    [...nova, ...(trait ? [`\`${trait}\``] : [])].join('<br>'),
    ...backends.map((backend) => cell(by[backend], of, { only, isUnreached })),
  ];
  const none = BACKENDS.filter((backend) => !by[backend]);
  return `${[
    '# Support matrix',
    '',
    'Generated from the results of the conformance suite (`drivers/conformance/generated/`) by',
    '`node tools/generate/support-matrix.mjs`; do not edit. A cell says how real the thing was that the suite ran over, and how',
    'many behaviours it showed; `—` is not supported. Each `npm test` runs the suites again, and fails where one shows other',
    'than is written here; where a machine lacks what a suite needs (Go, for that of vsphere), it is skipped, and its column is',
    'what it showed before. What a lab or a real host has shown, which no run of the tests has at hand, stands after that, and',
    'below with its days; `older`: the sources that it depends on have changed since.',
    '',
    ...table(['Level', 'The suite ran over'], Object.entries(LEVELS)),
    '',
    '## What every driver does',
    '',
    ...table(['', "Nova's rows", ...backends], Object.entries(basics).map(line)),
    '',
    '## What not every hypervisor can do',
    '',
    'A host has the trait when its hypervisor does it; where it is missing the API answers 501. `API: 501` is what a driver does',
    'and the API does not pass on yet: such hosts have not the trait.',
    '',
    ...table(
      ['', "Nova's rows, trait", ...backends],
      [...Object.entries(features), ...Object.entries(parts)].map(line),
    ),
    ...(none.length > 0 ? ['', `No results: ${none.join(', ')}.`] : []),
    '',
    '## Done, and not part of the suite',
    '',
    'The tests that are named run with `npm test` where the machine has what they need. What they said is not seen here.',
    '',
    ...table(
      ["Nova's row", 'Backend', 'What is looked at', 'Test'],
      elsewhere.map(({ nova, backend, how, file, tests }) => [
        nova,
        backend,
        how,
        `${inRepository(file)}: ${tests.join('; ')}`,
      ]),
    ),
    '',
    "## Nova's rows without an answer here",
    '',
    NOVA_ROWS.filter((row) => !answered.has(row)).join(', '),
    '',
    '## By backend',
    ...backends.flatMap((backend) => section(by[backend], titles)),
  ].join('\n')}\n`;
};

/** What each suite has shown, and with it what a lab has. */
export const committedResults = () => {
  const folder = join(drivers, 'conformance/generated');
  return readdirSync(folder)
    .filter((file) => file.endsWith('.json'))
    .map((file) => JSON.parse(readFileSync(join(folder, file), 'utf8')))
    .map((results) => {
      const lab = join(folder, 'lab', `${results.backend}.json`);
      if (!existsSync(lab)) return results;
      return { ...results, lab: { ...JSON.parse(readFileSync(lab, 'utf8')), now: sourcesHash(results.backend) } };
    });
};

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = argumentsOf(import.meta.url, { options: { check: { type: 'boolean' } } });
  const { features } = await import('../../libs/contracts/dist/index.js');
  const text = supportMatrix(committedResults(), features);
  if (values.check) {
    if (readFileSync(FILE, 'utf8') !== text) {
      console.error('docs/support-matrix.md is not up to date: run node tools/generate/support-matrix.mjs');
      process.exit(1);
    }
  } else writeFileSync(FILE, text);
}
