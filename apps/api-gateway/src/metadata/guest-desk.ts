import { randomBytes } from 'node:crypto';
import { type HostId, type hostBus, type ImageFormat, invalid, signImageUrl } from '@omnivisor/contracts';
import type { RowReader } from '@omnivisor/eventsourcing';
import type { Vault } from '@omnivisor/eventsourcing/vault';
import type { z } from 'zod';
import { openedFiles } from '../compute/server/create/injected-files.js';
import { type ServerRow, serverTable } from '../compute/server/view/server.projection.js';
import type { GatewayCore } from '../core/gateway-core.js';
import { settled } from '../core/settled.js';
import { answerMetadata, configDriveFiles, type GuestSecrets } from './instance-documents.js';
import type { GuestPort } from './network-data.js';

/** What a host fetches of an image. */
type BootImage = Pick<ServerRow['image'], 'id'>;
type Boot = NonNullable<z.input<typeof hostBus.serverBoot.reply>>;
type Plug = z.input<typeof hostBus.PortPlug>;
type Plan = z.input<typeof hostBus.NetworkPlan>;

/** What guests may know of themselves, from the network's side. */
export interface GuestNetwork {
  plugs(rows: RowReader, servers: readonly ServerRow[]): Promise<Map<string, Plug[]>>;
  plans(rows: RowReader, networkIds: string[]): Promise<Plan[]>;
  serverAt(rows: RowReader, networkId: string, address: string): Promise<string | null>;
}

/** Seconds that a host has to fetch the bytes of an image. */
const IMAGE_URL_LIFETIME = 3_600;

/** Answers what a guest, or its host for it, may ask: image bytes, config drive, metadata. */
export class GuestDesk {
  constructor(
    private readonly core: GatewayCore,
    private readonly network: GuestNetwork,
    private readonly vault: Vault,
  ) {}

  /**
   * @param image whose bytes the host needs
   * @param formats what the host's driver takes, best first; undefined for the image's own
   */
  async boot(
    server: ServerRow,
    image: ServerRow['image'],
    hostId: HostId,
    formats?: readonly ImageFormat[],
  ): Promise<Boot> {
    const [{ url, format }, files] = await settled([
      this.signed(image, hostId, formats),
      server.configDrive ? this.configDrive(server) : null,
    ]);
    return {
      imageUrl: url,
      imageId: image.id,
      ...(format ? { imageFormat: format } : {}),
      configDrive:
        files && Object.fromEntries([...files].map(([path, contents]) => [path, contents.toString('base64')])),
    };
  }

  /** What the hypervisor starts of an image that has a kernel beside its disk. */
  async kernel({ kernel, ramdisk }: ServerRow['image'], hostId: HostId): Promise<Pick<Boot, 'kernel' | 'ramdisk'>> {
    const url = async (image: BootImage) => ({ imageUrl: (await this.signed(image, hostId)).url });
    return {
      ...(kernel ? { kernel: await url(kernel) } : {}),
      ...(ramdisk ? { ramdisk: await url(ramdisk) } : {}),
    };
  }

  /** Only for servers that the log places on the host that asks. */
  async metadata(
    rows: RowReader,
    hostId: HostId,
    request: z.output<typeof hostBus.metadata.request>,
  ): Promise<z.input<typeof hostBus.metadata.reply>> {
    const id = await this.network.serverAt(rows, request.networkId, request.sourceAddress);
    const server = id === null ? undefined : await rows.get(serverTable, id);
    if (!server || server.onHost !== hostId || server.deleted) throw invalid('this host has no such guest');
    return answerMetadata(request.path, server, await this.guestPorts(rows, server), await this.secrets(server));
  }

  private signed({ id }: BootImage, hostId: HostId, formats?: readonly ImageFormat[]) {
    const wanted = { imageId: id, hostId, expiresIn: IMAGE_URL_LIFETIME };
    return this.core.bus.request(signImageUrl, { ...wanted, ...(formats ? { formats: [...formats] } : {}) });
  }

  private async configDrive(server: ServerRow) {
    return configDriveFiles(server, await this.guestPorts(this.core.readModel, server), await this.secrets(server));
  }

  private async guestPorts(rows: RowReader, server: ServerRow): Promise<GuestPort[]> {
    const plugs = (await this.network.plugs(rows, [server])).get(server.id) ?? [];
    const plans = await this.network.plans(rows, [...new Set(plugs.map((p) => p.networkId as string))]);
    return plugs.map((plug) => {
      const subnets = plans.find((p) => p.networkId === plug.networkId)?.subnets ?? [];
      const addresses = plug.fixedIps.flatMap(({ address, subnetId }) => {
        const subnet = subnets.find((s) => s.subnetId === subnetId);
        return subnet ? [{ address, subnet }] : [];
      });
      return { portId: plug.portId, networkId: plug.networkId, mac: plug.mac, mtu: plug.mtu, addresses };
    });
  }

  private async secrets(server: ServerRow): Promise<GuestSecrets> {
    const { userData, injectedFiles } = server;
    const files = injectedFiles ? openedFiles(await this.vault.get(injectedFiles)) : [];
    return {
      userData: userData ? Buffer.from(await this.vault.get(userData.ref)) : null,
      files: files.map(({ path, contents }) => ({ path, contents: Buffer.from(contents, 'base64') })),
      randomSeed: randomBytes(512),
    };
  }
}
