/** A value as Python prints it: clients of OpenStack know its messages in this form. */
export const pythonText = (value: unknown): string => {
  if (value === null || value === undefined) return 'None';
  if (value === true) return 'True';
  if (value === false) return 'False';
  if (typeof value === 'string') return pythonString(value);
  if (typeof value === 'number' || typeof value === 'bigint') return String(value);
  if (Array.isArray(value)) return `[${value.map(pythonText).join(', ')}]`;
  if (typeof value === 'object')
    return `{${Object.entries(value)
      .map(([k, v]) => `${pythonString(k)}: ${pythonText(v)}`)
      .join(', ')}}`;
  return String(value);
};

const pythonString = (text: string): string => {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escaped = text
    .replaceAll('\\', '\\\\')
    .replaceAll('\n', '\\n')
    .replaceAll('\r', '\\r')
    .replaceAll('\t', '\\t')
    .replaceAll(quote, `\\${quote}`);
  return `${quote}${escaped}${quote}`;
};

/** Like Python's `str()`: a text stands for itself, everything else as `pythonText`. */
export const pythonStr = (value: unknown): string => (typeof value === 'string' ? value : pythonText(value));

const MAX = 1_000;
/** Bounds what a message repeats of the caller's own input. */
export const bounded = (text: string): string => (text.length <= MAX ? text : `${text.slice(0, MAX)}...`);
