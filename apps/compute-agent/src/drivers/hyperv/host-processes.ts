import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { type SshTarget, sshArguments } from '../common/ssh.js';
import type { HostProcess, OpenProcess } from './host-channel.js';

const POWERSHELL = ['-NoProfile', '-NonInteractive', '-ExecutionPolicy', 'RemoteSigned', '-File'];

export interface HostScript {
  /** Where it lies on the host. */
  readonly script: string;
  /** Folder that it works below; its own choice when not given. */
  readonly root?: string | undefined;
}

export const commandFor = ({ script, root }: HostScript): string[] => [
  ...POWERSHELL,
  script,
  ...(root === undefined ? [] : ['-Root', root]),
];

/** PowerShell on the agent's own machine. */
export const localProcess =
  (script: HostScript, powershell = 'powershell.exe'): OpenProcess =>
  () =>
    processOf(spawn(powershell, commandFor(script), { stdio: ['pipe', 'pipe', 'pipe'], windowsHide: true }));

/** Script and root are without effect where the server forces the command. */
export interface ScriptTarget extends SshTarget, HostScript {}

/** PowerShell on another machine, by OpenSSH. */
export const sshProcess =
  (target: ScriptTarget, ssh = 'ssh'): OpenProcess =>
  () =>
    processOf(spawn(ssh, scriptArguments(target), { stdio: ['pipe', 'pipe', 'pipe'] }));

export const scriptArguments = ({ script, root, ...target }: ScriptTarget): string[] =>
  sshArguments(target, ['powershell.exe', ...commandFor({ script, root })].join(' '));

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
