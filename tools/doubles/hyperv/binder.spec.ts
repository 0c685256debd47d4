import { describe, expect, it } from 'vitest';
import { bind, LiveObject } from './binder.mjs';

const vm = new LiveObject('VirtualMachine', { Id: 'the machine' });
const refusal = (name: string, given: Record<string, unknown>) => {
  try {
    bind(name, given);
  } catch (error) {
    return (error as { toJSON(cmdlet: string): { fullyQualifiedErrorId: string } }).toJSON(name);
  }
  return expect.fail('it was bound');
};

describe('binding parameters by name', () => {
  it('chooses the set that has all of them, and converts what PowerShell converts', () => {
    expect(bind('Set-VMMemory', { VM: vm, StartupBytes: 2 ** 31, DynamicMemoryEnabled: false })).toEqual({
      set: 'VMObject',
      parameters: { VM: [{ Id: 'the machine' }], StartupBytes: 2 ** 31, DynamicMemoryEnabled: false },
    });
    expect(bind('Set-VMFirmware', { VM: vm, EnableSecureBoot: 'off' }).parameters.EnableSecureBoot).toBe('Off');
    expect(bind('Get-VM', {}).set).toBe('Name');
  });

  it('refuses a parameter that is not there', () => {
    expect(refusal('Set-VMMemory', { VM: vm, Size: 1 })).toMatchObject({
      fullyQualifiedErrorId: 'NamedParameterNotFound,Microsoft.HyperV.PowerShell.Commands.SetVMMemory',
      category: 'InvalidArgument',
      message: "A parameter cannot be found that matches parameter name 'Size'.",
    });
  });

  it('refuses parameters of two sets', () => {
    expect(refusal('Get-VM', { Name: 'a', Id: '00000000-0000-4000-8000-000000000000' }).fullyQualifiedErrorId).toMatch(
      /^AmbiguousParameterSet,/,
    );
    expect(
      refusal('New-VHD', { Path: 'C:\\a.vhdx', Differencing: true, Fixed: true, SizeBytes: 1 }).fullyQualifiedErrorId,
    ).toBe('AmbiguousParameterSet,Microsoft.Vhd.PowerShell.Cmdlets.NewVhd');
  });

  it('refuses when a mandatory one is missing', () => {
    expect(refusal('Start-VM', {})).toMatchObject({
      fullyQualifiedErrorId: 'MissingMandatoryParameter,Microsoft.HyperV.PowerShell.Commands.StartVM',
      message: 'Cannot process command because of one or more missing mandatory parameters: Name.',
    });
  });

  it.each([
    ['Set-VMProcessor', { VM: vm, Count: 'two' }],
    ['Set-VMProcessor', { VM: vm, Count: 1.5 }],
    ['Set-VM', { VM: vm, AutomaticStartDelay: 2 ** 31 }],
    ['Set-VM', { VM: vm, StaticMemory: 'yes' }],
    ['Set-VM', { VM: vm, CheckpointType: 'Often' }],
    ['Get-VM', { Id: 'not a guid' }],
    ['Start-VM', { VM: 'a name' }],
    ['Start-VM', { VM: new LiveObject('VMSwitch', {}) }],
    ['Connect-VMNetworkAdapter', { VMNetworkAdapter: vm, SwitchName: 'a' }],
  ])('refuses a value of a wrong type: %s %o', (name, given) => {
    expect(refusal(name, given).fullyQualifiedErrorId).toMatch(/^CannotConvertArgumentNoMessage,/);
  });

  it.each([
    ['New-VM', { Name: 'a', Generation: 3 }],
    ['Set-VMComPort', { VM: vm, Number: 3 }],
  ])('refuses a value that is not among the accepted ones: %s %o', (name, given) => {
    expect(refusal(name, given).fullyQualifiedErrorId).toMatch(/^ParameterArgumentValidationError,/);
  });

  it('refuses null', () => {
    expect(refusal('Start-VM', { VM: null }).fullyQualifiedErrorId).toMatch(/NullNotAllowed,/);
  });
});
