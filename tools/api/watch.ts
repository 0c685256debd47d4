import type { ApiAnswer, ApiCloud } from '../simulate/api-cloud.js';
import type { Route } from './paths.js';
import { SEALED, SECRET } from './samples.js';

/** What is said of a refusal in each service's own form; undefined when it is in another. */
export const faultIn = (service: string, { status, text, json, headers }: ApiAnswer): unknown => {
  if (service === 'identity' || status === 401) return json?.error?.code === status ? json.error.message : undefined;
  if (service === 'network')
    return typeof json?.NeutronError?.type === 'string' ? json.NeutronError.message : undefined;
  if (service === 'placement') return json?.errors?.[0]?.status === status ? json.errors[0].detail : undefined;
  if (service === 'image') return text.includes(`<title>${status} `) ? text : undefined;
  const [[, fault] = []] = Object.entries((json ?? {}) as Record<string, { code: number; message: string }>);
  return fault?.code === status && headers['content-type']?.startsWith('application/json') ? fault.message : undefined;
};

/** Looks at answers to requests that may be of any kind, and at what those that were refused left in the log. */
export class Watch {
  private readonly refused = new Set<string>();
  private readonly from;
  readonly wrong: string[] = [];

  constructor(private readonly api: ApiCloud) {
    this.from = api.cloud.store.head();
  }

  look(route: Route, answer: ApiAnswer, what: string): void {
    const { service, method } = route.spec;
    const say = (problem: string) =>
      this.wrong.push(`${problem}: ${what.slice(0, 300)} -> ${answer.status} ${answer.text.slice(0, 300)}`);
    if (answer.status >= 500 && answer.status !== 501) say('an error of the service');
    if (/\bat .*\.[mc]?[tj]s:\d|node_modules/.test(answer.text)) say('shows its insides');
    if (answer.status < 400) return;
    if ([SECRET, SEALED].some((secret) => answer.text.includes(secret))) say('repeats a secret');
    this.refused.add(answer.headers['x-openstack-request-id']!);
    if (method !== 'HEAD' && typeof faultIn(service, answer) !== 'string') say('not a fault of the service');
  }

  /** What requests left behind that were refused; what they took back does not count. */
  async left(): Promise<string[]> {
    const events = await this.api.cloud.store.readAll(await this.from, 100_000);
    const theirs = events.filter((e) => this.refused.has(e.context.requestId)).map((e) => e.type as string);
    for (const [taken, returned] of TAKEN_BACK)
      for (const _ of theirs.filter((type) => type === returned)) {
        theirs.splice(theirs.indexOf(taken), 1);
        theirs.splice(theirs.indexOf(returned), 1);
      }
    return theirs.filter((type) => !SAYS_NOTHING_WAS_MADE.test(type));
  }
}
const SAYS_NOTHING_WAS_MADE = /^(?:RequestRefused|RefusalsCounted|[A-Z]\w*CreateAbandoned)$/;
/** What is taken before it is known whether a request can be granted, and how it is given back. */
const TAKEN_BACK = [
  ['QuotaReserved', 'QuotaReleased'],
  ['NetworkQuotaTaken', 'NetworkQuotaReturned'],
  ['IdentityNameTaken', 'IdentityNameGivenBack'],
] as const;
