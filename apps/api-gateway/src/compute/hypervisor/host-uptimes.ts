import { Injectable } from '@nestjs/common';
import { DomainError, invalid, seconds, unavailable, unsupported } from '@omnivisor/contracts';
import { LRUCache } from 'lru-cache';
import { GatewayCore } from '../../core/gateway-core.js';
import type { HostRow } from '../host/host.projection.js';
import { LiveAnswers } from '../host/live-answers.js';

/** One host that hangs must not keep a list of all. */
const DEADLINE = seconds(2);
/** For how long a list says what it has heard, or not heard, of a host: a page that is looked at asks every few seconds. */
const KEPT = seconds(30);
const MAX_HOSTS = 10_000;
const LONGEST = 255;

/** What `uptime` says on hosts, asked at the time of the request. */
@Injectable()
export class HostUptimes {
  private readonly heard = new LRUCache<string, { readonly until: number; readonly line: Promise<string | null> }>({
    max: MAX_HOSTS,
  });

  constructor(
    private readonly core: GatewayCore,
    private readonly live: LiveAnswers,
  ) {}

  /** @throws DomainError `invalid` of a host that is down, `unsupported` where nobody is on its machine, `unavailable` */
  async of(host: HostRow): Promise<string> {
    if (!host.up) throw invalid(`Compute service of ${host.name} is unavailable at this time.`);
    const answer = await this.live.ask(host.id, { kind: 'uptime' }, DEADLINE);
    if (answer.unsupported) throw unsupported('The requested functionality is not supported.');
    if (!answer.ok) throw unavailable('The host does not tell how long it is up now.');
    return answer.body.replace(/[^\x20-\x7e]/g, '').slice(0, LONGEST);
  }

  /** Null where it is not to be had; of the past, too: the log has not kept it. */
  async known(host: HostRow): Promise<string | null> {
    if (this.core.isLookingBack) return null;
    try {
      return await this.of(host);
    } catch (error) {
      if (error instanceof DomainError) return null;
      throw error;
    }
  }

  /** The same for a list: each host is asked, and one that hangs is waited for, now and then. */
  async listed(host: HostRow): Promise<string | null> {
    if (!host.up || this.core.isLookingBack) return null;
    const now = Date.parse(this.core.clock.now());
    const kept = this.heard.get(host.id);
    if (kept && kept.until > now) return kept.line;
    const line = this.known(host);
    this.heard.set(host.id, { until: now + KEPT, line });
    line.catch(() => this.heard.delete(host.id));
    return line;
  }
}
