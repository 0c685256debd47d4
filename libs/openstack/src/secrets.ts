/** Stands in an answer for what must not be repeated. */
export const HIDDEN = '***';

/** Fields of requests whose values no answer repeats, not even to who sent them. */
const SECRETS = new Set([
  'password',
  'original_password',
  'adminPass',
  'secret',
  'token',
  'user_data',
  'contents',
  'private_key',
  'blob',
]);

export const isSecret = (field: string | number): boolean => SECRETS.has(String(field));

/** A value of a request without the secrets in it. */
export const withoutSecrets = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(withoutSecrets);
  if (typeof value !== 'object' || value === null) return value;
  const parts = Object.entries(value).map(([key, inner]) => [
    key,
    isSecret(key) && inner !== null ? HIDDEN : withoutSecrets(inner),
  ]);
  return Object.fromEntries(parts);
};
