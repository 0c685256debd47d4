import { Reply } from '@omnivisor/openstack';

/** Rows that are objects at the same time. Many more would outlive the young generation, and cost what they are copied. */
const SLICE = 100;

const slices = function* <T>(items: Iterable<T>): Generator<T[]> {
  let slice: T[] = [];
  for (const item of items) {
    slice.push(item);
    if (slice.length < SLICE) continue;
    yield slice;
    slice = [];
  }
  if (slice.length > 0) yield slice;
};

/** The answer `{<name>: [...], ...rest}` of a list that may be long: its rows become bytes a slice at a time. */
export const jsonList = async <Row>(
  rows: Iterable<Row>,
  parts: {
    readonly name: string;
    readonly render: (rows: readonly Row[]) => Promise<readonly object[]>;
    /** What comes beside the list, of how many rows it has and the last of them. */
    readonly rest: (length: number, last: Row | undefined) => object;
  },
): Promise<Reply> => {
  const bytes = [Buffer.from(`{${JSON.stringify(parts.name)}:[`)];
  let length = 0;
  let last: Row | undefined;
  for (const slice of slices(rows)) {
    const text = JSON.stringify(await parts.render(slice)).slice(1, -1);
    bytes.push(Buffer.from(length > 0 ? `,${text}` : text));
    length += slice.length;
    last = slice.at(-1);
  }
  const rest = JSON.stringify(parts.rest(length, last)).slice(1);
  bytes.push(Buffer.from(`]${rest === '}' ? '' : ','}${rest}`));
  return new Reply(Buffer.concat(bytes), { headers: { 'content-type': 'application/json' } });
};
