import { conflict, judgeImage } from '@omnivisor/contracts';
import type { Subscription } from '@omnivisor/platform/ports';
import type { z } from 'zod';
import type { ActivePart, SchedulerCore } from '../core/scheduler-core.js';
import { type GuestWants, type Refusal, refusal } from './candidate.js';
import { firstRefusal } from './decision.js';
import { guestFilters } from './filters/index.js';
import type { Claim } from './provider/provider.js';
import { guestWants } from './wanted.js';

/**
 * Says whether a server can start from another image where it is. Its host may be disabled or full: the server is there
 * already, with its claim.
 */
export class ImageJudge implements ActivePart {
  readonly name = 'image judge';
  private subscription: Subscription | undefined;

  constructor(private readonly core: SchedulerCore) {}

  async start(): Promise<void> {
    this.subscription = await this.core.bus.respond(judgeImage, (question) => this.judge(question));
  }

  async stop(): Promise<void> {
    await this.subscription?.close();
  }

  private async judge(question: z.output<typeof judgeImage.request>): Promise<z.input<typeof judgeImage.reply>> {
    const world = await this.core.upTo(question.position);
    const host = world.index.get(question.hostId);
    const provider = host && world.providers.get(host.providerId);
    if (!provider) throw conflict('The host of the server is not known any more.');
    const wants = { ...guestWants(question), use: question.use };
    const claims = [...provider.claims.values()].filter(({ serverId }) => serverId === question.serverId);
    const no =
      firstRefusal(guestFilters, wants, host.hostClass) ??
      (question.use === 'rebuild' ? diskShortage(wants, claims) : null);
    if (!no) return { refusal: null };
    const { constraint, wanted, had } = no;
    const reason = `That of the server fails ${constraint} (wanted ${wanted}, has ${had}).`;
    return { refusal: `No valid host was found. ${reason}` };
  }
}

/** Where the flavor says nothing of the disk, the image does; a claim stays as it is. */
const diskShortage = ({ request, resources }: GuestWants, claims: readonly Claim[]): Refusal | null => {
  const wanted = resources.DISK_GB ?? 0;
  const had = claims.reduce((sum, claim) => sum + (claim.resources.DISK_GB ?? 0), 0);
  return request.flavor.disk > 0 || wanted <= had ? null : refusal('DISK_GB', String(wanted), String(had));
};
