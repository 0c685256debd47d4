import { Controller } from '@nestjs/common';
import type { UserId } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import type { z } from 'zod';
import { AdoptionBody, guestView } from './adoption.schema.js';
import { Adoptions } from './adoptions.js';

const compute = 'compute' as const;
const guests = '/v2.1/os-hypervisors/:id/os-omnivisor-guests';

/** Guests that are there already, and who takes them over; an extension of ours for administrators. */
@Controller()
export class AdoptionController {
  constructor(private readonly adoptions: Adoptions) {}

  @Operation({
    ...{ service: compute, method: 'GET', path: guests, policy: 'omnivisor:guests:list', live: true },
    summary: 'Guests of a host that nobody manages.',
  })
  async list(call: Call) {
    return { guests: (await this.adoptions.candidates(call.params.id ?? '')).map(guestView) };
  }

  @Operation({
    ...{ service: compute, method: 'POST', path: guests, policy: 'omnivisor:guests:adopt' },
    ...{ status: 202, body: AdoptionBody },
    summary: 'Makes a guest a server of a project, as it is and without a restart.',
  })
  async adopt(call: Call) {
    const { adoption } = call.body as z.output<typeof AdoptionBody>;
    const by = call.token.userId as UserId;
    const id = await this.adoptions.adopt(call.params.id ?? '', adoption, by, (step) => call.context(step));
    return { server: { id } };
  }

  @Operation({
    ...{ service: compute, method: 'POST', path: '/v2.1/servers/:id/os-omnivisor-release' },
    ...{ policy: 'omnivisor:guests:release', status: 202 },
    summary: 'Gives an adopted guest back: it goes on as it is, and is no server any more.',
  })
  async release(call: Call) {
    await this.adoptions.release(call.params.id ?? '', call.context());
  }
}
