import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import type { HostProcess, OpenProcess } from './host-channel.js';

const POWERSHELL = ['-NoProfile', '-NonInteractive', '-ExecutionPolicy', 'RemoteSigned', '-File'];

/** PowerShell on the agent's own machine. */
export const localProcess =
  (script: string, powershell = 'powershell.exe'): OpenProcess =>
  () =>
    processOf(spawn(powershell, [...POWERSHELL, script], { stdio: ['pipe', 'pipe', 'pipe'], windowsHide: true }));

export interface SshTarget {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly identityFile: string;
  readonly knownHostsFile: string;
  /** Where the host script lies there. Without effect where the server forces the command. */
  readonly script: string;
}

/** PowerShell on another machine, by OpenSSH. The host's key has to be known; nothing is asked, nothing forwarded. */
export const sshProcess =
  (target: SshTarget, ssh = 'ssh'): OpenProcess =>
  () =>
    processOf(spawn(ssh, sshArguments(target), { stdio: ['pipe', 'pipe', 'pipe'] }));

export const sshArguments = ({ host, port, user, identityFile, knownHostsFile, script }: SshTarget): string[] => {
  const options = {
    BatchMode: 'yes',
    StrictHostKeyChecking: 'yes',
    UserKnownHostsFile: knownHostsFile,
    GlobalKnownHostsFile: 'none',
    UpdateHostKeys: 'no',
    IdentitiesOnly: 'yes',
    IdentityFile: identityFile,
    IdentityAgent: 'none',
    PreferredAuthentications: 'publickey',
    ClearAllForwardings: 'yes',
    ForwardAgent: 'no',
    ControlPath: 'none',
    ConnectTimeout: '10',
    ServerAliveInterval: '10',
    ServerAliveCountMax: '3',
    LogLevel: 'ERROR',
  };
  return [
    ...['-F', 'none', '-T'],
    ...Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`]),
    ...['-p', String(port), '-l', user, '--', host],
    ['powershell.exe', ...POWERSHELL, script].join(' '),
  ];
};

const processOf = (child: ChildProcessByStdio<Writable, Readable, Readable>): HostProcess => {
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-4000);
  });
  return {
    input: child.stdin,
    output: child.stdout,
    ended: new Promise((resolve) => {
      child.once('error', (error) => resolve(error.message));
      child.once('close', () => resolve(said));
    }),
    kill: () => void child.kill(),
  };
};
