import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { text } from 'node:stream/consumers';

const SOAP = 'xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"';
const answered = (method: string, content: string) =>
  `<soapenv:Envelope ${SOAP}><soapenv:Body><${method}Response xmlns="urn:vim25">${content}</${method}Response></soapenv:Body></soapenv:Envelope>`;

/** What the simulator has no method for, and what a guest there never does. */
const STANDS_IN: Readonly<Record<string, string>> = {
  AcquireTicket: '<returnval><ticket>ticket-of-the-gateway</ticket><host>127.0.0.1</host><port>443</port></returnval>',
  SendNMI: '',
};

/** A simulated task names the manager that does it; a vCenter names managed entities only, which managers are none of. */
const MANAGER_AS_ENTITY =
  /<propSet><name>info\.entity<\/name><val [^>]*\btype="\w+Manager"[^>]*>[^<]*<\/val><\/propSet>/g;

const isChange = ({ method: verb }: IncomingMessage, method: string | undefined): boolean =>
  method === undefined ? verb === 'PUT' : /_Task$|^ImportVApp$|^HttpNfcLeaseComplete$|^MarkAsTemplate$/.test(method);

/** Between driver and simulator: it can be cut, and answers the few methods that the simulator lacks. */
export class Gateway {
  /** Guests that do not hear when they are asked to shut down, by the ids of their VMs. */
  readonly deaf = new Set<string>();
  /** Every method that was called, in order. */
  readonly calls: string[] = [];
  /** What was last sent to call a method. */
  readonly bodies = new Map<string, string>();
  /** Files of datastores come as a whole, whatever part is asked for. */
  dropsRanges = false;
  private losing: string | null = null;
  private steps: { left: number; readonly isDone: boolean } | null = null;
  private readonly sockets = new Set<Socket>();
  private state: 'open' | 'refusing' | 'silent' = 'open';
  private readonly server: Server;

  private constructor(private readonly target: URL) {
    this.server = createServer((incoming, outgoing) => this.pass(incoming, outgoing));
    this.server.on('connection', (socket) => {
      this.sockets.add(socket);
      socket.once('close', () => this.sockets.delete(socket));
      if (this.state === 'refusing') socket.destroy();
    });
  }

  static async start(target: string): Promise<Gateway> {
    const gateway = new Gateway(new URL(target));
    await new Promise<void>((resolve) => gateway.server.listen(0, '127.0.0.1', resolve));
    return gateway;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** @returns what opens it again */
  cut(how: 'refusing' | 'silent' = 'refusing'): () => void {
    this.state = how;
    if (how === 'refusing') for (const socket of this.sockets) socket.destroy();
    return () => {
      this.state = 'open';
      for (const socket of this.sockets) socket.destroy();
    };
  }

  /** The next call of the method is done, and nobody hears of it. */
  loseAnswerOf(method: string): void {
    this.losing = method;
  }

  /**
   * Whoever changes something by way of it is cut off at the change that comes after so many others.
   * @param isDone whether that one is done, though nobody hears of it
   */
  cutAfter(changes: number, isDone: boolean): void {
    this.steps = { left: changes, isDone };
  }

  /** Again open to all. @returns whether it came to the cut */
  reopen(): boolean {
    const wasCut = this.state !== 'open';
    this.steps = null;
    this.state = 'open';
    return wasCut;
  }

  async stop(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private pass(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const parts: Buffer[] = [];
    incoming.on('data', (part: Buffer) => parts.push(part));
    incoming.on('end', () => {
      if (this.state === 'silent') return;
      const body = Buffer.concat(parts);
      const method = incoming.method === 'POST' ? /<soapenv:Body><(\w+)/.exec(body.toString('latin1'))?.[1] : undefined;
      if (method !== undefined) {
        this.calls.push(method);
        this.bodies.set(method, body.toString());
        const vm = /<_this type="VirtualMachine">([^<]+)</.exec(body.toString('latin1'))?.[1] ?? '';
        const content = method === 'ShutdownGuest' && this.deaf.has(vm) ? '' : STANDS_IN[method];
        if (content !== undefined) {
          outgoing.writeHead(200, { 'content-type': 'text/xml' }).end(answered(method, content));
          return;
        }
      }
      const isCut = this.steps !== null && isChange(incoming, method) && this.steps.left-- === 0;
      if (isCut && !this.steps!.isDone) return void this.cut();
      const loses = method !== undefined && method === this.losing;
      if (loses) this.losing = null;
      const lose = isCut ? () => this.cut() : loses ? () => outgoing.destroy() : null;
      this.forward(incoming, body, outgoing, lose);
    });
  }

  private forward(
    { method, url, headers: { range, ...others } }: IncomingMessage,
    body: Buffer,
    outgoing: ServerResponse,
    lose: (() => void) | null,
  ): void {
    const headers = range === undefined || this.dropsRanges ? others : { ...others, range };
    const onward = request(
      { host: this.target.hostname, port: this.target.port, method, path: url, headers },
      (answer) => {
        if (lose) return lose();
        const { 'content-length': _, ...unsized } = answer.headers;
        const tellsOfTasks = body.includes('info.entity');
        outgoing.writeHead(answer.statusCode ?? 502, tellsOfTasks ? unsized : answer.headers);
        if (!tellsOfTasks) return void answer.pipe(outgoing);
        void text(answer).then(
          (told) => outgoing.end(told.replace(MANAGER_AS_ENTITY, '')),
          () => outgoing.destroy(),
        );
      },
    );
    onward.on('error', () => outgoing.destroy());
    outgoing.on('close', () => onward.destroy());
    onward.end(body);
  }
}
