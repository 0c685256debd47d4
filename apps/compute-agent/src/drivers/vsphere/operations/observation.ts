import { mib } from '@omnivisor/contracts';
import {
  type ConsoleTicket,
  type ConsoleTicketKind,
  type GuestIntegrationInfo,
  type GuestStatistics,
  HypervisorError,
} from '../../hypervisor-driver.js';
import type { PropertyReader } from '../transport/properties.js';
import { type AnswerObject, listOf } from '../transport/soap.js';
import type { VimSession } from '../transport/vim-session.js';
import type { Guest } from './guests.js';
import type { Performance } from './performance.js';
import { devicesOf, isNic } from './records.js';

/** Nothing is counted: a vCenter has samples of 20 seconds, and no sums. */
const UNCOUNTED = { readBytes: null, readRequests: null, writeBytes: null, writeRequests: null, errors: null };
const HTTPS = 443;

/** What can be seen of a guest from outside. */
export class Observation {
  constructor(
    private readonly session: VimSession,
    private readonly read: PropertyReader,
    private readonly performance: Performance,
  ) {}

  async consoleTicket({ vm }: Guest, kind: ConsoleTicketKind): Promise<ConsoleTicket> {
    if (kind !== 'mks') throw new HypervisorError('unsupported', `a guest of this host has no ${kind} console`);
    if (vm.power !== 'running') throw new HypervisorError('unavailable', 'the guest is off');
    const answer = (await this.session.call(vm.ref, 'AcquireTicket', { ticketType: 'webmks' })) as AnswerObject;
    const { ticket, host, port, sslThumbprint } = answer;
    return {
      kind,
      host: host === undefined ? this.session.host : String(host),
      port: port === undefined ? HTTPS : Number(port),
      accessPath: String(ticket),
      thumbprint: sslThumbprint === undefined ? null : String(sslThumbprint),
    };
  }

  /** As VMware Tools tell it. They are the tenant's: nothing of it is sure. */
  async integration({ vm }: Guest): Promise<GuestIntegrationInfo> {
    if (vm.power !== 'running') throw new HypervisorError('fault', 'a guest that is off tells nothing');
    const guest = await this.read.of(vm.ref, [
      ...['guest.hostName', 'guest.guestFullName', 'guest.net', 'guest.ipAddress', 'guest.toolsRunningStatus'],
    ]);
    const text = (name: string) => (guest[name] === undefined || guest[name] === '' ? null : String(guest[name]));
    const cards = listOf(guest['guest.net']).flatMap((net) => listOf((net as AnswerObject).ipAddress).map(String));
    const first = text('guest.ipAddress');
    return {
      hostname: text('guest.hostName'),
      operatingSystem: text('guest.guestFullName'),
      addresses: [...new Set([...(first === null ? [] : [first]), ...cards])],
      services: [{ name: 'VMware Tools', answers: guest['guest.toolsRunningStatus'] === 'guestToolsRunning' }],
    };
  }

  async statistics({ vm, state }: Guest): Promise<GuestStatistics> {
    if (vm.power !== 'running') throw new HypervisorError('fault', 'a guest that is off has no statistics');
    const { 'summary.quickStats': stats = {}, 'config.hardware.device': devices } = await this.read.of(vm.ref, [
      'summary.quickStats',
      'config.hardware.device',
    ]);
    const quick = stats as AnswerObject;
    const cards = new Map(
      devicesOf(devices)
        .filter(isNic)
        .map((card) => [String(card.macAddress).toLowerCase(), card.key]),
    );
    const rates = await this.performance.ratesOf(vm.ref, vm.vcpus, [...cards.values()]);
    const rateOf = (mac: string) => rates.cards.get(cards.get(mac) ?? '');
    const number = (name: string) => (quick[name] === undefined ? null : Number(quick[name]));
    const used = number('hostMemoryUsage');
    return {
      uptime: number('uptimeSeconds'),
      cpus: rates.cpus.map((utilisation) => ({ time: null, utilisation })),
      memory: { maximum: mib(vm.memoryMib), used: used === null ? null : mib(used) },
      nics: state.nics.map(({ portId, mac }) => ({
        ...{ portId, mac, received: null, sent: null },
        receivedRate: rateOf(mac)?.received ?? null,
        sentRate: rateOf(mac)?.sent ?? null,
      })),
      disks: [
        ...state.disks.map(({ role }) => role),
        ...(state.config === null ? [] : ['config']),
        ...state.volumes.map(({ diskId }) => diskId),
      ].map((disk) => ({ disk, ...UNCOUNTED })),
    };
  }
}
