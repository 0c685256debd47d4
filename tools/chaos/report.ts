import type { Row } from './trial.js';

const WIDTHS = [24, 9, 6, 6, 7, 9, 5, 6, 6];
const line = (cells: readonly unknown[]) =>
  cells.map((cell, i) => (i === 0 ? String(cell).padEnd(WIDTHS[i]!) : String(cell).padStart(WIDTHS[i]!))).join(' ');

export const HEAD = line(['fault', 'accepted', '503', 'cut', 'failed', 'at rest', 'lost', 'twice', 'wrong']);

export const lineOf = (row: Row): string =>
  line([
    row.fault,
    row.accepted,
    row.unavailable,
    row.cut,
    row.failed,
    row.rest === null ? 'never' : `${row.rest.toFixed(1)} s`,
    row.lost.length,
    row.twice.length,
    row.wrong.length,
  ]);

export const violationsOf = ({ lost, twice, wrong }: Row): string[] => [
  ...lost.map((what) => `lost: ${what}`),
  ...twice.map((what) => `twice: ${what}`),
  ...wrong,
];
