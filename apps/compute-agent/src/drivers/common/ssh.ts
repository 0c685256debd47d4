/** An account on another machine, by OpenSSH. */
export interface SshTarget {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly identityFile: string;
  readonly knownHostsFile: string;
  /** Times as long as usual that it may take to answer; 1 unless told. */
  readonly patience?: number;
}

/**
 * Arguments of `ssh` to a machine whose key is known; nothing is asked, nothing forwarded, no configuration read.
 * @param command as the other machine's shell reads it
 * @param options of OpenSSH, beside or instead of these
 */
export const sshArguments = (
  { host, port, user, identityFile, knownHostsFile, patience = 1 }: SshTarget,
  command: string,
  options: Readonly<Record<string, string>> = {},
): string[] => {
  const all = {
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
    ConnectTimeout: String(Math.ceil(10 * patience)),
    ServerAliveInterval: '10',
    ServerAliveCountMax: String(Math.ceil(3 * patience)),
    LogLevel: 'ERROR',
    ...options,
  };
  return [
    ...['-F', 'none', '-T'],
    ...Object.entries(all).flatMap(([name, value]) => ['-o', `${name}=${value}`]),
    ...['-p', String(port), '-l', user, '--', host, command],
  ];
};

const TARGET = /^(?:([^@\s]+)@)?([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::(\d+))?$/;

/** `user@host:port`, the first and the last part optional; null for what is none. */
export const sshAddress = (text: string): { user: string | null; host: string; port: number } | null => {
  const [whole, user = null, host = '', port = '22'] = TARGET.exec(text) ?? [];
  if (whole === undefined || host.startsWith('-') || user?.startsWith('-')) return null;
  return { user, host: host.replace(/[[\]]/g, ''), port: Number(port) };
};
