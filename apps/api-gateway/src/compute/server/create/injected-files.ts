import { DomainError, forbidden } from '@omnivisor/contracts';
import { z } from 'zod';

const InjectedFiles = z.array(z.object({ path: z.string(), contents: z.string() }));
/** Files that a request puts into a guest (`personality`, until 2.56): a path there, and contents in base64. */
export type InjectedFiles = Readonly<z.infer<typeof InjectedFiles>>;

/** What all files of a server may have together: they travel to its host in one message. */
const MOST_BYTES = 512 * 1024;

/** @throws DomainError `overQuota`, in Nova's words. A limit below 0 is none. */
export const checkInjectedFiles = (files: InjectedFiles, limitOf: (resource: string) => number): void => {
  const exceeds = (resource: string, value: number) => limitOf(resource) >= 0 && value > limitOf(resource);
  const longest = (of: (file: InjectedFiles[number]) => string) => Math.max(0, ...files.map((f) => of(f).length));
  if (exceeds('injected_files', files.length)) throw new DomainError('overQuota', 'Personality file limit exceeded');
  const refuse = (what: string, resource: string) =>
    new DomainError('overQuota', `Personality file ${what} exceeds maximum ${limitOf(resource)}`);
  const [path, content] = ['injected_file_path_bytes', 'injected_file_content_bytes'] as const;
  if (
    exceeds(
      path,
      longest((f) => f.path),
    )
  )
    throw refuse('path', path);
  if (
    exceeds(
      content,
      longest((f) => f.contents),
    )
  )
    throw refuse('content', content);
  if (files.reduce((sum, f) => sum + f.contents.length, 0) > MOST_BYTES)
    throw forbidden(`Personality files exceed ${MOST_BYTES} bytes together`);
};

/** As they are kept in the vault. */
export const sealedFiles = (files: InjectedFiles): Buffer => Buffer.from(JSON.stringify(files));
export const openedFiles = (sealed: Buffer): InjectedFiles => InjectedFiles.parse(JSON.parse(sealed.toString()));
