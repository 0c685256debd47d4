import { last, type Query } from './paging.js';
import { parseTime } from './parameters.js';

/** The moment that a query names; null when it names none. */
export const timeOf = (query: Query, key: string) => {
  const raw = last(query, key);
  return raw === undefined ? null : parseTime(raw);
};
