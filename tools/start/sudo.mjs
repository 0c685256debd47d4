import { spawn, spawnSync } from 'node:child_process';
import { which } from '../services/process.mjs';

export const isRoot = () => process.getuid?.() === 0;

/** Says to the program behind sudo that its caller may be gone one day: then its standard input ends. */
const BEHIND = 'OMNIVISOR_BEHIND_SUDO';
const isBehind = process.env[BEHIND] !== undefined;
delete process.env[BEHIND]; // true of this process, not of those it starts

/** What the program has to know although sudo forgets it: our own settings, and how this machine reaches the world. */
const KEPT = /^(OMNIVISOR_\w+|NATS_URL|PATH|\w+_proxy|npm_config_\w+|PIP_\w+|SSL_CERT_\w+|NODE_EXTRA_CA_CERTS)$/i;

export const canSudo = () =>
  which('sudo') !== undefined && spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status === 0;

/**
 * Runs this program again as root. Signals reach it by its standard input, which ends: sudo's own process belongs to root.
 * @param {string[]} argv program and arguments
 * @returns {Promise<number>} exit status
 */
export const againAsRoot = (argv) => {
  const kept = Object.entries(process.env).flatMap(([name, value]) => (KEPT.test(name) ? [`${name}=${value}`] : []));
  const child = spawn('sudo', ['-n', 'env', ...kept, `${BEHIND}=1`, process.execPath, ...argv], {
    stdio: ['pipe', 'inherit', 'inherit'],
  });
  child.stdin.on('error', () => {});
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.stdin.end());
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => resolve(code ?? 1));
  });
};

/** @param {() => void} then called when the caller on the other side of sudo has ended, or wants us to end */
export const onCallerGone = (then) => {
  if (!isBehind) return;
  process.stdin.once('end', then).once('error', then).resume();
  process.stdin.unref?.();
};
