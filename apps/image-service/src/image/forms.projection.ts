import type { Bytes, ImageEvent, ImageFormat, ImageId } from '@omnivisor/contracts';
import { projection, type Recorded, table } from '@omnivisor/eventsourcing';

export interface FormRow {
  readonly derivationId: string;
  readonly state: 'running' | 'ready' | 'failed';
  /** When it came to this state. */
  readonly since: string;
  readonly size: Bytes | null;
  readonly sha256: string | null;
  readonly composed: boolean;
  readonly base: ImageFormat | null;
  /** Why it failed. */
  readonly reason: string | null;
}

/** The derived forms of one image. */
export interface FormsRow {
  readonly imageId: ImageId;
  readonly forms: { readonly [F in ImageFormat]?: FormRow };
  readonly running: boolean;
}
export const formsTable = table<FormsRow>('image_forms_v1', ['running']);

type Derivation = Extract<Recorded<ImageEvent>, { data: { derivationId: string } }>;

const formOf = (event: Derivation): FormRow | undefined => {
  const plain = {
    derivationId: event.data.derivationId,
    since: event.recordedAt,
    ...{ size: null, sha256: null, composed: false, base: null, reason: null },
  };
  switch (event.type) {
    case 'ImageDerivationStarted':
      return { ...plain, state: 'running' };
    case 'ImageDerived': {
      const { size, sha256, composed, base } = event.data;
      return { ...plain, state: 'ready', size, sha256, composed, base };
    }
    case 'ImageDerivationFailed':
      return { ...plain, state: 'failed', reason: event.data.reason };
    case 'ImageDerivationDropped':
      return undefined;
  }
};

const next = (row: FormsRow | undefined, event: Derivation): FormsRow => {
  const { [event.data.format]: _, ...others } = row?.forms ?? {};
  const form = formOf(event);
  const forms: FormsRow['forms'] = form ? { ...others, [event.data.format]: form } : others;
  return {
    imageId: event.data.imageId,
    forms,
    running: Object.values(forms).some((f) => f.state === 'running'),
  };
};

const onForm = { key: (event: Derivation) => event.data.imageId as string, row: next };

export const formsProjection = projection<ImageEvent, FormsRow>(formsTable, {
  ImageDerivationStarted: onForm,
  ImageDerived: onForm,
  ImageDerivationFailed: onForm,
  ImageDerivationDropped: onForm,
  ImageDeleted: { key: (event) => event.data.imageId, row: () => undefined },
});
