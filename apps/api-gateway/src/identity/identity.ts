import { identityValidate, type Milliseconds } from '@omnivisor/contracts';
import type { Vault } from '@omnivisor/eventsourcing/vault';
import type { Subscription } from '@omnivisor/platform/ports';
import type { GatewayCore } from '../core/gateway-core.js';
import { Authenticator } from './auth/authenticator.js';
import { LoginGuard } from './auth/login-guard.js';
import { Passwords } from './auth/passwords.js';
import { bootstrap } from './bootstrap.js';
import { type BuiltInService, builtInServices, Catalog } from './catalog/catalog.js';
import { IdentityDesk } from './desk.js';
import { Names } from './record/names.js';
import { TokenService } from './token/token-service.js';

export interface IdentityOptions {
  readonly region: string;
  /** How long a token lives. */
  readonly tokenLifetime: Milliseconds;
  readonly services?: readonly BuiltInService[];
  /** Password of the first admin; undefined when the cloud has one. */
  readonly adminPassword?: string | undefined;
}

/** The identity service of one replica. Call `start` after the core's. */
export class Identity {
  readonly desk: IdentityDesk;
  private subscription: Subscription | undefined;

  constructor(
    private readonly core: GatewayCore,
    secrets: Vault,
    private readonly options: IdentityOptions,
  ) {
    const tokens = new TokenService(core, secrets, options.tokenLifetime);
    const passwords = new Passwords(secrets);
    const guard = new LoginGuard(core);
    this.desk = new IdentityDesk(
      core,
      secrets,
      new Names(core.commands),
      passwords,
      tokens,
      guard,
      new Authenticator(core, tokens, passwords, guard),
      new Catalog(options.services ?? builtInServices, options.region),
    );
  }

  async start(): Promise<void> {
    await bootstrap(this.desk, this.options.adminPassword);
    const validate = async ({ token }: { token: string }) => ({ context: await this.desk.tokens.validate(token) });
    this.subscription = await this.core.bus.respond(identityValidate, validate, { queue: 'api-gateway' });
    this.desk.guard.start();
  }

  async stop(): Promise<void> {
    await this.subscription?.close();
    await this.desk.guard.stop();
  }
}
