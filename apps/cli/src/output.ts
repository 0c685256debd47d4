/** Where results go; a spec collects them. */
export interface Output {
  line(text: string): void;
  error(text: string): void;
}

export const printJson = (out: Output, value: unknown): void => out.line(JSON.stringify(value, null, 2));

// biome-ignore lint/suspicious/noControlCharactersInRegex: texts of others must not drive the terminal
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

/** On one line, and of no effect on the terminal. */
export const text = (value: unknown): string => {
  const plain =
    value === null || value === undefined ? '-' : typeof value === 'object' ? JSON.stringify(value) : String(value);
  return plain.replace(CONTROL, '?').replace(/\n/g, ' ');
};

type Column<Row> = readonly [title: string, value: (row: Row) => unknown];

/** Columns as wide as they have to be; nothing but the title for an empty list. */
export const printTable = <Row>(out: Output, rows: readonly Row[], columns: readonly Column<Row>[]): void => {
  const cells = [columns.map(([title]) => title), ...rows.map((row) => columns.map(([, value]) => text(value(row))))];
  const widths = columns.map((_, i) => Math.max(...cells.map((line) => line[i]!.length)));
  for (const line of cells)
    out.line(
      line
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join('  ')
        .trimEnd(),
    );
};

export const printLine = (out: Output, line: string): void => out.line(text(line));
