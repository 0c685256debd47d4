import type { TokenContext } from '@omnivisor/contracts';
import type { Call } from '@omnivisor/openstack';
import { rootOf } from '../common.js';
import type { IdentityDesk } from '../desk.js';
import { credentialTable } from '../record/tables.js';

/** `{token: …}`: what a token means, with the catalog that it opens. */
export const tokenView = async (desk: IdentityDesk, call: Call, context: TokenContext) => {
  // The token was validated a moment ago: the rows are at least as new as that.
  const { readModel: rows } = desk.core;
  const { version } = desk.tokens;
  const body: Record<string, unknown> = {
    methods: context.methods,
    user: {
      domain: { id: context.userDomainId, name: context.userDomainName },
      id: context.userId,
      name: context.userName,
      password_expires_at: null,
    },
    audit_ids: context.auditIds,
    expires_at: context.expiresAt,
    issued_at: context.issuedAt,
  };
  if (context.projectId !== null) {
    body.project = {
      domain: { id: context.projectDomainId, name: context.projectDomainName },
      id: context.projectId,
      name: context.projectName,
    };
    body.is_domain = false;
  } else if (context.domainId !== null) body.domain = { id: context.domainId, name: context.domainName };
  else if (context.system) body.system = { all: true };
  if (context.roles.length > 0) {
    body.roles = context.roles;
    if (!('nocatalog' in call.query))
      body.catalog = await desk.catalog.of(rows, rootOf(call), context.projectId, version);
  }
  if (context.applicationCredentialId !== null) {
    const credential = await rows.get(credentialTable, context.applicationCredentialId);
    body.application_credential = {
      id: context.applicationCredentialId,
      name: credential?.name ?? '',
      restricted: !credential?.unrestricted,
      ...(context.accessRules ? { access_rules: context.accessRules } : {}),
    };
  }
  return { token: body };
};
