import { run } from '../common/native-command.js';
import { HypervisorError } from '../hypervisor-driver.js';
import type { GuestDefinition } from './definition.js';

/**
 * QEMU with enough rights makes a tap device that is missing: one without bridge and without filter. So they have to be
 * there before it starts.
 */
export const requireTaps = async ({ nics }: GuestDefinition): Promise<void> => {
  for (const { tap, netns } of nics)
    await run('ip', [...(netns === null ? [] : ['-n', netns]), 'link', 'show', 'dev', tap]).catch(
      (error: HypervisorError) => {
        if (error.code !== 'fault') throw error;
        throw new HypervisorError('fault', 'a network device of the guest is not there', error.native, {
          cause: error,
        });
      },
    );
};
