import { Controller } from '@nestjs/common';
import { type Call, Operation } from '@omnivisor/openstack';
import { GatewayCore } from '../../core/gateway-core.js';
import { serverOf } from '../common/access.js';
import { guestView } from './guest.view.js';
import { Guests } from './guests.js';

const policy = 'omnivisor:guest:show';

/** What a server's guest tells of itself; an extension of ours for its project. */
@Controller()
export class GuestController {
  constructor(
    private readonly core: GatewayCore,
    private readonly guests: Guests,
  ) {}

  @Operation({
    ...{ service: 'compute', method: 'GET', path: '/v2.1/servers/:id/os-omnivisor-guest', policy, live: true },
    summary: 'What the guest of a server tells of itself, as it is now.',
  })
  async show(call: Call) {
    const rows = await this.core.fresh();
    return guestView(await this.guests.tell(rows, await serverOf(call, rows, call.params.id!, policy)));
  }
}
