import { Controller } from '@nestjs/common';
import { notFound, type TokenContext } from '@omnivisor/contracts';
import { type Call, Operation, Reply, unauthenticated } from '@omnivisor/openstack';
import { z } from 'zod';
import { IdentityDesk } from '../desk.js';
import { type StoredCredentialRow, storedCredentialTable } from '../record/tables.js';
import { tokenView } from '../token/token-view.js';
import { isRecent, isSigned, isSignedForS3, SignedRequest } from './ec2-signature.js';
import { blobOf, EC2, idOfKey, keyIn } from './stored-credentials.js';

/** Three names that clients have given it. */
const signed = <T extends z.ZodType>(request: T) =>
  z
    .looseObject({
      credentials: request.optional(),
      credential: request.optional(),
      ec2Credentials: request.optional(),
    })
    .transform((body) => body.credentials ?? body.credential ?? body.ec2Credentials)
    .refine((found) => found !== undefined, 'EC2 Signature not supplied');
const texts = z.record(z.string(), z.string()).default({});
const S3Request = z.looseObject({
  access: z.string().max(1_024),
  signature: z.string().max(1_024),
  token: z.string().max(65_536),
  params: texts,
  headers: texts,
});

const base = { service: 'identity', method: 'POST' } as const;

/** Services that speak EC2's or S3's API ask here whose a signed request is. */
@Controller()
export class Ec2TokensController {
  constructor(private readonly desk: IdentityDesk) {}

  @Operation({ ...base, path: '/v3/ec2tokens', policy: 'identity:ec2tokens_validate', body: signed(SignedRequest) })
  async ec2(call: Call<SignedRequest>) {
    const { token, context } = await this.tokenFor(call.body.access, (secret) => {
      if (!isSigned(secret, call.body)) return false;
      if (!isRecent(call.body, Date.parse(this.desk.core.clock.now()))) throw unauthenticated('Credential is expired');
      return true;
    });
    const view = await tokenView(this.desk, call as Call, context);
    return new Reply(view, { headers: { 'x-subject-token': token } });
  }

  @Operation({ ...base, path: '/v3/s3tokens', policy: 'identity:s3tokens_validate', body: signed(S3Request) })
  async s3(call: Call<z.infer<typeof S3Request>>) {
    const { access, token, signature } = call.body;
    // How long a signed URL is good is for the store of objects to judge: it has the request.
    const { context } = await this.tokenFor(access, (secret) => isSignedForS3(secret, token, signature));
    return tokenView(this.desk, call as Call, context);
  }

  private async tokenFor(
    access: string,
    isGood: (secret: string) => boolean,
  ): Promise<{ token: string; context: TokenContext }> {
    const row = await (await this.desk.fresh()).get(storedCredentialTable, idOfKey(access));
    if (row?.type !== EC2) throw notFound('EC2 access key not found.');
    const { secret } = keyIn(await blobOf(this.desk, row));
    if (typeof secret !== 'string' || !isGood(secret)) throw unauthenticated('Invalid EC2 signature.');
    return this.issue(row);
  }

  private async issue({ userId, projectId, applicationCredentialId }: StoredCredentialRow) {
    // What an application credential lends it lends for its own project only.
    const issued =
      projectId === null
        ? null
        : await this.desk.tokens.issue({
            userId,
            methods: [],
            scope: { kind: 'project', id: projectId },
            applicationCredentialId,
          });
    if (!issued) throw unauthenticated('User not valid for project.');
    return issued;
  }
}
