import { expect, it } from 'vitest';
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

it('tells a machine or file that is not there from other failures', () => {
  expect(error('InvalidParameter', 'Hyper-V was unable to find a virtual machine with name "a".').notFound).toBe(true);
  expect(error('InvalidParameter', 'another parameter').notFound).toBe(false);
});
