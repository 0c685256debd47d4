/** An error record, as PowerShell would give it. */
export class ErrorRecord extends Error {
  constructor({ id, category, message, exception = 'VirtualizationException', hresult }) {
    super(message);
    this.id = id;
    this.category = category;
    this.exception = exception;
    this.hresult = hresult;
  }

  /**
   * @param {string} cmdlet whose class completes the FullyQualifiedErrorId, where no inner one has failed
   * @param {string} language other than English: the text is another, and a code in it the same
   */
  toJSON(cmdlet, language = 'en') {
    const code = /\(0x[0-9a-f]{8}\)/i.exec(this.message)?.[0];
    const isOurs = this.id.endsWith(',Omnivisor.Host');
    return {
      fullyQualifiedErrorId: this.id.includes(',') ? this.id : `${this.id},${commandClass(this.cmdlet ?? cmdlet)}`,
      category: this.category,
      message:
        language === 'en' || isOurs
          ? this.message
          : ['Fehler beim Ausführen des Vorgangs.', code].filter(Boolean).join(' '),
      exception: namespaced(this.exception),
      ...(this.hresult ? { hresult: this.hresult } : {}),
    };
  }

  /** @param {string} cmdlet that failed so */
  of(cmdlet) {
    this.cmdlet ??= cmdlet;
    return this;
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
export const objectNotFound = record('ObjectNotFound', 'ObjectNotFound');
/** What .NET says of a file that somebody has open. */
export const fileInUse = (path) =>
  new ErrorRecord({
    id: 'IOException',
    category: 'NotSpecified',
    message: `Exception calling "Delete" with "2" argument(s): "The process cannot access the file '${path}' because it is being used by another process."`,
    exception: 'System.Management.Automation.MethodInvocationException',
    hresult: '0x80070020',
  });
/** WMI does not know an account that has come over the network, and is no administrator. */
export const wmiAccessDenied = () =>
  new ErrorRecord({
    id: 'HRESULT 0x80041003,Microsoft.Management.Infrastructure.CimCmdlets.GetCimInstanceCommand',
    category: 'PermissionDenied',
    message: 'Access denied ',
    exception: 'Microsoft.Management.Infrastructure.CimException',
    hresult: '0x80041003',
  });
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
