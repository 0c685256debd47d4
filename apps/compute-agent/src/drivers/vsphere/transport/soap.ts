import { XMLParser } from 'fast-xml-parser';
import { METHODS, TYPES } from '../generated/vim-schema.js';

/** A managed object of the vCenter; good as long as the object is there. */
export class Ref {
  constructor(
    readonly type: string,
    readonly value: string,
  ) {}

  is(other: Ref): boolean {
    return this.value === other.value && this.type === other.type;
  }
}

/**
 * What a call is made of. Fields may stand in any order: the schema has its own. `$type` names the type where the schema
 * gives a choice; `$text` is the contents of a simple one (`xsd:string`).
 */
export type Argument = string | number | boolean | Ref | null | undefined | readonly Argument[] | ArgumentObject;
export interface ArgumentObject {
  readonly [field: string]: Argument;
}

const ESCAPES: Readonly<Record<string, string>> = { '<': '&lt;', '>': '&gt;', '&': '&amp;', '"': '&quot;' };
// Other control characters have no place in XML at all.
const escapeXml = (value: string | number | boolean): string =>
  String(value)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be sent
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, '')
    .replace(/[<>&"]/g, (c) => ESCAPES[c]!)
    .replace(/[\r\n\t]/g, (c) => `&#${c.charCodeAt(0)};`);

/** @param type of the schema, for an object */
export const element = (tag: string, value: Argument, type?: string): string => {
  if (value === undefined || value === null) return '';
  if (Array.isArray(value)) return value.map((each) => element(tag, each, type)).join('');
  if (value instanceof Ref) return `<${tag} type="${escapeXml(value.type)}">${escapeXml(value.value)}</${tag}>`;
  if (typeof value !== 'object') return `<${tag}>${escapeXml(value)}</${tag}>`;
  const { $type, $text, ...fields } = value as ArgumentObject;
  const said = $type === undefined ? '' : ` xsi:type="${escapeXml($type as string)}"`;
  const content =
    $text === undefined ? inOrder(($type as string) ?? type ?? tag, TYPES, fields) : escapeXml($text as string);
  return `<${tag}${said}>${content}</${tag}>`;
};

/** A vCenter takes fields in the order of its schema only, and no others. */
const inOrder = (
  name: string,
  schema: Readonly<Record<string, readonly string[]>>,
  fields: Readonly<Record<string, Argument>>,
): string => {
  const known = (schema[name] ?? []).map((field) => field.split(':') as [string, string?]);
  const strange = Object.keys(fields).find((field) => !known.some(([each]) => each === field));
  if (!schema[name] || strange !== undefined) throw new Error(`the schema has no ${name}.${strange ?? ''}`);
  return known.map(([field, type]) => element(field, fields[field], type)).join('');
};

/** @param namespace of the service, e.g. `vim25` */
export const callOf = (
  namespace: string,
  method: string,
  self: Ref,
  args: Readonly<Record<string, Argument>>,
): string =>
  `<${method} xmlns="urn:${namespace}">${element('_this', self)}${inOrder(method, METHODS, args)}</${method}>`;

const SCHEMA = 'http://www.w3.org/2001/XMLSchema';

export const envelope = (body: string, header = ''): string =>
  `<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" ` +
  `xmlns:xsi="${SCHEMA}-instance" xmlns:xsd="${SCHEMA}">${header}<soapenv:Body>${body}</soapenv:Body></soapenv:Envelope>`;

const parser = new XMLParser({
  ignoreAttributes: false,
  attributeNamePrefix: '@',
  parseTagValue: false,
  parseAttributeValue: false,
  ignoreDeclaration: true,
  htmlEntities: true,
  transformTagName: (name) => name.replace(/^.*:/, ''),
  // `type` is what a reference refers to; with a prefix, whatever that is, it is the type of the element.
  transformAttributeName: (name) => name.replace(/^@[^:]+:type$/, '@xsi'),
});

/** As the answer says it: references, lists, texts, and objects with `$type` where it was given. */
export type Answer = string | number | boolean | Ref | readonly Answer[] | AnswerObject;
export interface AnswerObject {
  readonly $type?: string;
  readonly [field: string]: Answer | undefined;
}

type Node = string | Node[] | { readonly [key: string]: Node };

const NUMBERS = new Set(['byte', 'short', 'int', 'long', 'float', 'double']);
const TEXTS = new Set(['string', 'dateTime', 'anyURI', 'base64Binary', 'anyType']);

const answerOf = (node: Node): Answer => {
  if (typeof node === 'string') return node;
  if (Array.isArray(node)) return node.map(answerOf);
  const text = (node['#text'] as string | undefined) ?? '';
  const type = (node['@xsi'] as string | undefined)?.replace(/^.*:/, '');
  if (typeof node['@type'] === 'string') return new Ref(node['@type'], text);
  const fields = Object.entries(node).filter(([key]) => !key.startsWith('@') && key !== '#text');
  if (type?.startsWith('ArrayOf')) return fields.flatMap(([, each]) => listOf(answerOf(each)));
  if (fields.length > 0 || (type !== undefined && text === '' && !TEXTS.has(type) && !NUMBERS.has(type)))
    return {
      ...(type === undefined ? {} : { $type: type }),
      ...Object.fromEntries(fields.map(([k, v]) => [k, answerOf(v)])),
    };
  if (type === 'boolean') return text === 'true';
  return type !== undefined && NUMBERS.has(type) ? Number(text) : text;
};

/** Elements that may come more than once: none, one or many. */
export const listOf = (value: Answer | undefined): readonly Answer[] =>
  value === undefined ? [] : Array.isArray(value) ? value : [value as Answer];

/** Of a field whose type the answer does not say. */
export const isTrue = (value: Answer | undefined): boolean => String(value) === 'true';

/**
 * The contents of an answer's body.
 * @throws Error when it is no SOAP envelope
 */
export const bodyOf = (xml: string): AnswerObject => {
  const parsed = parser.parse(xml) as { readonly Envelope?: { readonly Body?: Node } };
  const body = parsed.Envelope?.Body;
  if (body === undefined || typeof body === 'string') throw new Error('the answer is no SOAP envelope');
  return answerOf(body) as AnswerObject;
};
