import { Injectable } from '@nestjs/common';
import { type ImageSnapshot, inspectImage, invalid, judgeImage } from '@omnivisor/contracts';
import { GatewayCore } from '../../../core/gateway-core.js';
import { ImageLooks } from '../lifecycle/image-looks.js';
import type { ServerRow } from '../view/server.projection.js';

/** Whether the host that a server is on can start it from another image. */
@Injectable()
export class HostOfImage {
  private readonly looks: ImageLooks;

  constructor(private readonly core: GatewayCore) {
    this.looks = new ImageLooks(async (imageId) => (await core.bus.request(inspectImage, { imageId })).readiness);
  }

  /**
   * @param use its disk, as large as the server has claimed it, or one beside it
   * @throws DomainError `invalid` when it cannot; `unavailable` when no scheduler can tell
   */
  async check(
    { id: serverId, placement, flavor: own, changedAt: position }: ServerRow,
    image: ImageSnapshot,
    use: 'rebuild' | 'rescue',
  ): Promise<void> {
    // A guest that is rescued stays what its flavor made it.
    const flavor = use === 'rescue' ? { ...own, extraSpecs: {} } : own;
    const asked = { serverId, hostId: placement!.host, flavor, image: await this.looks.at(image, true), use, position };
    const { refusal } = await this.core.bus.request(judgeImage, asked);
    if (refusal !== null) throw invalid(refusal);
  }
}
