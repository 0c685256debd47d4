import { conflict, DomainError, forbidden, invalid, notFound } from '@omnivisor/contracts';
import type { Call } from '@omnivisor/openstack';
import type { ComputeNetworkApi } from '../compute-ports.js';

interface Refusal {
  readonly NeutronError?: { readonly type: string; readonly message: string };
}

/** What Network calls a conflict and Compute a bad request. */
const AS_INVALID = new Set(['SecurityGroupRuleExists', 'SecurityGroupInUse', 'SecurityGroupCannotRemoveDefault']);

/** An answer of Network that went well. @throws DomainError what Compute says of one that did not */
export const asked = async <T>(
  network: ComputeNetworkApi,
  call: Call,
  method: 'GET' | 'POST' | 'PUT' | 'DELETE',
  path: string,
  body?: unknown,
): Promise<T> => {
  const answer = await network.ask(call, method, path, body);
  if (answer.status < 300) return answer.body as T;
  const { type = '', message = 'The request was refused by Network.' } = (answer.body as Refusal)?.NeutronError ?? {};
  switch (answer.status) {
    case 403:
      throw forbidden(message);
    case 404:
      throw notFound(message);
    case 409:
      if (type === 'OverQuota') throw new DomainError('overQuota', message);
      if (AS_INVALID.has(type)) throw invalid(message);
      throw conflict(message);
    default:
      throw invalid(message);
  }
};
