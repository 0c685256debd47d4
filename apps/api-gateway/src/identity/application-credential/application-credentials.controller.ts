import { randomBytes } from 'node:crypto';
import { Controller } from '@nestjs/common';
import {
  type ApplicationCredentialAttributes,
  type Instant,
  invalid,
  type ProjectId,
  type RoleId,
  type UserId,
} from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import { z } from 'zod';
import { collection, filtered, Name, selfLink } from '../common.js';
import { refuseRestricted } from '../credential/delegation.js';
import { IdentityDesk } from '../desk.js';
import { applicationCredentials } from '../record/aggregates.js';
import { missing } from '../record/record.js';
import { type CredentialRow, credentialTable, roleTable } from '../record/tables.js';
import { Removal } from '../removal.js';
import { rolesOn, rulesOf } from '../token/directory.js';
import { AccessRuleWish, makeRules, planRules } from './access-rules.js';

const RoleRef = z.looseObject({ id: z.string().optional(), name: z.string().optional() });
const CreateBody = z.looseObject({
  application_credential: z.looseObject({
    name: Name,
    description: z.string().nullable().optional(),
    secret: z.string().min(1).max(4096).nullable().optional(),
    expires_at: z.string().nullable().optional(),
    roles: z.array(RoleRef).optional(),
    unrestricted: z.boolean().nullable().optional(),
    access_rules: z.array(AccessRuleWish).optional(),
  }),
});

const service = 'identity';
const all = '/v3/users/:user_id/application_credentials';

@Controller()
export class ApplicationCredentialsController {
  constructor(
    private readonly desk: IdentityDesk,
    private readonly removal: Removal,
  ) {}

  @Operation({ service, method: 'GET', path: all, policy: 'authenticated' })
  async list(call: Call) {
    const userId = call.params.user_id!;
    call.enforce('identity:list_application_credentials', { user_id: userId, target: { user: { id: userId } } });
    const rows = await (await this.desk.fresh()).find(credentialTable, { where: { userId } as never });
    const views = await Promise.all(rows.map((r) => this.view(call, r)));
    return collection(call, 'application_credentials', filtered(call, views, ['name']));
  }

  @Operation({ service, method: 'POST', path: all, policy: 'authenticated', body: CreateBody, status: 201 })
  async create(call: Call) {
    const userId = call.params.user_id!;
    call.enforce('identity:create_application_credential', { user_id: userId });
    await refuseRestricted(this.desk, call, 'application credentials');
    const { application_credential: asked } = call.body as z.infer<typeof CreateBody>;
    const projectId = call.token.projectId;
    if (projectId === null)
      throw invalid(
        'Invalid application credential: The application credential must be made with a project-scoped token.',
      );
    const rules = await planRules(this.desk, userId, asked.access_rules ?? []);
    const secret = asked.secret ?? randomBytes(64).toString('base64url');
    const id = this.desk.core.ids.hex();
    const at = this.desk.core.clock.now();
    const rest = {
      userId: userId as UserId,
      projectId: projectId as ProjectId,
      name: asked.name,
      description: asked.description ?? null,
      roleIds: await this.rolesFor(call, asked.roles, projectId),
      ...expiry(asked.expires_at, at),
      unrestricted: asked.unrestricted ?? false,
    };
    const kind = 'application credential';
    await this.desk.names.take(kind, userId, asked.name, id, at, call.context(), (o) => this.exists(o));
    const accessRuleIds = await makeRules(this.desk, call, rules);
    const attributes: ApplicationCredentialAttributes = {
      ...rest,
      ...(accessRuleIds.length > 0 ? { accessRuleIds } : {}),
      secret: await this.desk.passwords.store(secret),
    };
    await this.desk.execute(applicationCredentials, id, { type: 'create', id, attributes }, call.context());
    return { application_credential: { ...(await this.view(call, { ...attributes, id, createdAt: at })), secret } };
  }

  @Operation({ service, method: 'GET', path: `${all}/:id`, policy: 'authenticated' })
  async show(call: Call) {
    return {
      application_credential: await this.view(call, await this.load(call, 'identity:get_application_credential')),
    };
  }

  @Operation({ service, method: 'DELETE', path: `${all}/:id`, policy: 'authenticated', status: 204 })
  async remove(call: Call) {
    const row = await this.load(call, 'identity:delete_application_credential');
    await refuseRestricted(this.desk, call, 'application credentials');
    await this.removal.credential(row, (step) => call.context(step));
  }

  /** The roles that are lent: those asked for, else all of the token; never one the user does not have. */
  private async rolesFor(
    call: Call,
    asked: z.infer<typeof RoleRef>[] | undefined,
    projectId: string,
  ): Promise<RoleId[]> {
    const rows = await this.desk.fresh();
    const held = await rolesOn(rows, call.token.userId, { kind: 'project', id: projectId });
    const usable = held.filter((r) => call.token.roles.some((t) => t.id === r.id));
    if (!asked) return usable.map((r) => r.id as RoleId);
    return asked.map((ref) => {
      const role = usable.find((r) => (ref.id !== undefined ? r.id === ref.id : r.name === ref.name));
      if (!role)
        throw invalid(
          `Invalid application credential: Could not find role assignment with role: ${ref.id ?? ref.name}, user or group: ${call.token.userId}, project, domain, or system: ${projectId}.`,
        );
      return role.id as RoleId;
    });
  }

  private async load(call: Call, rule: string): Promise<CredentialRow> {
    const { user_id, id } = call.params;
    call.enforce(rule, { user_id, target: { user: { id: user_id } } });
    const row = await (await this.desk.fresh()).get(credentialTable, id!);
    if (row?.userId !== user_id) throw missing('Application Credential', id!);
    return row!;
  }

  private async view(call: Call, row: CredentialRow) {
    const rows = await this.desk.fresh();
    const roles = await rows.getMany(roleTable, row.roleIds);
    const rules = await rulesOf(rows, row);
    return {
      id: row.id,
      name: row.name,
      description: row.description,
      project_id: row.projectId,
      user_id: row.userId,
      roles: [...roles.values()].map((r) => ({ id: r.id, name: r.name, domain_id: r.domainId })),
      expires_at: row.expiresAt === null ? null : `${row.expiresAt.slice(0, -1)}${row.expiresMicros ?? '000'}`,
      unrestricted: row.unrestricted,
      ...(rules ? { access_rules: rules } : {}),
      system: null,
      links: selfLink(call, `users/${row.userId}/application_credentials/${row.id}`),
    };
  }

  private async exists(id: string): Promise<boolean> {
    return (await this.desk.core.commands.load(applicationCredentials, id)).status === 'present';
  }
}

const ASSUMED =
  'The server could not comply with the request since it is either malformed or otherwise incorrect. The client is assumed to be in error.';

const expiry = (
  text: string | null | undefined,
  now: Instant,
): Pick<ApplicationCredentialAttributes, 'expiresAt' | 'expiresMicros'> => {
  if (text === null || text === undefined) return { expiresAt: null };
  const time = Date.parse(/(?:Z|[+-]\d\d:?\d\d)$/.test(text) ? text : `${text}Z`);
  if (Number.isNaN(time) || text.length > 40) throw invalid(`Timestamp not in expected format. ${ASSUMED}`);
  const expiresAt = new Date(time).toISOString() as Instant;
  if (expiresAt <= now) throw invalid(`The 'expires_at' must not be before now. ${ASSUMED}`);
  const micros = /\.\d{3}(\d{1,3})/.exec(text)?.[1];
  return micros === undefined ? { expiresAt } : { expiresAt, expiresMicros: micros.padEnd(3, '0') };
};
