import { describe, expect, it } from 'vitest';
import { NoConnection } from '../../common/trusted-socket.js';
import { HypervisorError } from '../../hypervisor-driver.js';
import { Ref } from './soap.js';
import { faultOf, fromVim, VimFault } from './vim-fault.js';

const codeOf = (kind: string, detail = {}) => fromVim(new VimFault(kind, 'said', detail), 'trying').code;

describe('faults of a vCenter', () => {
  it('mean what the callers of a driver know', () => {
    for (const [kind, code] of [
      ['InsufficientHostMemoryCapacityFault', 'noResources'],
      ['NoDiskSpace', 'noResources'],
      ['NotSupported', 'unsupported'],
      ['NoPermission', 'unsupported'],
      ['NotAuthenticated', 'unavailable'],
      ['TaskInProgress', 'unavailable'],
      ['InvalidPowerState', 'fault'],
      ['SomethingOfTomorrow', 'fault'],
    ])
      expect([kind, codeOf(kind!)]).toEqual([kind, code]);
  });

  it('tell a guest that is gone from anything else that is', () => {
    expect(codeOf('ManagedObjectNotFound', { obj: new Ref('VirtualMachine', 'vm-1') })).toBe('serverNotOnHost');
    expect(codeOf('ManagedObjectNotFound', { obj: new Ref('Datastore', 'ds-1') })).toBe('fault');
  });

  it('keep the native words out of the message', () => {
    const error = fromVim(new VimFault('FileNotFound', '[secret-store] customer/disk.vmdk'), 'starting the guest');
    expect([error.message, error.native]).toEqual([
      'starting the guest was refused',
      'FileNotFound: [secret-store] customer/disk.vmdk',
    ]);
  });

  it('are not answered at all by a vCenter that is gone', () => {
    expect(fromVim(new NoConnection('no answer in 30000 ms'), 'asking')).toMatchObject({ code: 'unavailable' });
  });

  it('are passed on when they are told already', () => {
    const error = new HypervisorError('unsupported', 'no');
    expect(fromVim(error, 'again')).toBe(error);
  });

  it('are named by the type of their detail, or by its element', () => {
    const typed = { NotAuthenticatedFault: { $type: 'NotAuthenticated', object: 'x' } };
    expect(faultOf({ faultstring: 'say', detail: typed }).kind).toBe('NotAuthenticated');
    expect(faultOf({ faultstring: 'say', detail: { InvalidLoginFault: '' } }).kind).toBe('InvalidLogin');
    expect(faultOf({ faultstring: 'say' }).kind).toBe('UnknownFault');
  });
});
