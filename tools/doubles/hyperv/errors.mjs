/** An error record, as PowerShell would give it. */
export class ErrorRecord extends Error {
  constructor({ id, category, message, exception = 'VirtualizationException', hresult }) {
    super(message);
    this.id = id;
    this.category = category;
    this.exception = exception;
    this.hresult = hresult;
  }

  /** @param {string} cmdlet whose class completes the FullyQualifiedErrorId */
  toJSON(cmdlet) {
    return {
      fullyQualifiedErrorId: this.id.includes(',') ? this.id : `${this.id},${commandClass(cmdlet)}`,
      category: this.category,
      message: this.message,
      exception: namespaced(this.exception),
    };
  }
}

/** `Get-VM` is Microsoft.HyperV.PowerShell.Commands.GetVM; the disk cmdlets live in a namespace of their own. */
const commandClass = (cmdlet) => {
  const [verb, noun] = cmdlet.split('-');
  if (noun === 'VHD') return `Microsoft.Vhd.PowerShell.Cmdlets.${verb}Vhd`;
  return `Microsoft.HyperV.PowerShell.Commands.${verb}${noun}`;
};

const namespaced = (exception) =>
  exception === 'VirtualizationException'
    ? 'Microsoft.HyperV.PowerShell.VirtualizationException'
    : exception === 'ParameterBindingException'
      ? 'System.Management.Automation.ParameterBindingException'
      : exception;

const record = (id, category) => (message, more) => new ErrorRecord({ id, category, message, ...more });

export const invalidParameter = record('InvalidParameter', 'InvalidArgument');
export const invalidState = record('InvalidState', 'InvalidOperation');
export const operationFailed = record('OperationFailed', 'NotSpecified');
export const outOfMemory = record('OutOfMemory', 'ResourceUnavailable');
export const accessDenied = record('AccessDenied', 'PermissionDenied');
export const diskFull = (path) =>
  operationFailed(
    `Failed to create the virtual hard disk. The system failed to create '${path}'. There is not enough space on the disk. (0x80070070).`,
  );
export const noSuchVm = (by, value) =>
  invalidParameter(`Hyper-V was unable to find a virtual machine with ${by} "${value}".`);
export const wrongState = (vm, verb) =>
  invalidState(
    `'${vm.Name}' failed to ${verb}. The operation cannot be performed while the object is in its current state.`,
  );
export const notWhileRunning = (vm) =>
  invalidState(
    `The operation cannot be performed while the virtual machine is in its current state. (Virtual machine ID ${vm.Id})`,
  );

export const binding = (id, message) =>
  new ErrorRecord({ id, category: 'InvalidArgument', message, exception: 'ParameterBindingException' });
