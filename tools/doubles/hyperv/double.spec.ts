import { createHash, randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { moduleTable } from './binder.mjs';
import { recordDisks } from './disks/record-disks.mjs';
import { HyperVHost, implemented } from './host.mjs';
import { Session } from './session.mjs';

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;
const root = 'C:\\ProgramData\\Omnivisor';

type Line = Record<string, unknown> & {
  id?: number;
  ok?: boolean;
  // biome-ignore lint/suspicious/noExplicitAny: results are what the cmdlets say they are
  result?: any[];
  error?: { fullyQualifiedErrorId: string; category: string; message: string };
};

const talk = (to: HyperVHost) => {
  const input = new PassThrough();
  const output = new PassThrough();
  const lines: Line[] = [];
  const waiting = new Map<number, (line: Line) => void>();
  let rest = '';
  output.on('data', (bytes) => {
    const parts = (rest + bytes).split('\n');
    rest = parts.pop()!;
    for (const line of parts.map((text) => JSON.parse(text) as Line)) {
      lines.push(line);
      if (line.id !== undefined) waiting.get(line.id)?.(line);
    }
  });
  new Session(to, input, output);
  let id = 0;
  const ask = (call: object): Promise<Line> => {
    id += 1;
    const answered = new Promise<Line>((resolve) => waiting.set(id, resolve));
    input.write(`${JSON.stringify({ id, ...call })}\n`);
    return answered;
  };
  const done = async (call: object) => {
    const line = await ask(call);
    expect(line.error).toBeUndefined();
    return line.result!;
  };
  const fails = async (call: object) => {
    const line = await ask(call);
    expect(line.ok).toBe(false);
    return line.error!;
  };
  return { ask, done, fails, lines, input, lastId: () => id };
};

let dir: string;
let host: HyperVHost;
let session: ReturnType<typeof talk>;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'double-'));
  host = await new HyperVHost(dir).open();
  session = talk(host);
});
afterEach(async () => {
  await host.close();
  rmSync(dir, { recursive: true });
});

it('goes on when whoever asks it is cut off in the middle', async () => {
  session.input.emit('error', Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }));
  const next = talk(host);
  expect(await next.done({ cmdlet: 'Get-VM' })).toEqual([]);
});

const vm = (id: string) => ({ VM: { cmdlet: 'Get-VM', parameters: { Id: id } } });
const make = async (generation: 1 | 2 = 2, more = {}): Promise<string> => {
  const parameters = { Name: 'guest', Generation: generation, MemoryStartupBytes: 512 * MIB, ...more };
  const [made] = await session.done({ cmdlet: 'New-VM', parameters, select: { Id: true } });
  return made.Id;
};
const stateOf = async (id: string) =>
  (await session.done({ cmdlet: 'Get-VM', parameters: { Id: id }, select: { State: true } }))[0].State;
const disk = (name: string, more = {}) =>
  session.done({ cmdlet: 'New-VHD', parameters: { Path: `${root}\\${name}`, Dynamic: true, SizeBytes: GIB, ...more } });
const on = (id: string, cmdlet: string, parameters = {}) => ({ cmdlet, parameters, objects: vm(id) });

it('has every cmdlet of its table', () => {
  expect([...implemented].sort()).toEqual(Object.keys(moduleTable.cmdlets).sort());
});

describe('the lines', () => {
  it('begin with who speaks', () => {
    expect(session.lines[0]).toMatchObject({ hello: { protocol: 3, build: 20348, languageMode: 'FullLanguage' } });
  });

  it('give only what was selected, and nothing undocumented', async () => {
    const id = await make();
    expect(
      await session.done({ cmdlet: 'Get-VM', parameters: { Id: id }, select: { Name: true, State: true } }),
    ).toEqual([{ Name: 'guest', State: 'Off' }]);
    expect(await session.fails({ cmdlet: 'Get-VM', select: { PowerState: true } })).toMatchObject({
      fullyQualifiedErrorId: expect.stringMatching(/^UndocumentedProperty,/),
    });
  });

  it('run nothing that is not on the list', async () => {
    expect(await session.fails({ cmdlet: 'Invoke-Expression', parameters: { Command: 'dir' } })).toMatchObject({
      fullyQualifiedErrorId: 'NotAllowed,Omnivisor.Host',
      category: 'PermissionDenied',
    });
  });

  it('say the same in German where Windows does', async () => {
    host.facts.language = 'de';
    expect(await session.fails(on(randomUUID(), 'Start-VM'))).toMatchObject({
      fullyQualifiedErrorId: 'InvalidParameter,Microsoft.HyperV.PowerShell.Commands.GetVM',
      category: 'InvalidArgument',
      message: 'Fehler beim Ausführen des Vorgangs.',
    });
    expect((await session.fails({ cmdlet: 'Get-VHD', parameters: { Path: `${root}\\a.vhdx` } })).message).toBe(
      'Fehler beim Ausführen des Vorgangs. (0x80070002)',
    );
  });

  it('tell nothing of machines without the service, and to no account that may not know', async () => {
    host.facts.managementService = 'Stopped';
    expect((await session.fails({ cmdlet: 'Get-VM' })).fullyQualifiedErrorId).toMatch(/^ObjectNotFound,Microsoft/);
    host.facts.managementService = 'Running';
    host.facts.account = { ...host.facts.account, isHyperVAdministrator: false };
    expect((await session.fails({ cmdlet: 'Get-VM' })).category).toBe('PermissionDenied');
  });

  it('tell of a machine that is not there as PowerShell does', async () => {
    expect(await session.fails({ cmdlet: 'Get-VM', parameters: { Name: 'nobody' } })).toEqual({
      fullyQualifiedErrorId: 'InvalidParameter,Microsoft.HyperV.PowerShell.Commands.GetVM',
      category: 'InvalidArgument',
      message: 'Hyper-V was unable to find a virtual machine with name "nobody".',
      exception: 'Microsoft.HyperV.PowerShell.VirtualizationException',
    });
  });

  it('end after the hello on a host that is too old', async () => {
    host.facts.build = 9600;
    const { lines, input } = talk(host);
    input.write('{"id":1,"cmdlet":"Get-VM"}\n');
    await expect.poll(() => lines).toMatchObject([{ hello: { build: 9600, languageMode: 'unknown' } }]);
  });
});

describe('a virtual machine', () => {
  it('goes through its states, and refuses what the state does not allow', async () => {
    const id = await make();
    const steps: [string, object, string][] = [
      ['Start-VM', {}, 'Running'],
      ['Start-VM', {}, 'Running'],
      ['Suspend-VM', {}, 'Paused'],
      ['Resume-VM', {}, 'Running'],
      ['Save-VM', {}, 'Saved'],
      ['Start-VM', {}, 'Running'],
      ['Stop-VM', { TurnOff: true, Force: true }, 'Off'],
    ];
    for (const [cmdlet, parameters, state] of steps) {
      await session.done(on(id, cmdlet, parameters));
      expect(await stateOf(id)).toBe(state);
    }
    for (const cmdlet of ['Suspend-VM', 'Resume-VM', 'Save-VM', 'Remove-VMSavedState'])
      expect((await session.fails(on(id, cmdlet))).fullyQualifiedErrorId).toMatch(/^InvalidState,/);
  });

  it('is not removed while it runs, and its disks stay', async () => {
    const id = await make();
    await disk('a.vhdx');
    await session.done(on(id, 'Add-VMHardDiskDrive', { Path: `${root}\\a.vhdx` }));
    await session.done(on(id, 'Start-VM'));
    expect((await session.fails(on(id, 'Remove-VM', { Force: true }))).fullyQualifiedErrorId).toMatch(/^InvalidState,/);
    await session.done(on(id, 'Stop-VM', { TurnOff: true, Force: true }));
    expect((await session.fails(on(id, 'Remove-VM'))).message).toMatch(/NonInteractive/);
    await session.done(on(id, 'Remove-VM', { Force: true }));
    expect(await session.done({ cmdlet: 'Get-VHD', parameters: { Path: `${root}\\a.vhdx` } })).toHaveLength(1);
  });

  it('does not start without memory on the host', async () => {
    const id = await make(2, { MemoryStartupBytes: 65 * GIB });
    expect(await session.fails(on(id, 'Start-VM'))).toMatchObject({
      fullyQualifiedErrorId: 'OutOfMemory,Microsoft.HyperV.PowerShell.Commands.StartVM',
      category: 'ResourceUnavailable',
    });
  });

  it('keeps its hardware while it runs', async () => {
    const id = await make(1);
    await disk('a.vhd');
    await session.done(on(id, 'Start-VM'));
    const refused: [string, object][] = [
      ['Set-VMProcessor', { Count: 2 }],
      ['Set-VMMemory', { StartupBytes: GIB }],
      ['Set-VMBios', { StartupOrder: ['IDE'] }],
      ['Set-VMComPort', { Number: 1, Path: '\\\\.\\pipe\\a' }],
      ['Add-VMNetworkAdapter', { Name: 'a' }],
      ['Add-VMHardDiskDrive', { Path: `${root}\\a.vhd`, ControllerType: 'IDE' }],
    ];
    for (const [cmdlet, parameters] of refused)
      expect((await session.fails(on(id, cmdlet, parameters))).fullyQualifiedErrorId).toMatch(/^InvalidState,/);
    await session.done(on(id, 'Add-VMHardDiskDrive', { Path: `${root}\\a.vhd`, ControllerType: 'SCSI' }));
  });

  it('has the firmware of its generation', async () => {
    const [first, second] = [await make(1), await make(2)];
    expect((await session.fails(on(first, 'Set-VMFirmware', { EnableSecureBoot: 'Off' }))).message).toMatch(
      /generation 1/,
    );
    expect((await session.fails(on(second, 'Set-VMBios', { StartupOrder: ['IDE'] }))).message).toMatch(/generation 2/);
    await session.done(on(second, 'Set-VMFirmware', { SecureBootTemplate: 'MicrosoftUEFICertificateAuthority' }));
    await session.fails(on(second, 'Set-VMFirmware', { SecureBootTemplate: 'Mine' }));
  });

  it('is still there when the host comes back', async () => {
    const id = await make();
    await session.done(on(id, 'Set-VM', { Notes: 'kept' }));
    await session.done(on(id, 'Start-VM'));
    await host.close();
    host = await new HyperVHost(dir).open();
    session = talk(host);
    expect(
      await session.done({ cmdlet: 'Get-VM', parameters: { Name: 'guest' }, select: { Notes: true, State: true } }),
    ).toEqual([{ Notes: 'kept', State: 'Running' }]);
  });
});

describe('disks', () => {
  it('stand on a parent, and generation 2 takes VHDX only', async () => {
    await disk('base.vhdx');
    const [child] = await session.done({
      cmdlet: 'New-VHD',
      parameters: {
        Path: `${root}\\child.vhdx`,
        ParentPath: `${root}\\base.vhdx`,
        Differencing: true,
        SizeBytes: 2 * GIB,
      },
      select: { VhdType: true, Size: true, ParentPath: true, VhdFormat: true },
    });
    expect(child).toEqual({
      VhdType: 'Differencing',
      VhdFormat: 'VHDX',
      Size: 2 * GIB,
      ParentPath: `${root}\\base.vhdx`,
    });
    await disk('old.vhd');
    const second = await make(2);
    expect((await session.fails(on(second, 'Add-VMHardDiskDrive', { Path: `${root}\\old.vhd` }))).message).toMatch(
      /does not support the VHD/,
    );
    await session.fails(on(second, 'Add-VMHardDiskDrive', { Path: `${root}\\child.vhdx`, ControllerType: 'IDE' }));
    await session.done(on(second, 'Add-VMHardDiskDrive', { Path: `${root}\\child.vhdx`, ControllerType: 'SCSI' }));
  });

  it('have limits', async () => {
    expect(
      (
        await session.fails({
          cmdlet: 'New-VHD',
          parameters: { Path: `${root}\\a.vhd`, Dynamic: true, SizeBytes: 2041 * GIB },
        })
      ).message,
    ).toMatch(/not valid/);
    expect(
      (
        await session.fails({
          cmdlet: 'New-VHD',
          parameters: { Path: `${root}\\a.vhdx`, Fixed: true, SizeBytes: 901 * GIB },
        })
      ).message,
    ).toMatch(/0x80070070/);
    await disk('a.vhdx');
    expect(
      (
        await session.fails({
          cmdlet: 'New-VHD',
          parameters: { Path: `${root}\\a.vhdx`, Dynamic: true, SizeBytes: GIB },
        })
      ).message,
    ).toMatch(/exists/);
    expect(
      (await session.fails({ cmdlet: 'Resize-VHD', parameters: { Path: `${root}\\a.vhdx`, SizeBytes: GIB / 2 } }))
        .message,
    ).toMatch(/smaller/);
  });

  it('go on above a checkpoint, and are merged some time after it is removed', async () => {
    const id = await make();
    await disk('a.vhdx');
    await session.done(on(id, 'Add-VMHardDiskDrive', { Path: `${root}\\a.vhdx` }));
    const path = async () => (await session.done({ ...on(id, 'Get-VMHardDiskDrive'), select: { Path: true } }))[0].Path;
    const [made] = await session.done({
      ...on(id, 'Checkpoint-VM', { SnapshotName: 'point', Passthru: true }),
      select: { Name: true, Id: true },
    });
    expect(made.Name).toBe('point');
    expect(await path()).toMatch(/\\a_[0-9A-F-]{36}\.avhdx$/);
    host.mergeTime = 20;
    await session.done(on(id, 'Remove-VMSnapshot', { Name: 'point' }));
    expect(await session.done({ ...on(id, 'Get-VMSnapshot'), select: { Name: true } })).toEqual([]);
    expect(await path()).toMatch(/avhdx$/);
    const copy = { Path: `${root}\\a.vhdx`, DestinationPath: `${root}\\copy.vhdx` };
    expect((await session.fails({ cmdlet: 'Convert-VHD', parameters: copy })).message).toMatch(/0x80070020/);
    await expect.poll(path).toBe(`${root}\\a.vhdx`);
    await session.done(on(id, 'Set-VM', { CheckpointType: 'ProductionOnly' }));
    await session.done(on(id, 'Start-VM'));
    expect((await session.fails(on(id, 'Checkpoint-VM'))).message).toMatch(/VSS/);
  });

  it('have checkpoints whose names are patterns, and may not mean themselves', async () => {
    const id = await make();
    await session.done(on(id, 'Checkpoint-VM', { SnapshotName: 'before [KB1] *' }));
    const left = async () => (await session.done({ ...on(id, 'Get-VMSnapshot'), select: { Name: true } })).length;
    for (const Name of ['before [KB1] *', 'before `[KB2`]*', 'KB1']) {
      await session.done(on(id, 'Remove-VMSnapshot', { Name }));
      expect(await left()).toBe(1);
    }
    await session.done(on(id, 'Remove-VMSnapshot', { Name: 'BEFORE `[?[A-C]1`] `*' }));
    expect(await left()).toBe(0);
  });
});

describe('networks', () => {
  const adapter = (id: string) => ({
    VMNetworkAdapter: { cmdlet: 'Get-VMNetworkAdapter', objects: vm(id), where: { MacAddress: '00155D000001' } },
  });

  it('are the switches of the host, and ports with guards', async () => {
    const id = await make();
    await session.done(
      on(id, 'Add-VMNetworkAdapter', { Name: 'port', SwitchName: 'External', StaticMacAddress: '00-15-5D-00-00-01' }),
    );
    await session.fails(on(id, 'Add-VMNetworkAdapter', { Name: 'port', SwitchName: 'None' }));
    await session.done({
      cmdlet: 'Set-VMNetworkAdapterVlan',
      parameters: { Access: true, VlanId: 7 },
      objects: adapter(id),
    });
    await session.fails({
      cmdlet: 'Set-VMNetworkAdapterVlan',
      parameters: { Access: true, VlanId: 4095 },
      objects: adapter(id),
    });
    // The first one came with the machine.
    expect(host.vms.get(id)!.adapters).toMatchObject([{ switch: null }, { vlan: 7, switch: 'External' }]);

    const acl = { Action: 'Allow', Direction: 'Inbound', Weight: 10, Protocol: 'TCP', LocalPort: '22', Stateful: true };
    const add = (parameters: object) => ({
      cmdlet: 'Add-VMNetworkAdapterExtendedAcl',
      parameters,
      objects: adapter(id),
    });
    await session.done(add(acl));
    expect((await session.fails(add(acl))).message).toMatch(/already/);
    await session.fails(add({ ...acl, Weight: 65501 }));
    await session.fails(add({ ...acl, Weight: 11, Protocol: '1' }));
  });
});

describe('files and images', () => {
  const bytes = Buffer.from('bytes of an image');
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  let begun = false;
  const served = createServer((request, response) => {
    begun = request.url === '/part';
    response.write(bytes.subarray(0, 5));
    if (request.url === '/whole') response.end(bytes.subarray(5));
  });
  const address = new Promise<number>((resolve) =>
    served.listen(0, '127.0.0.1', () => resolve((served.address() as AddressInfo).port)),
  );
  afterAll(() => {
    served.closeAllConnections();
    served.close();
  });
  const receive = async (path: string, more = {}) => ({
    cmdlet: 'Receive-HostImage',
    parameters: {
      Url: `http://127.0.0.1:${await address}/${path}`,
      Sha256: sha256.toUpperCase(),
      Size: bytes.length,
      Path: `${root}\\i\\image.vhdx`,
      ...more,
    },
  });

  it('stay below the folder of the script', async () => {
    for (const Path of ['C:\\Windows\\a', `${root}\\..\\a`, root])
      expect((await session.fails({ cmdlet: 'New-HostFolder', parameters: { Path } })).fullyQualifiedErrorId).toBe(
        'OutsideRoot,Omnivisor.Host',
      );
  });

  it('are written and read in parts', async () => {
    await session.done({ cmdlet: 'New-HostFolder', parameters: { Path: `${root}\\f` } });
    for (const [text, Append] of [
      ['abc', false],
      ['def', true],
    ] as const)
      await session.done({
        cmdlet: 'Set-HostFile',
        parameters: { Path: `${root}\\f\\a`, Base64: Buffer.from(text).toString('base64'), Append },
      });
    const read = (Offset: number) =>
      session.done({
        cmdlet: 'Get-HostFile',
        parameters: { Path: `${root}\\f\\a`, Offset, Length: 2 },
        select: { Base64: true, TotalLength: true },
      });
    expect(await read(-2)).toEqual([{ Base64: Buffer.from('ef').toString('base64'), TotalLength: 6 }]);
    expect(await read(1)).toEqual([{ Base64: Buffer.from('bc').toString('base64'), TotalLength: 6 }]);
  });

  it('are fetched whole, or not at all', async () => {
    await session.done({ cmdlet: 'New-HostFolder', parameters: { Path: `${root}\\i` } });
    expect((await session.fails(await receive('whole', { Sha256: '00' }))).fullyQualifiedErrorId).toBe(
      'WrongBytes,Omnivisor.Host',
    );
    expect((await session.fails(await receive('whole', { Size: 3 }))).fullyQualifiedErrorId).toBe(
      'WrongBytes,Omnivisor.Host',
    );
    const cut = session.ask(await receive('part'));
    await expect.poll(() => begun).toBe(true);
    session.input.write(`{"cancel":${session.lastId()}}\n`);
    expect((await cut).error!.fullyQualifiedErrorId).toBe('Cancelled,Omnivisor.Host');
    const names = async () =>
      (await session.done({ cmdlet: 'Get-HostItem', parameters: { Path: `${root}\\i` }, select: { Name: true } })).map(
        (f) => f.Name,
      );
    expect(await names()).toEqual([]);
    await session.done(await receive('whole'));
    expect(await names()).toEqual(['image.vhdx']);
  });
});

describe('a move to another host', () => {
  it('needs live migration on both, Kerberos delegation, the switch and what its disks stand on', async () => {
    const other = await new HyperVHost(join(dir, 'other'), { facts: { name: 'HV2' } }).open();
    host.peers.set('HV2', other);
    const id = await make();
    await disk('base.vhdx');
    const above = { Path: `${root}\\a.vhdx`, ParentPath: `${root}\\base.vhdx`, Differencing: true };
    await session.done({ cmdlet: 'New-VHD', parameters: above });
    await session.done(on(id, 'Add-VMHardDiskDrive', { Path: `${root}\\a.vhdx` }));
    await session.done(on(id, 'Start-VM'));
    const move = on(id, 'Move-VM', {
      DestinationHost: 'hv2.example',
      IncludeStorage: true,
      DestinationStoragePath: `${root}\\moved`,
    });
    expect((await session.fails(move)).message).toMatch(/not enabled/);
    for (const side of [host, other]) side.facts.migration = { ...side.facts.migration, enabled: true };
    expect((await session.fails(move)).message).toMatch(/base.vhdx' is not there/);
    recordDisks.copy(host.local(`${root}\\base.vhdx`), other.local(`${root}\\base.vhdx`), null);
    expect((await session.fails(move)).category).toBe('PermissionDenied');
    host.facts.migration = {
      enabled: true,
      authentication: 'Kerberos',
      delegatesTo: ['Microsoft Virtual System Migration Service/HV2'],
    };
    await session.done(move);
    expect(host.vms.size).toBe(0);
    expect(other.vms.get(id)).toMatchObject({
      State: 'Running',
      drives: [{ path: `${root}\\moved\\Virtual Hard Disks\\a.vhdx` }],
    });
    await other.close();
  });
});

it('tells whoever watches of machines that change', async () => {
  const id = await make();
  await session.done({ cmdlet: 'Watch-HostVM' });
  await session.done(on(id, 'Start-VM'));
  await host.guestShutsDown(id);
  await expect
    .poll(() => session.lines.filter((line) => line.event))
    .toEqual([
      { event: 'vm', vmId: id, enabledState: 2 },
      { event: 'vm', vmId: id, enabledState: 3 },
    ]);
});

it('joins a serial port to its log and to the agent', async () => {
  const Pipe = '\\\\.\\pipe\\omnivisor-00000000-0000-4000-8000-000000000000';
  const id = await make();
  await session.done(on(id, 'Set-VMComPort', { Number: 1, Path: Pipe }));
  await session.done({ cmdlet: 'New-HostFolder', parameters: { Path: `${root}\\f` } });
  const open = { cmdlet: 'Open-HostConsole', parameters: { VMId: id, Pipe, Log: `${root}\\f\\console.log` } };
  expect((await session.fails(open)).fullyQualifiedErrorId).toBe('PipeUnavailable,Omnivisor.Host');
  await session.done(on(id, 'Start-VM'));
  await session.done(open);
  await session.done({
    cmdlet: 'Write-HostConsole',
    parameters: { VMId: id, Base64: Buffer.from('typed').toString('base64') },
  });
  const said = () =>
    session.lines
      .filter((line) => line.event === 'console')
      .map((line) => Buffer.from(line.base64 as string, 'base64'))
      .join('');
  await expect.poll(said).toBe('guest guest is up\r\ntyped');
  await session.done(on(id, 'Stop-VM', { TurnOff: true, Force: true }));
  await expect.poll(() => session.lines.at(-1)).toEqual({ event: 'consoleEnd', vmId: id });
});
