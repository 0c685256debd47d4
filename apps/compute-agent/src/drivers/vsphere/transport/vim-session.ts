import type { IncomingMessage } from 'node:http';
import { NoConnection, type Trust } from '../../common/trusted-socket.js';
import { type Exchange, HttpEndpoint, textOf } from './http.js';
import { type Answer, type AnswerObject, type Argument, bodyOf, callOf, element, envelope, Ref } from './soap.js';
import { faultOf, isFault, VimFault } from './vim-fault.js';

export interface VimAccess {
  /** `https://` and address of the vCenter, or of a single ESXi host; null when none is configured. */
  readonly url: string | null;
  readonly user: string;
  readonly password: string;
  readonly trust: Trust;
  /** Milliseconds until a call without an answer counts as one to a vCenter that is gone; 30 s when not given. */
  readonly answerTimeout?: number;
  /** Milliseconds for a connection; 10 s when not given. */
  readonly connectTimeout?: number;
  /** Milliseconds that a task gets to end once it was cancelled; 10 s when not given. */
  readonly cancelGrace?: number;
  /** Milliseconds that a task may take which copies neither memory nor disks; 10 min when not given. */
  readonly taskLimit?: number;
}

/** The service of the vCenter, and the one of its storage policies beside it. */
type Service = 'vim25' | 'pbm';
const PATHS: Readonly<Record<Service, string>> = { vim25: '/sdk', pbm: '/pbm' };
/** The oldest API that has all that is called: vSphere 6.5. */
const VERSIONS: Readonly<Record<Service, string>> = { vim25: 'urn:vim25/6.5', pbm: 'urn:pbm/2.0' };

const MOST_ANSWER = 256 << 20;
const INSTANCE = new Ref('ServiceInstance', 'ServiceInstance');
const CHANGES_NOTHING = /^(Retrieve|Continue|Query|Find|Pbm(Retrieve|Query|Check))/;

/** What `RetrieveServiceContent` tells: the managers by their names, and what the server is. */
export interface ServiceContent extends AnswerObject {
  readonly rootFolder: Ref;
  readonly propertyCollector: Ref;
  readonly sessionManager: Ref;
  readonly viewManager: Ref;
  readonly about: AnswerObject;
}

/**
 * A session with a vCenter. It logs in when something is asked for, and once more when the session is over: a call that
 * was refused for that has changed nothing and is repeated.
 */
export class VimSession {
  /** Counts logins: views, filters and collectors of an earlier one are gone. */
  generation = 0;
  readonly url: URL;
  private readonly endpoint: HttpEndpoint;
  private readonly timeout: number;
  private cookie: string | null = null;
  private opening: Promise<void> | null = null;
  private known: Promise<ServiceContent> | null = null;
  private readonly closing = new AbortController();

  constructor(private readonly access: VimAccess) {
    this.url = new URL(access.url ?? 'https://nowhere.invalid');
    this.endpoint = new HttpEndpoint(this.url, access.trust, access.connectTimeout ?? 10_000);
    this.timeout = access.answerTimeout ?? 30_000;
  }

  /** Name or address that the vCenter is reached by. */
  get host(): string {
    return this.endpoint.host;
  }

  get trust(): Trust {
    return this.access.trust;
  }

  get cancelGrace(): number {
    return this.access.cancelGrace ?? 10_000;
  }

  get taskLimit(): number {
    return this.access.taskLimit ?? 600_000;
  }

  content(): Promise<ServiceContent> {
    this.known ??= this.ask('vim25', 'RetrieveServiceContent', INSTANCE, {}).then(
      (content) => content as ServiceContent,
      (error: unknown) => {
        this.known = null;
        throw error;
      },
    );
    return this.known;
  }

  /**
   * @param manager property of the service content
   * @throws VimFault when this endpoint has none: a single host has less than a vCenter
   */
  async manager(manager: string): Promise<Ref> {
    const ref = (await this.content())[manager];
    if (!(ref instanceof Ref)) throw new VimFault('NotSupported', `this endpoint has no ${manager}`);
    return ref;
  }

  /**
   * Calls a method of a managed object.
   * @param options.wait milliseconds that the method itself may wait before it answers
   * @throws VimFault, NoConnection
   */
  async call(
    self: Ref,
    method: string,
    args: Readonly<Record<string, Argument>> = {},
    options: { readonly wait?: number; readonly signal?: AbortSignal; readonly service?: Service } = {},
  ): Promise<Answer | undefined> {
    const { service = 'vim25', ...rest } = options;
    for (let again = true; ; again = false) {
      const generation = await this.loggedIn();
      try {
        return await this.ask(service, method, self, args, rest);
      } catch (error) {
        const over = isFault(error, 'NotAuthenticated');
        if (over) this.forget(generation);
        const repeatable = over || (error instanceof NoConnection && CHANGES_NOTHING.test(method));
        if (!again || !repeatable || this.closing.signal.aborted) throw error;
      }
    }
  }

  /** A request beside the calls, with the session's cookie. */
  async send(exchange: Omit<Exchange, 'headers' | 'timeout'>, headers: Record<string, string> = {}) {
    await this.loggedIn();
    return this.exchange({ ...exchange, headers: { ...headers, cookie: this.cookie ?? '' }, timeout: 60_000 });
  }

  async close(): Promise<void> {
    const { cookie } = this;
    this.closing.abort();
    // The session is given up if somebody hears it; nobody waits long for that.
    if (cookie !== null && this.known) {
      const { sessionManager } = await this.known;
      await this.ask('vim25', 'Logout', sessionManager, {}, { signal: AbortSignal.timeout(200) }, true).catch(() => {});
    }
    this.endpoint.close();
  }

  /** @returns the generation that is logged in */
  private async loggedIn(): Promise<number> {
    if (this.closing.signal.aborted) throw new NoConnection('the session is closed');
    if (this.cookie !== null) return this.generation;
    this.opening ??= this.login().finally(() => {
      this.opening = null;
    });
    await this.opening;
    return this.generation;
  }

  private async login(): Promise<void> {
    const { sessionManager } = await this.content();
    const { user: userName, password } = this.access;
    await this.ask('vim25', 'Login', sessionManager, { userName, password });
    if (this.cookie === null) throw new NoConnection('the vCenter gave no session');
    this.generation += 1;
  }

  private forget(generation: number): void {
    if (generation === this.generation) this.cookie = null;
  }

  private async ask(
    service: Service,
    method: string,
    self: Ref,
    args: Readonly<Record<string, Argument>>,
    { wait = 0, signal }: { readonly wait?: number; readonly signal?: AbortSignal } = {},
    last = false,
  ): Promise<Answer | undefined> {
    const secret = /"?([^";]+)"?$/.exec(this.cookie?.split('=')[1] ?? '')?.[1] ?? '';
    const header = service === 'pbm' ? `<soapenv:Header>${element('vcSessionCookie', secret)}</soapenv:Header>` : '';
    const answer = await this.exchange(
      {
        method: 'POST',
        path: PATHS[service],
        headers: {
          'content-type': 'text/xml; charset=utf-8',
          soapaction: `"${VERSIONS[service]}"`,
          ...(this.cookie === null || method === 'Login' ? {} : { cookie: this.cookie }),
        },
        body: envelope(callOf(service, method, self, args), header),
        timeout: this.timeout + wait,
        signal,
      },
      last,
    );
    if (method === 'Login') this.keepCookie(answer);
    const body = bodyIn(await textOf(answer, MOST_ANSWER), answer);
    if (body.Fault !== undefined) throw faultOf(body.Fault as AnswerObject);
    return (body[`${method}Response`] as AnswerObject | undefined)?.returnval;
  }

  private exchange(exchange: Exchange, last = false): Promise<IncomingMessage> {
    const signals = [...(exchange.signal ? [exchange.signal] : []), ...(last ? [] : [this.closing.signal])];
    return this.endpoint.send({ ...exchange, signal: AbortSignal.any(signals) }).catch((error: unknown) => {
      if (exchange.signal?.aborted || !this.closing.signal.aborted || last) throw error;
      throw new NoConnection('the session is closed', { cause: error });
    });
  }

  private keepCookie({ headers }: IncomingMessage): void {
    const cookie = headers['set-cookie']?.find((each) => each.startsWith('vmware_soap_session'));
    if (cookie !== undefined) this.cookie = cookie.split(';')[0]!;
  }
}

/** A proxy in between, or a vCenter that starts, answers pages instead. */
const bodyIn = (text: string, { statusCode }: IncomingMessage): AnswerObject => {
  try {
    return bodyOf(text);
  } catch (error) {
    throw new NoConnection(`answered ${statusCode} instead of SOAP`, { cause: error });
  }
};
