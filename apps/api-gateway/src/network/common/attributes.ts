import { canonicalAddress, canonicalCidr, MAC, parseCidr } from './addresses.js';
import { badRequest } from './errors.js';

/** Turns a value of a request into what we keep. @throws Reason in Neutron's words */
export type Convert = (value: unknown) => unknown;
class Reason extends Error {}
const no = (text: string): never => {
  throw new Reason(text);
};

/** A value as Python prints it, for texts that clients already know. */
const shown = (value: unknown): string => {
  if (value === null || value === undefined) return 'None';
  if (value === true) return 'True';
  if (value === false) return 'False';
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.length > 255 ? `${text.slice(0, 255)}...` : text;
};

export const text =
  (max = 255): Convert =>
  (v) => {
    if (typeof v !== 'string') return no(`'${shown(v)}' is not a valid string`);
    return v.length > max ? no(`'${shown(v)}' exceeds maximum length of ${max}`) : v;
  };
/** A text that can stand on one line of somebody's configuration. */
export const line =
  (max = 255): Convert =>
  (v) => {
    const given = text(max)(v) as string;
    return /[\p{Cc}\u2028\u2029]/u.test(given) ? no(`'${shown(v)}' contains control characters`) : given;
  };
export const textOrNone =
  (max = 255): Convert =>
  (v) =>
    v === null ? '' : text(max)(v);
export const bool: Convert = (v) => {
  if (typeof v === 'boolean') return v;
  if (v === 0 || v === 1) return v === 1;
  if (typeof v === 'string' && /^(true|1)$/i.test(v)) return true;
  if (typeof v === 'string' && /^(false|0)$/i.test(v)) return false;
  return no(`'${shown(v)}' cannot be converted to boolean`);
};
export const integer =
  (min: number, max: number): Convert =>
  (v) => {
    const n = typeof v === 'string' && /^-?\d{1,15}$/.test(v) ? Number(v) : v;
    if (typeof n !== 'number' || !Number.isInteger(n)) return no(`'${shown(v)}' is not an integer`);
    if (n < min) return no(`'${n}' is too small - must be at least '${min}'`);
    return n > max ? no(`'${n}' is too large - must be no larger than '${max}'`) : n;
  };
export const orNull =
  (convert: Convert): Convert =>
  (v) =>
    v === null ? null : convert(v);
export const oneOf =
  (...values: (string | number)[]): Convert =>
  (v) => {
    const found = values.find((x) => x === v || `${x}` === v);
    return (
      found ?? no(`'${shown(v)}' is not in [${values.map((x) => (typeof x === 'string' ? `'${x}'` : x)).join(', ')}]`)
    );
  };
const UUID = /^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$/i;
export const uuid: Convert = (v) =>
  typeof v === 'string' && UUID.test(v) ? v.toLowerCase() : no(`'${shown(v)}' is not a valid UUID`);
export const ip: Convert = (v) =>
  (typeof v === 'string' ? canonicalAddress(v) : null) ?? no(`'${shown(v)}' is not a valid IP address`);
export const subnetCidr: Convert = (v) => {
  const canonical = typeof v === 'string' ? canonicalCidr(v) : null;
  if (canonical === null) return no(`'${shown(v)}' is not a valid IP subnet`);
  const [base] = (v as string).split('/');
  if (canonicalAddress(base ?? '') !== canonical.split('/')[0])
    return no(`'${shown(v)}' isn't a recognized IP subnet cidr, '${canonical}' is recommended`);
  return canonical;
};
/** A range, or one address taken as a range of one; host bits stay, as Neutron leaves them. */
export const prefix: Convert = (v) => {
  const [address = '', length] = typeof v === 'string' ? v.split('/', 2) : [];
  const whole = `${canonicalAddress(address)}/${length ?? (address.includes(':') ? 128 : 32)}`;
  const cidr = typeof v === 'string' && v.split('/').length <= 2 ? parseCidr(whole) : null;
  return cidr ? `${canonicalAddress(address)}/${cidr.prefix}` : no(`'${shown(v)}' is not a valid IP subnet`);
};
export const macAddress: Convert = (v) => {
  const lower = typeof v === 'string' ? v.toLowerCase().replaceAll('-', ':') : '';
  return MAC.test(lower) && lower !== '00:00:00:00:00:00' && (Number.parseInt(lower.slice(0, 2), 16) & 1) === 0
    ? lower
    : no(`'${shown(v)}' is not a valid MAC address`);
};
export const listOf =
  (convert: Convert, max = 200): Convert =>
  (v) => {
    if (!Array.isArray(v)) return no(`'${shown(v)}' is not a list`);
    if (v.length > max) return no(`Exceeded maximum amount of items: ${max}`);
    const values = v.map(convert);
    const texts = values.map((x) => JSON.stringify(x));
    const twice = texts.find((x, i) => texts.indexOf(x) !== i);
    return twice === undefined ? values : no(`Duplicate items in the list: '${shown(JSON.parse(twice))}'`);
  };
/** An object with these keys, `?` behind those that may be missing. */
export const record =
  (shape: Readonly<Record<string, Convert>>): Convert =>
  (v) => {
    if (v === null || typeof v !== 'object' || Array.isArray(v)) return no(`'${shown(v)}' is not a dictionary`);
    const given = v as Record<string, unknown>;
    const names = Object.keys(shape).map((k) => k.replace('?', ''));
    const unknown = Object.keys(given).filter((k) => !names.includes(k));
    if (unknown.length > 0) return no(`Unexpected keys supplied: ${unknown.join(', ')}`);
    const out: Record<string, unknown> = {};
    for (const [key, convert] of Object.entries(shape)) {
      const name = key.replace('?', '');
      if (given[name] !== undefined) out[name] = convert(given[name]);
      else if (!key.endsWith('?')) return no(`Expected keys: ${names.join(', ')}`);
    }
    return out;
  };
export const anyRecord: Convert = (v) =>
  v !== null && typeof v === 'object' && !Array.isArray(v) ? v : no(`'${shown(v)}' is not a dictionary`);
export const only =
  (value: unknown): Convert =>
  (v) =>
    v === value ? v : no(`'${shown(v)}' is not supported`);

export interface Attribute {
  /** Absent: not allowed in that kind of request. */
  readonly post?: Convert;
  readonly put?: Convert;
  readonly required?: boolean;
}
export type Attributes = Readonly<Record<string, Attribute>>;
export const both = (convert: Convert): Attribute => ({ post: convert, put: convert });
export const postOnly = (convert: Convert): Attribute => ({ post: convert });
export const readOnly: Attribute = {};

type Given = Readonly<Record<string, unknown>>;

/** @throws DomainError `invalid` in Neutron's words */
export const parseAttributes = (attributes: Attributes, body: unknown, method: 'post' | 'put'): Given => {
  if (body === null || typeof body !== 'object' || Array.isArray(body)) throw badRequest('Resource body required');
  const given = body as Record<string, unknown>;
  const unknown = Object.keys(given).filter((k) => !Object.hasOwn(attributes, k));
  if (unknown.length > 0) throw badRequest(`Unrecognized attribute(s) '${unknown.join(', ').slice(0, 255)}'`);
  const out: Record<string, unknown> = {};
  for (const [name, attribute] of Object.entries(attributes)) {
    if (!Object.hasOwn(given, name)) {
      if (method === 'post' && attribute.required)
        throw badRequest(`Failed to parse request. Required attribute '${name}' not specified`);
      continue;
    }
    const convert = attribute[method];
    if (!convert)
      throw badRequest(
        method === 'post' ? `Attribute '${name}' not allowed in POST` : `Cannot update read-only attribute ${name}`,
      );
    try {
      out[name] = convert(given[name]);
    } catch (error) {
      if (!(error instanceof Reason)) throw error;
      throw badRequest(`Invalid input for ${name}. Reason: ${error.message}.`);
    }
  }
  const { tenant_id: tenant, ...rest } = out;
  if (tenant !== undefined && rest.project_id !== undefined && tenant !== rest.project_id)
    throw badRequest("'project_id' and 'tenant_id' do not match");
  return tenant === undefined ? rest : { ...rest, project_id: rest.project_id ?? tenant };
};

/** The resources of a request to create: one, or several under the plural. */
export const parseCreate = (
  body: unknown,
  singular: string,
  plural: string,
  attributes: Attributes,
): { readonly bulk: boolean; readonly items: readonly Given[] } => {
  if (body === null || typeof body !== 'object' || Array.isArray(body)) throw badRequest('Resource body required');
  const given = body as Record<string, unknown>;
  if (Object.hasOwn(given, plural)) {
    const list = given[plural];
    if (!Array.isArray(list) || list.length === 0) throw badRequest('Resources required');
    if (list.length > 100) throw badRequest('Too many resources in one request');
    const inner = list.map((item) =>
      item !== null && typeof item === 'object' && Object.hasOwn(item, singular)
        ? (item as Record<string, unknown>)[singular]
        : item,
    );
    return { bulk: true, items: inner.map((item) => parseAttributes(attributes, item, 'post')) };
  }
  if (!Object.hasOwn(given, singular)) throw badRequest(`Unable to find '${singular}' in request body`);
  return { bulk: false, items: [parseAttributes(attributes, given[singular], 'post')] };
};

export const parseUpdate = (body: unknown, singular: string, attributes: Attributes): Given => {
  if (body === null || typeof body !== 'object' || !Object.hasOwn(body, singular))
    throw badRequest(`Unable to find '${singular}' in request body`);
  return parseAttributes(attributes, (body as Record<string, unknown>)[singular], 'put');
};
