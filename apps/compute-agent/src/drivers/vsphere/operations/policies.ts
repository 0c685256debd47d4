import { HypervisorError } from '../../hypervisor-driver.js';
import { type AnswerObject, type ArgumentObject, listOf, Ref } from '../transport/soap.js';
import type { VimSession } from '../transport/vim-session.js';

const SERVICE = { service: 'pbm' } as const;

/** Storage policies of a vCenter, by the name that a flavor asks for. */
export class Policies {
  constructor(private readonly session: VimSession) {}

  /**
   * For the VM's files and disks.
   * @throws HypervisorError `unsupported` when there is no such policy
   */
  async find(name: string | null): Promise<ArgumentObject[] | undefined> {
    if (name === null) return undefined;
    const content = (await this.session.call(
      new Ref('PbmServiceInstance', 'ServiceInstance'),
      'PbmRetrieveServiceContent',
      {},
      SERVICE,
    )) as AnswerObject;
    const manager = content.profileManager as Ref;
    const profileIds = listOf(
      await this.session.call(
        manager,
        'PbmQueryProfile',
        { resourceType: { resourceType: 'STORAGE' }, profileCategory: 'REQUIREMENT' },
        SERVICE,
      ),
    ).map((id) => ({ uniqueId: String((id as AnswerObject).uniqueId) }));
    const profiles = listOf(await this.session.call(manager, 'PbmRetrieveContent', { profileIds }, SERVICE));
    const found = profiles.find((profile) => (profile as AnswerObject).name === name) as AnswerObject | undefined;
    if (!found) throw new HypervisorError('unsupported', `the vCenter has no storage policy ${name}`);
    const { uniqueId } = found.profileId as AnswerObject;
    return [{ $type: 'VirtualMachineDefinedProfileSpec', profileId: String(uniqueId) }];
  }
}
