import { describe, expect, it } from 'vitest';
import { CmdletError } from './host-errors.js';

const error = (id: string, message: string, category = 'NotSpecified') =>
  new CmdletError('Start-VM', { fullyQualifiedErrorId: `${id},Some.Class`, category, message, exception: 'E' });

it.each([
  ['OutOfMemory', 'Not enough memory in the system', 'noResources'],
  ['OperationFailed', 'There is not enough space on the disk. (0x80070070).', 'noResources'],
  ['OperationFailed', 'The RPC server is unavailable. (0x800706BA)', 'unavailable'],
  ['WebException', 'connection refused', 'unavailable'],
  ['NamedParameterNotFound', 'A parameter cannot be found', 'unsupported'],
  ['InvalidState', 'not in this state', 'fault'],
  ['AccessDenied', 'no permission', 'fault'],
])('%s (%s) is %s', (id, message, code) => {
  const made = error(id, message);
  expect(made.code).toBe(code);
  // The words of the host are for the log.
  expect(made.message).not.toContain(message);
  expect(made.native).toBe(`Start-VM: ${id},Some.Class: ${message}`);
});

it('knows a full disk by its number, in whatever language the host speaks', () => {
  const record = {
    fullyQualifiedErrorId: 'IOException',
    category: 'NotSpecified',
    message: 'Der Platz reicht nicht.',
    exception: 'E',
  };
  expect(new CmdletError('Receive-HostImage', { ...record, hresult: '0x80070070' }).code).toBe('noResources');
});

describe('a machine', () => {
  const failed = (fullyQualifiedErrorId: string, category: string) =>
    new CmdletError('Get-VM', { fullyQualifiedErrorId, category, message: 'Das ging nicht.', exception: 'E' });
  const commands = 'Microsoft.HyperV.PowerShell.Commands';

  it('that is not there is told from other failures, in whatever language the host speaks', () => {
    expect(failed(`InvalidParameter,${commands}.GetVM`, 'InvalidArgument').notFound).toBe(true);
    expect(failed(`InvalidParameter,${commands}.SetVM`, 'InvalidArgument').notFound).toBe(false);
  });

  it('is not known to be gone where the service does not answer', () => {
    const error = failed(`ObjectNotFound,${commands}.GetVM`, 'ObjectNotFound');
    expect(error).toMatchObject({ notFound: false, code: 'unavailable' });
  });
});
