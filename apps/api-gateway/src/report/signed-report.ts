import { createHash } from 'node:crypto';
import { canonicalText } from '@omnivisor/eventsourcing';
import { NoteError, type NoteVerifier, openCheckpoint, openNote } from '@omnivisor/eventsourcing/seal';
import type { LicenceLine, UsageLine } from './usage.js';

export const reportKinds = ['usage', 'licences'] as const;
export type ReportKind = (typeof reportKinds)[number];

export interface Report {
  readonly kind: ReportKind;
  readonly cloud: string;
  readonly from: string;
  readonly to: string;
  /** Position of the last event that was counted. */
  readonly position: number;
  readonly lines: readonly UsageLine[] | readonly LicenceLine[];
}

export interface SignedReport {
  readonly report: Report;
  /** A checkpoint of the log that has all events of the report. */
  readonly checkpoint: string;
  /** Signed note (C2SP) by the keys of the checkpoint over the report's hash and the checkpoint's root. */
  readonly note: string;
}

/** The text that is signed; it cannot be taken for a checkpoint. */
export const reportText = (report: Report, checkpoint: { readonly size: number; readonly root: Buffer }): string => {
  const digest = createHash('sha256').update(canonicalText(report)).digest('base64');
  return `omnivisor-report/v1\n${report.cloud}\nsha256 ${digest}\ntree ${checkpoint.size} ${checkpoint.root.toString('base64')}\n`;
};

/**
 * Checks what can be checked without the log.
 * @returns what is wrong; null when the report is what the keys signed
 */
export const checkReport = (signed: SignedReport, keys: readonly NoteVerifier[]): string | null => {
  try {
    const head = openCheckpoint(signed.checkpoint, keys);
    if (head.position < signed.report.position) return 'the checkpoint does not have all events of the report';
    const { text } = openNote(signed.note, keys);
    return text === reportText(signed.report, head) ? null : 'the report is not the one that was signed';
  } catch (error) {
    if (error instanceof NoteError) return error.message;
    throw error;
  }
};
