import { Controller } from '@nestjs/common';
import { type CredentialAttributes, invalid } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import { z } from 'zod';
import { collection, extraOf, filtered, given, selfLink } from '../common.js';
import { IdentityDesk } from '../desk.js';
import { storedCredentials } from '../record/aggregates.js';
import { type StoredCredentialRow, storedCredentialTable } from '../record/tables.js';
import { Removal } from '../removal.js';
import { isWithinLent, refuseRestricted, stayWithinLent } from './delegation.js';
import { blobOf, EC2, keep, keyIn } from './stored-credentials.js';

const id = z.string().min(1).max(255);
const fields = {
  blob: z.string().max(65_535),
  type: z.string().min(1).max(255),
  user_id: id,
  project_id: id.nullable().optional(),
};
const KNOWN = [...Object.keys(fields), 'id', 'links'];
const CreateBody = z.looseObject({
  credential: z
    .looseObject(fields)
    .refine((c) => c.type !== EC2 || typeof c.project_id === 'string', "'project_id' is a required property"),
});
const UpdateBody = z.looseObject({ credential: z.looseObject(fields).partial() });

const base = { service: 'identity', policy: 'authenticated' } as const;
const rule = (name: string) => `identity:${name}`;
const all = '/v3/credentials';
const target = (userId: string) => ({ target: { credential: { user_id: userId } } });

@Controller()
export class CredentialsController {
  constructor(
    private readonly desk: IdentityDesk,
    private readonly removal: Removal,
  ) {}

  @Operation({ ...base, method: 'GET', path: all })
  async list(call: Call) {
    call.enforce(rule('list_credentials'), target(call.token.userId));
    const rows = (await (await this.desk.fresh()).find(storedCredentialTable)).filter(
      (row) => call.can(rule('get_credential'), target(row.userId)) && isWithinLent(call, row.projectId),
    );
    const wanted = filtered(
      call,
      rows.map((row) => ({ row, user_id: row.userId, type: row.type })),
      ['user_id', 'type'],
    );
    return collection(call, 'credentials', await Promise.all(wanted.map(({ row }) => this.view(call, row))));
  }

  @Operation({ ...base, method: 'POST', path: all, body: CreateBody, status: 201 })
  async create(call: Call<z.infer<typeof CreateBody>>) {
    const { credential } = call.body;
    const { user_id: userId, project_id: projectId = null, type, blob } = credential;
    call.enforce(rule('create_credential'), target(userId));
    if (type.toLowerCase() === EC2) await refuseRestricted(this.desk, call as Call, 'credentials');
    stayWithinLent(call as Call, projectId);
    const extra = extraOf(credential, KNOWN);
    const row = await keep(this.desk, call, { userId, projectId, type, blob, extra });
    return { credential: await this.view(call, row) };
  }

  @Operation({ ...base, method: 'GET', path: `${all}/:credential_id` })
  async show(call: Call) {
    return { credential: await this.view(call, await this.load(call, 'get_credential')) };
  }

  @Operation({ ...base, method: 'PATCH', path: `${all}/:credential_id`, body: UpdateBody })
  async update(call: Call<z.infer<typeof UpdateBody>>) {
    const row = await this.load(call, 'update_credential');
    const { credential } = call.body;
    const { user_id: userId, project_id: projectId, type } = credential;
    const wanted = { ...row, ...given({ userId, projectId, type }) };
    call.enforce(rule('update_credential'), target(wanted.userId));
    stayWithinLent(call as Call, wanted.projectId);
    this.keepKey(row, wanted.type, credential.blob);
    const blob = credential.blob === undefined ? undefined : await this.desk.secrets.put('credential', credential.blob);
    const extra = extraOf(credential, KNOWN);
    const changes = given({ userId, projectId, type, blob, extra }) as Partial<CredentialAttributes>;
    const command = { type: 'update', id: row.id, changes } as const;
    try {
      await this.desk.execute(storedCredentials, row.id, command, call.context());
    } catch (error) {
      if (blob) await this.desk.secrets.erase(blob.ref);
      throw error;
    }
    if (blob) await this.desk.secrets.erase(row.blob.ref);
    return { credential: await this.view(call, (await (await this.desk.fresh()).get(storedCredentialTable, row.id))!) };
  }

  @Operation({ ...base, method: 'DELETE', path: `${all}/:credential_id`, status: 204 })
  async remove(call: Call) {
    await this.removal.storedCredential(await this.load(call, 'delete_credential'), (step) => call.context(step));
  }

  /** What an EC2 key was lent by it stays lent by: its reach comes from there. */
  private keepKey(row: StoredCredentialRow, type: string, blob: string | undefined): void {
    if (row.accessKey === null && type.toLowerCase() === EC2) throw invalid('type can not be updated for credential');
    if (row.accessKey === null || blob === undefined) return;
    const key = keyIn(blob);
    if ((key.app_cred_id ?? null) !== row.applicationCredentialId)
      throw invalid('app_cred_id can not be updated for credential');
  }

  private async load(call: Call<unknown>, name: string): Promise<StoredCredentialRow> {
    const { credential_id: wanted } = call.params;
    const row = await this.desk.load(
      call as Call,
      rule(name),
      storedCredentialTable,
      wanted!,
      'credential',
      ({ userId }) => target(userId).target,
    );
    stayWithinLent(call as Call, row.projectId);
    return row;
  }

  private async view(call: Call<unknown>, row: StoredCredentialRow) {
    return {
      ...row.extra,
      id: row.id,
      user_id: row.userId,
      project_id: row.projectId,
      type: row.type,
      blob: await blobOf(this.desk, row),
      links: selfLink(call as Call, `credentials/${row.id}`),
    };
  }
}
