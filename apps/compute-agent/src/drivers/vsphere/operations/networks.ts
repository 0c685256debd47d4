import { type GuestNic, HypervisorError } from '../../hypervisor-driver.js';
import type { PropertyReader } from '../transport/properties.js';
import { type AnswerObject, type ArgumentObject, listOf, Ref } from '../transport/soap.js';
import type { Updates } from '../transport/updates.js';
import { isFault } from '../transport/vim-fault.js';
import { nicType } from './hardware.js';
import type { Place } from './place.js';
import { keepsToMac, needsMacPolicy } from './port-policy.js';
import type { Device } from './records.js';

export interface NetworkSettings {
  /** Physical network to what carries it: the name of a distributed switch, of a standard one, or of a port group. */
  readonly physicalNetworks: Readonly<Record<string, string>>;
  /** The driver makes a distributed port group for a VLAN that has none yet; its role has to allow it. */
  readonly createPortGroups: boolean;
}

/** A port, with the card that stands for it here. */
export interface PlannedNic {
  readonly nic: GuestNic;
  readonly type: string;
  readonly backing: ArgumentObject;
  isBackedBy(device: Device): boolean;
}

interface PortGroup {
  readonly name: string;
  readonly switch: string;
  /** 0: untagged. */
  readonly vlan: number;
  readonly keepsToMac: boolean;
  readonly backing: ArgumentObject;
  isBackedBy(device: Device): boolean;
}

const isOpen = () =>
  new HypervisorError(
    'unsupported',
    'the port group lets guests send from any MAC address, so it cannot have a guarded port',
  );

/** Port groups of the place's switches. */
export class Networks {
  /** One port group is made once. */
  private readonly making = new Map<string, Promise<void>>();

  constructor(
    private readonly read: PropertyReader,
    private readonly updates: Updates,
    private readonly place: Place,
    private readonly settings: NetworkSettings,
  ) {}

  /**
   * @param model of cards of ports that do not say theirs, a type of the API
   * @throws HypervisorError `unsupported` for a network that is not there, or a guard that it cannot enforce
   */
  async plan(nics: readonly GuestNic[], model: string): Promise<PlannedNic[]> {
    const planned: PlannedNic[] = [];
    for (const nic of nics) {
      const policy = needsMacPolicy(nic);
      const group = await this.groupFor(nic);
      if (policy && !group.keepsToMac) throw isOpen();
      const { backing, isBackedBy } = group;
      planned.push({ nic, backing, isBackedBy, type: nic.model === null ? model : nicType(nic.model) });
    }
    return planned;
  }

  /** @throws HypervisorError `unsupported` when the port group that a card is in already cannot enforce its port's guard */
  async refuseOpen(nic: GuestNic, card: Device): Promise<void> {
    if (!needsMacPolicy(nic)) return;
    const groups = [...(await this.distributed()), ...(await this.standard())];
    if (!groups.some((group) => group.keepsToMac && group.isBackedBy(card))) throw isOpen();
  }

  private async groupFor({ attachment }: GuestNic): Promise<PortGroup> {
    if (attachment.kind !== 'provider')
      throw new HypervisorError('unsupported', 'this host has no tap devices: its ports lie on provider networks');
    const { physicalNetwork, segmentationId } = attachment;
    const target = this.settings.physicalNetworks[physicalNetwork];
    if (target === undefined)
      throw new HypervisorError('unsupported', 'a physical network is not mapped on this host', physicalNetwork);
    const vlan = segmentationId ?? 0;
    const found = await this.find(target, vlan);
    if (found) return found;
    const made = await this.makeGroup(target, vlan);
    if (made) return made;
    throw new HypervisorError(
      'unsupported',
      'the host has no port group for a network',
      `${vlan === 0 ? 'no VLAN' : `VLAN ${vlan}`} on ${physicalNetwork}`,
    );
  }

  private async find(target: string, vlan: number): Promise<PortGroup | undefined> {
    const groups = [...(await this.distributed()), ...(await this.standard())];
    const fits = groups.filter((group) => group.vlan === vlan);
    return fits.find(({ name }) => name === target) ?? fits.find((group) => group.switch === target);
  }

  private async switches(): Promise<{ ref: Ref; name: string; uuid: string }[]> {
    const found = await this.read.below(this.place.datacenter.ref, 'DistributedVirtualSwitch', ['name', 'uuid']);
    return found.map(({ ref, properties }) => ({
      ref,
      name: String(properties.name),
      uuid: String(properties.uuid),
    }));
  }

  private async distributed(): Promise<PortGroup[]> {
    const switches = await this.switches();
    if (switches.length === 0) return [];
    const paths = ['name', 'key', 'config.distributedVirtualSwitch', 'config.defaultPortConfig'];
    const found = await this.read.below(this.place.datacenter.ref, 'DistributedVirtualPortgroup', paths);
    return found.flatMap(({ properties }) => {
      const on = properties['config.distributedVirtualSwitch'];
      const owner = switches.find(({ ref }) => on instanceof Ref && ref.is(on));
      const { vlan, securityPolicy, macManagementPolicy } = (properties['config.defaultPortConfig'] ??
        {}) as AnswerObject;
      const id = (vlan as AnswerObject | undefined)?.vlanId;
      // Uplinks and trunks have ranges of them.
      if (!owner || typeof id !== 'string') return [];
      const portgroupKey = String(properties.key);
      return [
        {
          name: String(properties.name),
          switch: owner.name,
          vlan: Number(id),
          keepsToMac: keepsToMac((securityPolicy ?? macManagementPolicy) as AnswerObject | undefined),
          backing: {
            $type: 'VirtualEthernetCardDistributedVirtualPortBackingInfo',
            port: { switchUuid: owner.uuid, portgroupKey },
          },
          isBackedBy: ({ backing }: Device) => {
            const { port } = (backing ?? {}) as AnswerObject;
            return (port as AnswerObject | undefined)?.portgroupKey === portgroupKey;
          },
        },
      ];
    });
  }

  /** Port groups that each member has alike: a guest may run on any of them. */
  private async standard(): Promise<PortGroup[]> {
    const hosts = await this.read.ofAll(
      this.place.hosts.map(({ ref }) => ref),
      ['config.network.portgroup'],
    );
    const [first = [], ...others] = hosts.map(({ properties }) =>
      listOf(properties['config.network.portgroup']).map((each) => groupOf(each as AnswerObject)),
    );
    return first
      .filter((group) =>
        others.every((groups) => groups.some((each) => each.name === group.name && each.vlan === group.vlan)),
      )
      .map((group) => ({
        ...group,
        keepsToMac: [first, ...others].every((groups) =>
          groups.some((each) => each.name === group.name && each.keepsToMac),
        ),
      }));
  }

  private async makeGroup(target: string, vlan: number): Promise<PortGroup | undefined> {
    if (!this.settings.createPortGroups) return undefined;
    const on = (await this.switches()).find(({ name }) => name === target);
    if (!on) return undefined;
    const name = `${target} VLAN ${vlan}`;
    // Who has just made it is done with it, but was not when we looked.
    const make = async () => {
      if (!(await this.find(target, vlan))) await this.makeOnce(on.ref, name, vlan);
    };
    const making = this.making.get(name) ?? make().finally(() => this.making.delete(name));
    this.making.set(name, making);
    await making;
    return this.find(target, vlan);
  }

  private async makeOnce(on: Ref, name: string, vlan: number): Promise<void> {
    const no = { inherited: false, value: false };
    const defaultPortConfig = {
      $type: 'VMwareDVSPortSetting',
      vlan: { $type: 'VmwareDistributedVirtualSwitchVlanIdSpec', inherited: false, vlanId: vlan },
      securityPolicy: { inherited: false, allowPromiscuous: no, macChanges: no, forgedTransmits: no },
    };
    try {
      await this.updates.run(on, 'AddDVPortgroup_Task', {
        spec: { name, numPorts: 8, autoExpand: true, type: 'earlyBinding', defaultPortConfig },
      });
    } catch (error) {
      // The agent of another member may have been quicker.
      if (!isFault(error, 'DuplicateName')) throw error;
    }
  }
}

const groupOf = ({ spec, computedPolicy }: AnswerObject): PortGroup => {
  const { name, vlanId, vswitchName } = spec as AnswerObject;
  const { security } = (computedPolicy ?? {}) as AnswerObject;
  return {
    name: String(name),
    switch: String(vswitchName),
    vlan: Number(vlanId),
    keepsToMac: keepsToMac(security as AnswerObject | undefined),
    backing: { $type: 'VirtualEthernetCardNetworkBackingInfo', deviceName: String(name) },
    isBackedBy: ({ backing }: Device) => (backing as AnswerObject | undefined)?.deviceName === String(name),
  };
};
