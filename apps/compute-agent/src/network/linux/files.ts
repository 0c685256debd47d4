import { readFile, rename, writeFile } from 'node:fs/promises';

/** @returns null when the file cannot be read */
export const readText = (path: string): Promise<string | null> => readFile(path, 'utf8').catch(() => null);

/** Replaces a file in one step. @returns whether its text is another now */
export const storeText = async (path: string, text: string): Promise<boolean> => {
  if ((await readText(path)) === text) return false;
  await writeFile(`${path}.new`, text, { mode: 0o644 });
  await rename(`${path}.new`, path);
  return true;
};
