import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import {
  appendFileSync,
  createWriteStream,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createConnection } from 'node:net';
import { dirname, join } from 'node:path';
import { ErrorRecord, fileInUse, wmiAccessDenied } from './errors.mjs';
import { isMerging } from './merging.mjs';

const failure = (id, category, message) =>
  new ErrorRecord({ id: `${id},Omnivisor.Host`, category, message, exception: 'System.InvalidOperationException' });

const inside = (host, path) => {
  if (!path.toLowerCase().startsWith(`${host.facts.root.toLowerCase()}\\`) || path.split('\\').includes('..'))
    throw failure('OutsideRoot', 'PermissionDenied', 'The path is not below the folder of the host script.');
  return host.local(path);
};

const machine = (host, id) => {
  const vm = host.vms.get(id.toLowerCase());
  if (!vm) throw failure('ObjectNotFound', 'ObjectNotFound', 'The virtual machine has no such integration service.');
  return vm;
};

const mayAskWmi = ({ facts }) => {
  if (!facts.account.asksWmi) throw wmiAccessDenied();
};

/** The functions of the host script, done here the same way: (host, session, parameters) to a list of plain objects. */
const functions = {
  'Get-HostFact': async ({ facts }) => [
    {
      Product: facts.product,
      Build: facts.build,
      ComputerName: facts.name,
      DomainName: facts.domain,
      Processors: ['Double of a processor'],
      Module: facts.module,
      Root: facts.root,
      FreeBytes: facts.freeBytes,
      TotalBytes: facts.totalBytes,
      DelegatesTo: facts.account.readsDirectory ? facts.migration.delegatesTo : null,
      WmiError: facts.account.asksWmi ? null : 'Access denied',
    },
  ],

  'Wait-HostCall': async (host) => {
    while (host.changing.size > 0) await Promise.race(host.changing);
    return [];
  },

  'New-HostFolder': async (host, _, { Path }) => {
    mkdirSync(inside(host, Path), { recursive: true });
    return [];
  },
  'Get-HostItem': async (host, _, { Path }) => {
    const folder = inside(host, Path);
    if (!existsSync(folder)) return [];
    return readdirSync(folder, { withFileTypes: true }).map((entry) => {
      const { size, mtime } = statSync(join(folder, entry.name));
      return {
        Name: entry.name,
        IsFolder: entry.isDirectory(),
        Length: entry.isDirectory() ? 0 : size,
        Changed: mtime.toISOString(),
      };
    });
  },
  'Remove-HostItem': async (host, _, { Path }) => {
    const item = inside(host, Path);
    const disks =
      existsSync(item) && statSync(item).isDirectory() ? readdirSync(item).map((name) => `${Path}\\${name}`) : [Path];
    const used = disks.find((disk) => isMerging(host, disk));
    if (used) throw fileInUse(used);
    rmSync(item, { recursive: true, force: true });
    return [];
  },
  'Get-HostFile': async (host, _, { Path, Offset, Length }) => {
    const file = inside(host, Path);
    if (!existsSync(file)) return [];
    const bytes = readFileSync(file);
    const from = Offset < 0 ? Math.max(0, bytes.length + Offset) : Offset;
    return [{ Base64: bytes.subarray(from, from + Length).toString('base64'), TotalLength: bytes.length }];
  },
  'Set-HostFile': async (host, _, { Path, Base64, Append }) => {
    const file = inside(host, Path);
    if (!existsSync(dirname(file)))
      throw failure('DirectoryNotFoundException', 'ObjectNotFound', `Could not find a part of the path '${Path}'.`);
    (Append ? appendFileSync : writeFileSync)(file, Buffer.from(Base64, 'base64'));
    return [];
  },
  'Move-HostFile': async (host, _, { Path, Destination }) => {
    renameSync(inside(host, Path), inside(host, Destination));
    return [];
  },

  'Receive-HostImage': async (host, session, { Url, Sha256, Size, Path }) => {
    const file = inside(host, Path);
    if (existsSync(file)) return [];
    if (Size > host.facts.freeBytes)
      throw failure('DiskFull', 'ResourceUnavailable', 'There is not enough space on the disk. (0x80070070)');
    const partial = `${file}.${randomUUID()}.part`;
    try {
      const response = await fetch(Url, { redirect: 'manual', signal: session.transfer.signal });
      if (response.status !== 200)
        throw failure('TransferFailed', 'ConnectionError', `The image service answered ${response.status}.`);
      const hash = createHash('sha256');
      const out = createWriteStream(partial, { flags: 'wx' });
      let total = 0;
      for await (const chunk of response.body) {
        total += chunk.length;
        if (total > Size) break;
        hash.update(chunk);
        if (!out.write(chunk)) await once(out, 'drain');
      }
      await new Promise((resolve, reject) => out.once('error', reject).end(resolve));
      if (total !== Size || hash.digest('hex') !== Sha256.toLowerCase())
        throw failure('WrongBytes', 'InvalidData', 'The bytes that came are not those of the image.');
      if (!existsSync(file)) renameSync(partial, file);
      return [];
    } catch (error) {
      if (session.transfer.signal.aborted)
        throw failure('Cancelled', 'OperationStopped', 'The transfer was cancelled.');
      if (error instanceof ErrorRecord) throw error;
      throw new ErrorRecord({
        id: 'WebException',
        category: 'NotSpecified',
        message: String(error.cause ?? error),
        exception: 'System.Net.WebException',
      });
    } finally {
      rmSync(partial, { force: true });
    }
  },

  'Send-HostShutdown': async (host, _, { VMId }) => {
    mayAskWmi(host);
    const vm = machine(host, VMId);
    if (vm.State !== 'Running') return [{ ReturnValue: 32775 }];
    await host.machines.requestShutdown(vm);
    return [{ ReturnValue: 0 }];
  },
  'Get-HostGuestFact': async (host, _, { VMId }) => {
    mayAskWmi(host);
    const vm = machine(host, VMId);
    return [vm.State === 'Running' && vm.guest.facts ? vm.guest.facts : {}];
  },

  'Get-HostMigration': async (host, _, { VMId }) => {
    mayAskWmi(host);
    const job = host.migrations.get(VMId);
    return job ? [{ PercentComplete: job.percent }] : [];
  },
  'Stop-HostMigration': async (host, _, { VMId }) => {
    mayAskWmi(host);
    const job = host.migrations.get(VMId);
    if (job) job.stopped = true;
    return [];
  },

  'Watch-HostVM': async (host, session) => {
    mayAskWmi(host);
    session.watch();
    return [];
  },
  'Open-HostConsole': async (host, session, { VMId, Pipe, Log }) => {
    if (!/^\\\\\.\\pipe\\omnivisor-[0-9a-f-]{36}$/i.test(Pipe))
      throw failure('InvalidPipe', 'InvalidArgument', 'The pipe is not one of ours.');
    const log = inside(host, Log);
    if (session.consoles.has(VMId)) return [];
    if (!host.facts.account.opensPipes)
      throw failure('PipeDenied', 'PermissionDenied', 'The account may not open the serial port.');
    const socket = createConnection(host.pipe(Pipe));
    await once(socket, 'connect').catch(() => {
      throw failure('PipeUnavailable', 'ResourceUnavailable', 'The serial port does not answer.');
    });
    session.consoles.set(VMId, socket);
    socket.on('error', () => socket.destroy());
    socket.on('data', (bytes) => {
      if (existsSync(dirname(log))) appendFileSync(log, bytes);
      session.send({ event: 'console', vmId: VMId, base64: bytes.toString('base64') });
    });
    socket.once('close', () => {
      if (session.consoles.get(VMId) === socket) session.consoles.delete(VMId);
      session.send({ event: 'consoleEnd', vmId: VMId });
    });
    return [];
  },
  'Write-HostConsole': async (_, session, { VMId, Base64 }) => {
    const socket = session.consoles.get(VMId);
    if (!socket) throw failure('PipeUnavailable', 'ResourceUnavailable', 'The serial port is not open.');
    socket.write(Buffer.from(Base64, 'base64'));
    return [];
  },
};

export const FUNCTIONS = Object.keys(functions);

export const runFunction = async (name, host, session, parameters) => {
  host.refuseIfProvoked(name);
  return functions[name](host, session, parameters);
};
