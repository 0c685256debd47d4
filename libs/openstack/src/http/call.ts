import type { CommandContext, CommandId, DomainError, RequestId, TokenContext } from '@omnivisor/contracts';
import type { FastifyRequest } from 'fastify';
import { version as parse, rank } from '../microversion.js';
import type { Call, Microversion, OperationSpec } from '../operation.js';
import type { Policy } from '../policy/engine.js';
import { credentialsOf } from '../policy/engine.js';
import type { Credentials, Target } from '../policy/rule.js';
import type { Arrival } from '../token.js';
import { isStorable } from './body.js';

const ranks = new Map<string, number>();
const rankOf = (text: string): number => {
  let known = ranks.get(text);
  if (known === undefined) {
    known = rank(parse(text));
    ranks.set(text, known);
  }
  return known;
};

export interface CallParts {
  readonly request: FastifyRequest;
  readonly operation: OperationSpec;
  readonly params: Readonly<Record<string, string>>;
  readonly token: TokenContext | undefined;
  readonly version: Microversion;
  readonly requestId: RequestId;
  readonly correlationId: RequestId;
  readonly arrival: Arrival;
  readonly publicRoot: string;
  /** Where the service is below that. */
  readonly mount: string;
  readonly path: string;
  readonly policy: Policy;
  /** Told of each rule that says no. */
  readonly onRefusal?: (rule: string) => void;
}

/** The `Call` of one HTTP request. */
export class HttpCall implements Call {
  query: Record<string, string[]> = {};
  body: unknown = undefined;
  private credentials: Credentials | undefined;
  private readonly versionRank: number;
  private abort: AbortController | undefined;

  constructor(private readonly parts: CallParts) {
    this.versionRank = rank(parts.version);
  }

  get operation(): OperationSpec {
    return this.parts.operation;
  }
  get params(): Readonly<Record<string, string>> {
    return this.parts.params;
  }
  get version(): Microversion {
    return this.parts.version;
  }
  get requestId(): RequestId {
    return this.parts.requestId;
  }
  get arrival(): Arrival {
    return this.parts.arrival;
  }
  get publicRoot(): string {
    return this.parts.publicRoot;
  }
  get publicUrl(): string {
    return this.parts.publicRoot + this.parts.mount;
  }
  get path(): string {
    return this.parts.path;
  }
  get headers(): Readonly<Record<string, string | undefined>> {
    return this.parts.request.headers as Record<string, string | undefined>;
  }
  get address(): string {
    return this.parts.request.ip;
  }

  get token(): TokenContext {
    if (!this.parts.token) throw new Error(`${this.operation.path} is open: it has no token`);
    return this.parts.token;
  }

  get signal(): AbortSignal {
    if (!this.abort) {
      const abort = new AbortController();
      this.abort = abort;
      const { socket } = this.parts.request.raw;
      if (socket.destroyed) abort.abort();
      else socket.once('close', () => abort.abort());
    }
    return this.abort.signal;
  }

  since(version: string): boolean {
    return this.versionRank >= rankOf(version);
  }

  context(step?: string): CommandContext {
    const { token, requestId, correlationId } = this.parts;
    return {
      actor: token
        ? {
            kind: 'user',
            userId: token.userId,
            projectId: token.projectId,
            domainId: token.domainId,
            roles: token.roles.map((r) => r.name),
            address: this.address,
          }
        : { kind: 'service', service: 'api-gateway' },
      requestId,
      correlationId,
      causationId: null,
      commandId: (step === undefined ? requestId : `${requestId}/${step}`) as CommandId,
    };
  }

  can(rule: string, target?: Target): boolean {
    return this.parts.policy.allows(rule, this.bearer(), target ?? this.ownTarget());
  }

  enforce(rule: string, target?: Target): void {
    if (!this.can(rule, target)) throw this.refusal(rule);
  }

  refusal(rule: string): DomainError {
    this.parts.onRefusal?.(rule);
    return this.parts.policy.refusal(rule);
  }

  get isAdmin(): boolean {
    return this.parts.token?.roles.some((r) => r.name.toLowerCase() === 'admin') ?? false;
  }

  private bearer(): Credentials {
    this.credentials ??= credentialsOf(this.token);
    return this.credentials;
  }

  private ownTarget(): Target {
    const { projectId, userId, domainId } = this.token;
    return { project_id: projectId, tenant_id: projectId, owner: projectId, user_id: userId, domain_id: domainId };
  }
}

/** @returns undefined when a text in it cannot be stored */
export const queryOf = (url: string): Record<string, string[]> | undefined => {
  const query: Record<string, string[]> = Object.create(null);
  const at = url.indexOf('?');
  if (at < 0) return query;
  for (const [key, value] of new URLSearchParams(url.slice(at + 1))) {
    if (!isStorable(key) || !isStorable(value) || key === '__proto__') return undefined;
    const values = query[key];
    if (values) values.push(value);
    else query[key] = [value];
  }
  return query;
};
