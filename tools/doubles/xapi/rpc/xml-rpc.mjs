import { mapOf, recordOf, setOf } from '../model/types.mjs';

const ENTITIES = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };
const decodeText = (text) =>
  text.replace(/&(?:#x([0-9a-f]+)|#(\d+)|(\w+));/gi, (whole, hex, decimal, name) =>
    hex || decimal ? String.fromCodePoint(Number.parseInt(hex ?? decimal, hex ? 16 : 10)) : (ENTITIES[name] ?? whole),
  );
const encodeText = (text) => text.replace(/[<>&]/g, (c) => ({ '<': '&lt;', '>': '&gt;', '&': '&amp;' })[c]);

/** Elements and text of a document, in order. */
const tokensOf = (xml) =>
  [...xml.matchAll(/<\?[\s\S]*?\?>|<!--[\s\S]*?-->|<!\[CDATA\[([\s\S]*?)\]\]>|<(\/?)([\w.:-]+)[^>]*?(\/?)>|([^<]+)/g)]
    .filter(([, cdata, , name, , text]) => cdata !== undefined || name !== undefined || text !== undefined)
    .map(([, cdata, closing, name, empty, text]) =>
      name === undefined
        ? { text: cdata ?? decodeText(text) }
        : { name, closing: closing === '/', empty: empty === '/' },
    );

class Reader {
  constructor(xml) {
    this.tokens = tokensOf(xml);
    this.at = 0;
  }

  /** Skips white space, and says which element comes next, if it is one that opens. */
  peek() {
    while (this.tokens[this.at]?.text?.trim() === '') this.at++;
    const token = this.tokens[this.at];
    return token?.name !== undefined && !token.closing ? token.name : null;
  }

  text() {
    let text = '';
    while (this.tokens[this.at]?.text !== undefined) text += this.tokens[this.at++].text;
    return text;
  }

  /** Reads `<name>` … `</name>`. */
  element(name, inside) {
    if (this.peek() !== name) throw new SyntaxError(`no <${name}> where one has to be`);
    if (this.tokens[this.at++].empty) return inside(true);
    const result = inside(false);
    while (this.tokens[this.at]?.text?.trim() === '') this.at++;
    const end = this.tokens[this.at++];
    if (!end?.closing || end.name !== name) throw new SyntaxError(`no </${name}> where one has to be`);
    return result;
  }

  list(name, inside) {
    const items = [];
    while (this.peek() === name) items.push(this.element(name, inside));
    return items;
  }

  value() {
    return this.element('value', (empty) => {
      if (empty) return '';
      const start = this.at;
      const kind = this.peek();
      if (kind === null) {
        this.at = start;
        return this.text();
      }
      return this.element(kind, (none) => this.typed(kind, none));
    });
  }

  typed(kind, empty) {
    switch (kind) {
      case 'array':
        return empty ? [] : this.element('data', (none) => (none ? [] : this.values()));
      case 'struct':
        return empty ? {} : Object.fromEntries(this.list('member', () => this.member()));
      case 'boolean':
        return this.text().trim() === '1';
      case 'int':
      case 'i4':
      case 'i8':
      case 'double':
        return Number(this.text());
      case 'nil':
        return null;
      default:
        return empty ? '' : this.text();
    }
  }

  values() {
    const items = [];
    while (this.peek() === 'value') items.push(this.value());
    return items;
  }

  member() {
    const name = this.element('name', (empty) => (empty ? '' : this.text()));
    return [name, this.value()];
  }
}

/** @param {string} xml @returns {{ method: string, params: unknown[] }} @throws SyntaxError */
export const parseCall = (xml) => {
  const reader = new Reader(xml);
  return reader.element('methodCall', () => {
    const method = reader.element('methodName', () => reader.text().trim());
    const params =
      reader.peek() === 'params'
        ? reader.element('params', (empty) =>
            empty ? [] : reader.list('param', (none) => (none ? '' : reader.value())),
          )
        : [];
    return { method, params };
  });
};

const struct = (members) =>
  `<struct>${members.map(([name, value]) => `<member><name>${encodeText(name)}</name>${value}</member>`).join('')}</struct>`;
const array = (values) => `<array><data>${values.join('')}</data></array>`;

/**
 * A value as XAPI writes it in XML: whole numbers as plain text.
 * @param {string} type
 * @param {any} value
 * @param {import('../model/schema.mjs').Schema} schema
 * @returns {string}
 */
export const formatValue = (type, value, schema) => {
  const write = (inner, item) => formatValue(inner, item, schema);
  const map = mapOf(type);
  if (map) return `<value>${struct(Object.entries(value).map(([k, v]) => [k, write(map.value, v)]))}</value>`;
  const member = setOf(type);
  if (member !== null) return `<value>${array(value.map((item) => write(member, item)))}</value>`;
  if (type === 'an event batch') {
    const events = value.events.map(({ snapshot, ...event }) => {
      const members = Object.entries(event).map(([k, v]) => [k, write('string', v)]);
      if (snapshot) members.push(['snapshot', write(`${schema.classNamed(event.class)} record`, snapshot)]);
      return `<value>${struct(members)}</value>`;
    });
    return `<value>${struct([
      ['events', `<value>${array(events)}</value>`],
      ['valid_ref_counts', write('(string -> int) map', value.valid_ref_counts)],
      ['token', write('string', value.token)],
    ])}</value>`;
  }
  const record = recordOf(type);
  if (record !== null) {
    const { fields } = schema.classes[record];
    return `<value>${struct(Object.entries(value).map(([k, v]) => [k, write(fields[k].type, v)]))}</value>`;
  }
  switch (type) {
    case 'bool':
      return `<value><boolean>${value ? 1 : 0}</boolean></value>`;
    case 'float':
      return `<value><double>${value}</double></value>`;
    case 'datetime':
      return `<value><dateTime.iso8601>${value}</dateTime.iso8601></value>`;
    case 'void':
      return '<value></value>';
    default:
      return `<value>${encodeText(String(value))}</value>`;
  }
};

const response = (content) => `<?xml version="1.0"?><methodResponse>${content}</methodResponse>`;
const answer = (members) => response(`<params><param><value>${struct(members)}</value></param></params>`);

/** @param {string} type @param {unknown} value */
export const formatSuccess = (type, value, schema) =>
  answer([
    ['Status', '<value>Success</value>'],
    ['Value', formatValue(type, value, schema)],
  ]);

/** @param {string[]} description the code and its parameters */
export const formatFailure = (description) =>
  answer([
    ['Status', '<value>Failure</value>'],
    ['ErrorDescription', `<value>${array(description.map((text) => `<value>${encodeText(text)}</value>`))}</value>`],
  ]);

/** `system.listMethods` alone answers without a status. */
export const formatPlain = (type, value, schema) =>
  response(`<params><param>${formatValue(type, value, schema)}</param></params>`);
