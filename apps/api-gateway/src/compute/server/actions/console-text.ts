/**
 * What Nova gives of a console's text: the last `lines`, all of them for null or less than 0.
 * What follows the last line break counts as a line, even when it is empty.
 */
export const consoleText = (raw: string, lines: number | null): string => {
  if (lines === 0) return '';
  // Control characters other than the usual ones do not survive in clients' terminals.
  const text = raw.replace(/[^\t\n\r\x20-\x7e\x80-\u{10ffff}]/gu, '');
  return lines === null || lines < 0 ? text : text.split('\n').slice(-lines).join('\n');
};
