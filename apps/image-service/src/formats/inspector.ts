import type { ImageFormat } from '@omnivisor/contracts';
import type { DetectedFormat, FormatReader } from './format.js';
import { sizeProblem } from './limits.js';
import { iso, labelledDisk, luks, ploop, qed, vdi } from './others.js';
import { OvaInspector } from './ova.js';
import { qcow2 } from './qcow2.js';
import { fixedVhdSize, vhd } from './vhd.js';
import { vhdx } from './vhdx.js';
import { vmdk } from './vmdk.js';
import { ByteWindows, HEAD } from './windows.js';

const READERS: readonly FormatReader[] = [qcow2, vmdk, vhd, vhdx, vdi, iso, labelledDisk, ploop, luks, qed];

/** Disk formats that have no header of their own. */
const PLAIN: ReadonlySet<string> = new Set(['raw', 'ami', 'ari', 'aki']);
/** Containers whose bytes are the disk itself. */
const BARE: ReadonlySet<string> = new Set(['bare', 'ami', 'ari', 'aki']);

/** What may begin like a boot sector and is none. */
const WITHOUT_LABEL: ReadonlySet<string> = new Set(['aki', 'ari']);

export interface Inspection {
  /** What the bytes are; `raw` when nobody recognizes them. */
  readonly format: DetectedFormat;
  /** Their exact form; null for a container that nobody looks into. */
  readonly form: ImageFormat | null;
  /** Size of the disk inside, in bytes; null when it cannot be told. */
  readonly virtualSize: number | null;
  /** Why the image must not be kept; null when it may. Fit for the caller. */
  readonly refusal: string | null;
}

const unsafe = (problems: readonly string[]) => `Image failed safety checks: ${problems.join(', ')}`;

/**
 * Looks at an image while it streams by, before any tool does. What it accepts is what it says it is, refers to no
 * other file, and is of one format only. Memory stays at about 1.2 MiB.
 *
 * Vectors and verdicts follow oslo.utils' format inspector, stricter where that lets something through: parents of VHD,
 * VHDX and VDI, encryption, and a `raw` image that is really another format.
 */
export class ImageInspector {
  private readonly seen = new ByteWindows();
  private readonly ova: OvaInspector | null;
  private settled = false;

  constructor(
    private readonly diskFormat: string,
    private readonly containerFormat: string,
  ) {
    this.ova = containerFormat === 'ova' ? new OvaInspector(() => new ImageInspector('vmdk', 'bare')) : null;
  }

  /** @returns why the image is refused, as soon as that is certain */
  feed(chunk: Buffer): string | null {
    let rest = chunk;
    let refusal: string | null = null;
    while (rest.length > 0) {
      const room = HEAD - this.seen.size;
      const part = room > 0 ? rest.subarray(0, room) : rest;
      this.seen.take(part);
      rest = rest.subarray(part.length);
      if (!this.settled && this.seen.headComplete) refusal = this.settle();
    }
    return refusal ?? this.feedOva(chunk);
  }

  /** The verdict over the whole stream. */
  end(): Inspection {
    this.seen.end();
    if (!this.settled) this.settle();
    const matches = this.matches();
    const reader = matches[0];
    const refusal = this.refusal(matches);
    if (this.ova && refusal === null) return this.ovaVerdict(this.ova);
    if (matches.length < 2 && this.diskFormat === 'vhd' && (!reader || reader.format === 'gpt')) {
      const size = fixedVhdSize(this.seen);
      const problems = reader?.problems(this.seen) ?? [];
      if (size !== null) return this.checked('vhd', 'vhd-fixed', size, problems.length > 0 ? unsafe(problems) : null);
    }
    const bare = BARE.has(this.containerFormat);
    const size = !bare ? null : reader ? reader.virtualSize(this.seen) : this.seen.size;
    const form = bare && refusal === null ? this.form(reader) : null;
    return this.checked(reader?.format ?? 'raw', form, size, refusal);
  }

  private feedOva(chunk: Buffer): string | null {
    const problem = this.ova?.feed(chunk) ?? null;
    return problem === null || problem.startsWith('Image ') ? problem : unsafe([problem]);
  }

  private ovaVerdict(ova: OvaInspector): Inspection {
    const problem = ova.end();
    const refusal = problem === null || problem.startsWith('Image ') ? problem : unsafe([problem]);
    const { disks } = ova.contents;
    return this.checked('ova', 'ova', disks.length === 1 ? disks[0]!.virtualSize : null, refusal);
  }

  private form(reader: FormatReader | undefined): ImageFormat {
    if (PLAIN.has(this.diskFormat)) return this.diskFormat as ImageFormat;
    return reader?.form?.(this.seen) ?? (this.diskFormat as ImageFormat);
  }

  private checked(
    format: DetectedFormat,
    form: ImageFormat | null,
    virtualSize: number | null,
    refusal: string | null,
  ): Inspection {
    const problem = form !== null && virtualSize !== null ? sizeProblem(form, virtualSize) : null;
    return { format, form, virtualSize, refusal: refusal ?? (problem === null ? null : unsafe([problem])) };
  }

  private settle(): string | null {
    this.settled = true;
    const matches = this.matches();
    for (const reader of matches) reader.prepare?.(this.seen);
    // A fixed VHD shows itself only at its end.
    if (this.diskFormat === 'vhd' && !this.seen.ended && matches.every((m) => m.format === 'gpt')) return null;
    return this.refusal(matches);
  }

  private matches(): readonly FormatReader[] {
    const matches = READERS.filter((r) => r.detect(this.seen));
    // An ISO that also boots as a disk has a label in front.
    const drop = matches.some((m) => m.format === 'iso') || WITHOUT_LABEL.has(this.diskFormat);
    return drop ? matches.filter((m) => m.format !== 'gpt') : matches;
  }

  private refusal(matches: readonly FormatReader[]): string | null {
    if (matches.length > 1) return `Multiple formats detected: ${matches.map((m) => m.format).join(', ')}`;
    const reader = matches[0];
    const found = reader === undefined || reader.format === 'gpt' ? 'raw' : reader.format;
    const fits =
      !BARE.has(this.containerFormat) || PLAIN.has(this.diskFormat) ? found === 'raw' : found === this.diskFormat;
    if (!fits) {
      const declared = BARE.has(this.containerFormat) ? `disk_format ${this.diskFormat}` : this.containerFormat;
      return `Image ${declared} does not match stream data ${reader?.format ?? 'raw'}`;
    }
    const problems = reader?.problems(this.seen) ?? [];
    return problems.length > 0 ? unsafe(problems) : null;
  }
}
