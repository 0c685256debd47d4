import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';

/** Milliseconds; PowerShell starts slowly. */
const LIMIT = 60_000;

export interface MachineIdentity {
  /** Of the installation: stays over boots. */
  machineId(): Promise<string>;
  /** Changes when the machine boots. */
  bootId(): Promise<string>;
}

export interface MachineTools {
  /** Text of a file. */
  read(path: string): Promise<string>;
  /** What a program wrote to its standard output. */
  run(program: string, args: readonly string[]): Promise<string>;
}

const tools: MachineTools = {
  read: (path) => readFile(path, 'utf8'),
  run: async (program, args) =>
    (await promisify(execFile)(program, [...args], { timeout: LIMIT, windowsHide: true })).stdout,
};

const BOOT_ID = '/proc/sys/kernel/random/boot_id';

/** /etc/machine-id, or what the machine has instead. */
const ofLinux = ({ read }: MachineTools): MachineIdentity => {
  const text = async (path: string) => (await read(path)).trim();
  return {
    machineId: async () => (await text('/etc/machine-id').catch(() => '')) || text(BOOT_ID),
    bootId: () => text(BOOT_ID),
  };
};

const CRYPTOGRAPHY = 'HKLM\\SOFTWARE\\Microsoft\\Cryptography';
const BOOT_TIME = "(Get-CimInstance Win32_OperatingSystem).LastBootUpTime.ToUniversalTime().ToString('o')";

/** The registry's MachineGuid; Windows has no id of a boot but its time. */
const ofWindows = ({ run }: MachineTools): MachineIdentity => ({
  machineId: async () => {
    const said = await run('reg.exe', ['query', CRYPTOGRAPHY, '/v', 'MachineGuid', '/reg:64']);
    const id = /MachineGuid\s+REG_SZ\s+(\S+)/.exec(said)?.[1];
    if (!id) throw new Error('the registry has no MachineGuid');
    return id.toLowerCase();
  },
  bootId: async () => {
    const said = (await run('powershell.exe', ['-NoProfile', '-NonInteractive', '-Command', BOOT_TIME])).trim();
    if (Number.isNaN(Date.parse(said))) throw new Error(`Windows does not tell when it was started: ${said}`);
    return said;
  },
});

export const machineIdentity = (platform: NodeJS.Platform = process.platform, using = tools): MachineIdentity =>
  platform === 'win32' ? ofWindows(using) : ofLinux(using);
