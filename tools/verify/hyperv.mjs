#!/usr/bin/env node
/**
 * npm run verify:hyperv -- --host USER@HOST[:PORT] --serve ADDRESS:PORT [options] [-- vitest options]
 *
 * Runs the conformance suite of the drivers over a real Windows host, which docs/operating/hyperv.md says how to prepare.
 *
 *   --host            the host, or `local` on the host itself                       OMNIVISOR_HYPERV_HOSTS
 *   --key             private key for it                                            OMNIVISOR_HYPERV_KEY
 *   --known-hosts     file with its key                                             OMNIVISOR_HYPERV_KNOWN_HOSTS
 *   --script          where the host script lies there                              OMNIVISOR_HYPERV_SCRIPT
 *   --root            its folder there, where no forced command says so          OMNIVISOR_HYPERV_ROOT
 *   --serve           address and port of this machine from which the host fetches image bytes
 *   --generation      1 or 2 (2)
 *   --secure-boot     with generation 2
 *   --switch          virtual switch for network interfaces; without it they are not tried
 *   --image           VHD or VHDX to boot; without it the project's test image, converted (not on Windows)
 *   --no-linux        the image has no root shell on its serial port
 *   --record          file for what was shown, with the day, as the support matrix has it in conformance/generated/lab
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { argumentsOf } from '../arguments.mjs';
import { Refused } from '../services/process.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const addressAndPort = (text) => {
  const [, address, port] = /^(.+):(\d+)$/.exec(text) ?? [];
  if (address) return { address, port: Number(port) };
  throw new Refused('an address and a port is needed');
};
const { values, positionals } = argumentsOf(import.meta.url, {
  allowPositionals: true,
  allowNegative: true,
  options: {
    host: { type: 'string', default: process.env.OMNIVISOR_HYPERV_HOSTS, required: true },
    key: { type: 'string', default: process.env.OMNIVISOR_HYPERV_KEY },
    'known-hosts': { type: 'string', default: process.env.OMNIVISOR_HYPERV_KNOWN_HOSTS },
    script: { type: 'string', default: process.env.OMNIVISOR_HYPERV_SCRIPT },
    root: { type: 'string', default: process.env.OMNIVISOR_HYPERV_ROOT },
    serve: { type: 'string', read: addressAndPort, required: true },
    generation: { type: 'string', default: '2' },
    'secure-boot': { type: 'boolean', default: false },
    switch: { type: 'string' },
    image: { type: 'string' },
    linux: { type: 'boolean', default: true },
    record: { type: 'string' },
  },
});

if (process.platform === 'win32' && !values.image) {
  console.error('the test image is not built on Windows: build it on Linux, and name it with --image');
  process.exit(2);
}

const folder = mkdtempSync(join(tmpdir(), 'omnivisor-verify-'));
const format = values.generation === '1' ? 'vhd' : 'vhdx';

/** The project's test image as the host's kind of disk. */
const testImage = () => {
  const built = execFileSync('node', [join(root, 'tools/image/image.mjs')], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  }).trim();
  const file = join(folder, `test.${format}`);
  const kind = format === 'vhd' ? ['vpc', '-o', 'subformat=dynamic,force_size=on'] : ['vhdx'];
  execFileSync('qemu-img', ['convert', '-f', 'qcow2', '-O', ...kind, built, file]);
  return file;
};

try {
  const image = values.image ? resolve(values.image) : testImage();
  const given = (name, value) => (value === undefined ? {} : { [name]: value });
  const settings = {
    serve: values.serve,
    image,
    format: image.endsWith('.vhd') ? 'vhd' : 'vhdx',
    memory: values['secure-boot'] ? 384 : 256,
    secureBoot: values['secure-boot'],
    switch: values.switch ?? null,
    linux: values.linux,
    record: values.record ? resolve(values.record) : null,
    hyperv: {
      OMNIVISOR_HYPERV_HOSTS: values.host,
      OMNIVISOR_HYPERV_GENERATION: values.generation,
      ...given('OMNIVISOR_HYPERV_KEY', values.key),
      ...given('OMNIVISOR_HYPERV_KNOWN_HOSTS', values['known-hosts']),
      ...given('OMNIVISOR_HYPERV_SCRIPT', values.script),
      ...given('OMNIVISOR_HYPERV_ROOT', values.root),
    },
  };
  const { status } = spawnSync(
    process.execPath,
    [
      join(root, 'node_modules/vitest/vitest.mjs'),
      'run',
      '--config',
      'tools/verify/vitest.config.ts',
      'apps/compute-agent/src/drivers/hyperv',
      ...positionals,
    ],
    { cwd: root, stdio: 'inherit', env: { ...process.env, OMNIVISOR_VERIFY: JSON.stringify(settings) } },
  );
  process.exitCode = status ?? 1;
} finally {
  rmSync(folder, { recursive: true });
}
