import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { type SshTarget, sshArguments } from '../common/ssh.js';
import type { HostProcess, OpenProcess } from './host-channel.js';

const POWERSHELL = ['-NoProfile', '-NonInteractive', '-ExecutionPolicy', 'RemoteSigned', '-File'];

/** PowerShell on the agent's own machine. */
export const localProcess =
  (script: string, powershell = 'powershell.exe'): OpenProcess =>
  () =>
    processOf(spawn(powershell, [...POWERSHELL, script], { stdio: ['pipe', 'pipe', 'pipe'], windowsHide: true }));

export interface ScriptTarget extends SshTarget {
  /** Where the host script lies there. Without effect where the server forces the command. */
  readonly script: string;
}

/** PowerShell on another machine, by OpenSSH. */
export const sshProcess =
  (target: ScriptTarget, ssh = 'ssh'): OpenProcess =>
  () =>
    processOf(spawn(ssh, scriptArguments(target), { stdio: ['pipe', 'pipe', 'pipe'] }));

export const scriptArguments = ({ script, ...target }: ScriptTarget): string[] =>
  sshArguments(target, ['powershell.exe', ...POWERSHELL, script].join(' '));

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
