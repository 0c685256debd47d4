import type { Condition, Query, Scalar, Table } from '../read-model.js';
import { scalarText, storedText } from './codec.js';

const TABLE_NAME = /^[a-z][a-z0-9_]{0,39}$/;
const FIELD_NAME = /^[A-Za-z][A-Za-z0-9_]{0,39}$/;

/** A table of the read model as PostgreSQL has it: the document, and a column for each field with an index. */
export interface PhysicalTable {
  /** Schema and name, quoted. */
  readonly name: string;
  readonly plainName: string;
  readonly fields: readonly string[];
  readonly indexes: readonly (readonly string[])[];
}

/** @param schema quoted @throws Error when a name could be anything but a name */
export const physicalTable = (schema: string, generation: string, table: Table<never>): PhysicalTable => {
  if (!TABLE_NAME.test(table.name)) throw new Error(`not a table name: ${table.name}`);
  const indexes: readonly (readonly string[])[] = table.indexes;
  const fields = [...new Set(indexes.flat())];
  for (const field of fields) if (!FIELD_NAME.test(field)) throw new Error(`not a field name: ${field}`);
  const plainName = `${table.name}__${generation}`;
  return { name: `${schema}."${plainName}"`, plainName, fields, indexes };
};

export const columnOf = (field: string): string => `"f_${field}"`;

/** Collects the parameters of one statement. */
export class Parameters {
  readonly values: unknown[] = [];
  add(value: unknown, type = 'text'): string {
    this.values.push(value);
    return `$${this.values.length}::${type}`;
  }
}

/** A query's `where`, `order by` and the like over one table. */
export class QueryText {
  readonly parameters = new Parameters();

  /** @param schema quoted */
  constructor(
    private readonly schema: string,
    private readonly table: PhysicalTable,
  ) {}

  /** The field as a text that sorts as its value does: its column, or computed when it has none. */
  scalar(field: string): string {
    if (this.table.fields.includes(field)) return columnOf(field);
    return `${this.schema}.scalar(${this.json(field)}) collate "C"`;
  }

  where(where: Query<object>['where'] = {}): string[] {
    return (Object.entries(where) as [string, Condition | undefined][]).flatMap(([field, condition]) =>
      condition === undefined ? [] : [this.condition(field, condition)],
    );
  }

  orderBy(order: readonly (readonly [string, 'asc' | 'desc'])[]): string {
    const fields = order.map(([field, direction]) =>
      direction === 'asc' ? `${this.scalar(field)} asc nulls first` : `${this.scalar(field)} desc nulls last`,
    );
    return [...fields, 'key asc'].join(', ');
  }

  /** Rows that come after a marker with these values, in the order asked for. */
  after(
    order: readonly (readonly [string, 'asc' | 'desc'])[],
    marker: { readonly key: string; readonly scalars: readonly (string | null)[] },
  ): string {
    const same: string[] = [];
    const branches: string[] = [];
    for (const [i, [field, direction]] of order.entries()) {
      const value = marker.scalars[i] ?? null;
      const column = this.scalar(field);
      if (value === null) {
        if (direction === 'asc') branches.push([...same, `${column} is not null`].join(' and '));
        same.push(`${column} is null`);
      } else {
        const parameter = this.parameters.add(value);
        const beyond =
          direction === 'asc' ? `${column} > ${parameter}` : `(${column} < ${parameter} or ${column} is null)`;
        branches.push([...same, beyond].join(' and '));
        same.push(`${column} = ${parameter}`);
      }
    }
    branches.push([...same, `key > ${this.parameters.add(storedText(marker.key))}`].join(' and '));
    return `(${branches.map((branch) => `(${branch})`).join(' or ')})`;
  }

  private json(field: string): string {
    if (!FIELD_NAME.test(field)) throw new Error(`not a field name: ${field}`);
    return `(doc->'${field}')`;
  }

  private equal(expression: string, value: Scalar): string {
    const text = scalarText(value);
    return text === null ? `${expression} is null` : `${expression} = ${this.parameters.add(text)}`;
  }

  private condition(field: string, condition: Condition): string {
    if (condition === null || typeof condition !== 'object') return this.equal(this.scalar(field), condition);
    if ('contains' in condition) {
      const holds = this.equal(`${this.schema}.scalar(e.value)`, condition.contains);
      const json = this.json(field);
      return `case json_typeof(${json}) when 'array' then exists (select from json_array_elements(${json}) e where ${holds}) else false end`;
    }
    if ('includes' in condition) {
      const json = this.json(field);
      const part = this.parameters.add(storedText(condition.includes));
      return `case json_typeof(${json}) when 'string' then position(${part} in ${json} #>> '{}') > 0 else false end`;
    }
    const column = this.scalar(field);
    if ('in' in condition) {
      const texts = condition.in.map(scalarText);
      const among = `${column} = any(${this.parameters.add(texts.filter((t) => t !== null))}[])`;
      return texts.includes(null) ? `(${among} or ${column} is null)` : among;
    }
    if ('ne' in condition) {
      const text = scalarText(condition.ne);
      return text === null ? `${column} is not null` : `${column} is distinct from ${this.parameters.add(text)}`;
    }
    const parts = [`${column} is not null`];
    for (const [name, operator] of [
      ['gt', '>'],
      ['gte', '>='],
      ['lt', '<'],
      ['lte', '<='],
    ] as const) {
      const bound = condition[name];
      if (bound === undefined) continue;
      const text = scalarText(bound);
      // Everything but null sorts after null.
      if (text === null) parts.push(operator.startsWith('>') ? 'true' : 'false');
      else parts.push(`${column} ${operator} ${this.parameters.add(text)}`);
    }
    return parts.join(' and ');
  }
}
