import { closeSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { DomainError, invalid } from '@omnivisor/contracts';
import { createUserKey, credsText, publicKeyOf } from '@omnivisor/platform';

/**
 * Seed of a key, made and kept before anybody is asked: when the answer is lost, the same command goes on with the same
 * key.
 */
const keptSeed = (file: string): string => {
  try {
    const handle = openSync(file, 'wx', 0o600);
    const { seed } = createUserKey();
    writeFileSync(handle, `${seed}\n`);
    closeSync(handle);
    return seed;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    const kept = readFileSync(file, 'utf8').trim();
    if (!/^SU[A-Z2-7]{56}$/.test(kept)) throw invalid(`${file} is there already; name another file with --out`);
    return kept;
  }
};

/**
 * Makes a NATS user key here, which never leaves, has it signed, and writes credentials to a file.
 * @param sign what the scheduler answers to the public half
 * @throws DomainError as the scheduler refuses: then no file is left
 */
export const withNewKey = async <A extends { readonly jwt: string }>(
  file: string,
  sign: (publicKey: string) => Promise<A>,
): Promise<A> => {
  const seed = keptSeed(file);
  let answer: A;
  try {
    answer = await sign(publicKeyOf(seed));
  } catch (error) {
    if (error instanceof DomainError && error.kind !== 'unavailable') rmSync(file);
    throw error;
  }
  writeFileSync(`${file}.new`, credsText(answer.jwt, seed), { mode: 0o600 });
  renameSync(`${file}.new`, file);
  return answer;
};
