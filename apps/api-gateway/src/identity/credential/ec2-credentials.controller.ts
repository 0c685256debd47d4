import { Controller } from '@nestjs/common';
import { type Call, Operation } from '@omnivisor/openstack';
import { z } from 'zod';
import { collection, selfLink } from '../common.js';
import { IdentityDesk } from '../desk.js';
import { missing } from '../record/record.js';
import { projectTable, type StoredCredentialRow, storedCredentialTable, userTable } from '../record/tables.js';
import { Removal } from '../removal.js';
import { rolesOn } from '../token/directory.js';
import { isWithinLent, refuseRestricted, stayWithinLent } from './delegation.js';
import { blobOf, EC2, idOfKey, keep, keyIn } from './stored-credentials.js';

const CreateBody = z.looseObject({ tenant_id: z.string().min(1).max(255) });

const base = { service: 'identity', policy: 'authenticated' } as const;
const all = '/v3/users/:user_id/credentials/OS-EC2';
const target = (userId: string) => ({ target: { credential: { user_id: userId } } });

/** Key pairs by which a user signs requests for services that speak EC2's or S3's API. */
@Controller()
export class Ec2CredentialsController {
  constructor(
    private readonly desk: IdentityDesk,
    private readonly removal: Removal,
  ) {}

  @Operation({ ...base, method: 'GET', path: all })
  async list(call: Call) {
    const userId = call.params.user_id!;
    call.enforce('identity:ec2_list_credentials', { user_id: userId });
    await this.checkUser(userId);
    const where = { userId, type: EC2 } as never;
    const rows = await (await this.desk.fresh()).find(storedCredentialTable, { where });
    const mine = rows.filter((row) => isWithinLent(call, row.projectId));
    return collection(call, 'credentials', await Promise.all(mine.map((row) => this.view(call, row))));
  }

  @Operation({ ...base, method: 'POST', path: all, body: CreateBody, status: 201 })
  async create(call: Call<z.infer<typeof CreateBody>>) {
    const userId = call.params.user_id!;
    call.enforce('identity:ec2_create_credential', target(userId));
    await refuseRestricted(this.desk, call as Call, 'application credentials');
    await this.checkUser(userId);
    const { tenant_id: projectId } = call.body;
    await this.checkProject(call as Call, projectId);
    stayWithinLent(call as Call, projectId);
    const key = { access: this.desk.core.ids.hex(), secret: this.desk.core.ids.hex(), trust_id: null };
    const wish = { userId, projectId, type: EC2, blob: JSON.stringify(key), extra: {} };
    return { credential: await this.view(call, await keep(this.desk, call, wish)) };
  }

  @Operation({ ...base, method: 'GET', path: `${all}/:access` })
  async show(call: Call) {
    return { credential: await this.view(call, await this.load(call, 'identity:ec2_get_credential')) };
  }

  @Operation({ ...base, method: 'DELETE', path: `${all}/:access`, status: 204 })
  async remove(call: Call) {
    const row = await this.load(call, 'identity:ec2_delete_credential');
    await this.removal.storedCredential(row, (step) => call.context(step));
  }

  private async checkUser(id: string): Promise<void> {
    if (!(await (await this.desk.fresh()).get(userTable, id))) throw missing('user', id);
  }

  /** To whom has no role on it, a project is not there. */
  private async checkProject(call: Call, id: string): Promise<void> {
    const rows = await this.desk.fresh();
    const { userId } = call.token;
    const known = call.isAdmin
      ? (await rows.get(projectTable, id)) !== undefined
      : (await rolesOn(rows, userId, { kind: 'project', id })).length > 0;
    if (!known) throw missing('project', id);
  }

  private async load(call: Call, rule: string): Promise<StoredCredentialRow> {
    const { user_id: userId, access } = call.params;
    const id = idOfKey(access!);
    const row = await (await this.desk.fresh()).get(storedCredentialTable, id);
    const mine = row?.type === EC2 && row.userId === userId && call.can(rule, target(row.userId));
    if (!mine) throw missing('credential', id);
    stayWithinLent(call, row.projectId);
    return row;
  }

  private async view(call: Call<unknown>, row: StoredCredentialRow) {
    const { access, secret = null } = keyIn(await blobOf(this.desk, row));
    return {
      user_id: row.userId,
      tenant_id: row.projectId,
      access,
      secret,
      trust_id: null,
      links: selfLink(call as Call, `users/${row.userId}/credentials/OS-EC2/${access}`),
    };
  }
}
