import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createConnection, createServer } from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { vi } from 'vitest';
import type { SshTarget } from '../ssh.js';

/** OpenSSH's server, where it is installed. */
export const SSHD = '/usr/sbin/sshd';

export const freePort = () =>
  new Promise<number>((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolve(port));
    });
  });

/** A server for this user alone, on a free port of this machine. */
export class SshServer {
  private constructor(
    private readonly folder: string,
    readonly port: number,
    private readonly sshd: ChildProcess,
  ) {}

  /** @param folder for its keys @param settings lines of its configuration */
  static async start(folder: string, settings: readonly string[]): Promise<SshServer> {
    const file = (name: string) => join(folder, name);
    const port = await freePort();
    for (const name of ['host_key', 'user_key', 'other_key'])
      execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file(name)]);
    writeFileSync(file('authorized_keys'), readFileSync(file('user_key.pub')), { mode: 0o600 });
    writeFileSync(file('known_hosts'), `[127.0.0.1]:${port} ${readFileSync(file('host_key.pub'), 'utf8')}`);
    writeFileSync(file('wrong_hosts'), `[127.0.0.1]:${port} ${readFileSync(file('other_key.pub'), 'utf8')}`);
    if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true });
    writeFileSync(
      file('sshd_config'),
      [
        ...[`Port ${port}`, 'ListenAddress 127.0.0.1', `HostKey ${file('host_key')}`],
        ...[`AuthorizedKeysFile ${file('authorized_keys')}`, `PidFile ${file('sshd.pid')}`, 'StrictModes no'],
        ...['PasswordAuthentication no', 'PermitRootLogin prohibit-password', ...settings],
      ].join('\n'),
    );
    const sshd = spawn(SSHD, ['-D', '-e', '-f', file('sshd_config')], { stdio: 'ignore' });
    let failed: Error | null = null;
    sshd.on('error', (error) => {
      failed = error;
    });
    await vi.waitFor(
      () =>
        new Promise<void>((resolve, reject) => {
          if (failed) return reject(failed);
          const socket = createConnection(port, '127.0.0.1', () => {
            socket.destroy();
            resolve();
          }).on('error', reject);
        }),
      { timeout: 10_000 },
    );
    return new SshServer(folder, port, sshd);
  }

  /** `wrong_hosts` and `other_key` are those of somebody else. */
  target(knownHosts: 'known_hosts' | 'wrong_hosts', identity: 'user_key' | 'other_key' = 'user_key'): SshTarget {
    return {
      host: '127.0.0.1',
      port: this.port,
      user: userInfo().username,
      identityFile: join(this.folder, identity),
      knownHostsFile: join(this.folder, knownHosts),
    };
  }

  async stop(): Promise<void> {
    if (this.sshd.exitCode !== null || this.sshd.signalCode !== null || this.sshd.pid === undefined) return;
    const ended = new Promise((resolve) => this.sshd.once('exit', resolve));
    this.sshd.kill();
    await ended;
  }
}
