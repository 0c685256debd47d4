import { type GuestNic, HypervisorError } from '../../hypervisor-driver.js';
import { type XapiSession } from '../transport/xapi-session.js';
import { type NetworkRecord, NULL_REF, type PifRecord, type Ref } from './records.js';

export interface NetworkSettings {
  /**
   * Physical network to what carries it: a network of the pool (UUID or name), or the device of the members' interfaces
   * (`eth1`, `bond0`).
   */
  readonly physicalNetworks: Readonly<Record<string, string>>;
  /** The driver makes a VLAN that the pool does not have yet; its role has to allow it. */
  readonly createVlans: boolean;
}

/** In `other_config` of a network that the driver made. */
const MADE_KEY = 'omnivisor-vlan';

/** Finds the pool's network for a port; VLANs are looked for by the interface and the tag they lie on. */
export class Networks {
  /** One VLAN is made once. */
  private readonly making = new Map<string, Promise<Ref>>();

  constructor(
    private readonly xapi: XapiSession,
    private readonly settings: NetworkSettings,
  ) {}

  /** @throws HypervisorError `unsupported` for a network that is not mapped or not there */
  async networkFor({ attachment }: GuestNic): Promise<Ref> {
    if (attachment.kind !== 'provider')
      throw new HypervisorError('unsupported', 'this pool has no tap devices: its ports lie on provider networks');
    const { physicalNetwork, segmentationId, networkType } = attachment;
    const target = this.settings.physicalNetworks[physicalNetwork];
    if (target === undefined)
      throw new HypervisorError('unsupported', 'a physical network is not mapped in this pool', physicalNetwork);
    const [networks, pifs] = await Promise.all([
      this.xapi.call<Record<Ref, NetworkRecord>>('network.get_all_records'),
      this.xapi.call<Record<Ref, PifRecord>>('PIF.get_all_records'),
    ]);
    const named = Object.entries(networks).find(([, { uuid, name_label }]) => uuid === target || name_label === target);
    const under = Object.entries(pifs).filter(([, pif]) =>
      named ? pif.network === named[0] : pif.device === target && pif.VLAN === -1,
    );
    if (networkType === 'flat') {
      const network = named?.[0] ?? under[0]?.[1].network;
      if (network === undefined || network === NULL_REF) throw notThere(physicalNetwork);
      return network;
    }
    const devices = new Set(under.map(([, { device }]) => device));
    if (devices.size === 0) throw notThere(physicalNetwork);
    const tag = segmentationId ?? 0;
    return tagged(pifs, devices, tag) ?? this.makeVlan(physicalNetwork, tag, under[0]![0], devices);
  }

  private makeVlan(physicalNetwork: string, tag: number, pif: Ref, devices: ReadonlySet<string>): Promise<Ref> {
    if (!this.settings.createVlans)
      throw new HypervisorError(
        'unsupported',
        'the pool lacks the VLAN of a network',
        `VLAN ${tag} on ${physicalNetwork}`,
      );
    const key = `${physicalNetwork} ${tag}`;
    const running = this.making.get(key);
    if (running) return running;
    const made = this.makeVlanOnce(key, tag, pif, devices).finally(() => this.making.delete(key));
    this.making.set(key, made);
    return made;
  }

  private async makeVlanOnce(key: string, tag: number, pif: Ref, devices: ReadonlySet<string>): Promise<Ref> {
    const network = await this.xapi.call<Ref>('network.create', {
      name_label: `VLAN ${tag} (${key})`,
      name_description: '',
      other_config: { [MADE_KEY]: key },
      tags: [],
      MTU: 1500,
    });
    try {
      await this.xapi.call('pool.create_VLAN_from_PIF', pif, network, tag);
      return network;
    } catch (error) {
      await this.xapi.call('network.destroy', network).catch(() => undefined);
      // The agent of another member may have been quicker.
      const there = tagged(await this.xapi.call('PIF.get_all_records'), devices, tag);
      if (there === undefined) throw error;
      return there;
    }
  }
}

/** The network of a VLAN on one of these interfaces. */
const tagged = (pifs: Readonly<Record<Ref, PifRecord>>, devices: ReadonlySet<string>, tag: number): Ref | undefined =>
  Object.values(pifs).find(({ device, VLAN }) => devices.has(device) && VLAN === tag)?.network;

const notThere = (physicalNetwork: string) =>
  new HypervisorError('unsupported', 'what a physical network is mapped to is not in this pool', physicalNetwork);
