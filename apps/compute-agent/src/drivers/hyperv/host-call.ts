import type { CmdletParameters } from './generated/cmdlets.js';

/** Functions of the host script (`host/omnivisor-host.ps1`), beside the cmdlets. Paths lie below its folder. */
export interface HostFunctions {
  'Get-HostFact': Record<never, never>;
  'Wait-HostCall': Record<never, never>;
  'Receive-HostImage': { readonly Url: string; readonly Sha256: string; readonly Size: number; readonly Path: string };
  'New-HostFolder': { readonly Path: string };
  'Get-HostItem': { readonly Path: string };
  'Remove-HostItem': { readonly Path: string };
  /** A negative offset counts from the end. */
  'Get-HostFile': { readonly Path: string; readonly Offset: number; readonly Length: number };
  'Set-HostFile': { readonly Path: string; readonly Base64: string; readonly Append: boolean };
  'Move-HostFile': { readonly Path: string; readonly Destination: string };
  'Send-HostShutdown': { readonly VMId: string };
  'Get-HostGuestFact': { readonly VMId: string };
  'Get-HostMigration': { readonly VMId: string };
  'Stop-HostMigration': { readonly VMId: string };
  'Watch-HostVM': Record<never, never>;
  'Open-HostConsole': { readonly VMId: string; readonly Pipe: string; readonly Log: string };
  'Write-HostConsole': { readonly VMId: string; readonly Base64: string };
}

export type HostCommands = CmdletParameters & HostFunctions;
export type HostCommand = keyof HostCommands;

/** A property tree that a call gives back. */
export type Selection = { readonly [property: string]: true | Selection };

/** One call as the host script reads it. */
export interface WireCall {
  readonly cmdlet: string;
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly objects?: Readonly<Record<string, WireCall>>;
  readonly where?: Readonly<Record<string, string | number>>;
  readonly select?: Selection;
}

/** A parameter value that only the host has: what another call gives there. */
export class HostObject {
  constructor(readonly call: WireCall) {}
}

export const wireCall = <C extends HostCommand>(
  cmdlet: C,
  parameters: HostCommands[C],
  more: Pick<WireCall, 'where' | 'select'> = {},
): WireCall => {
  const values: Record<string, unknown> = {};
  const objects: Record<string, WireCall> = {};
  for (const [name, value] of Object.entries(parameters))
    if (value instanceof HostObject) objects[name] = value.call;
    else if (value !== undefined) values[name] = value;
  return { cmdlet, parameters: values, ...(Object.keys(objects).length > 0 ? { objects } : {}), ...more };
};

/** The object that a call gives; `where` picks it among several. */
export const hostObject = <C extends HostCommand>(
  cmdlet: C,
  parameters: HostCommands[C],
  where?: WireCall['where'],
): HostObject => new HostObject(wireCall(cmdlet, parameters, where ? { where } : {}));

/** A virtual machine by its id: names are neither unique nor ours alone. */
export const machine = (vmId: string): HostObject => hostObject('Get-VM', { Id: vmId });
