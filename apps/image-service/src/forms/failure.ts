import { DomainError } from '@omnivisor/contracts';
import { Unreadable } from '../guest/disk.js';
import { ToolFailed } from '../sandbox/sandbox.js';
import { StoreFull } from '../store/index.js';

/** By what a tool's end and its words show. */
const REASONS: readonly (readonly [sign: RegExp, reason: string])[] = [
  [/: (SIGKILL|SIGXCPU): /, 'it took longer than it may'],
  [/: SIGXFSZ: |File too large/i, 'the result became larger than it may'],
  [/Cannot allocate memory|failed to allocate|out of memory/i, 'it took more memory than it may'],
  [
    /Input\/output error|Invalid argument|error while reading|corrupt|Could not open/i,
    'the image could not be read, it may be damaged',
  ],
];

/** True when the store's disk is full: that says nothing of the image. */
export const isFull = (error: unknown): boolean =>
  error instanceof StoreFull ||
  (error instanceof ToolFailed && /No space left|Disk quota exceeded/i.test(error.message));

/** Why a conversion failed, for whoever asked: short, and nothing of what the tool itself said. */
export const failureOf = (error: unknown): string => {
  if (error instanceof DomainError || error instanceof Unreadable) return error.message;
  if (!(error instanceof ToolFailed)) return 'the converter failed';
  return REASONS.find(([sign]) => sign.test(error.message))?.[1] ?? 'the converter failed';
};
