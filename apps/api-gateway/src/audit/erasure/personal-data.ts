import { type PersonalEvent, type PersonalSubject, personalEvents } from '@omnivisor/contracts';
import type { Aggregate } from '@omnivisor/eventsourcing';

export interface PersonalData {
  readonly erased: boolean;
  readonly forgotten: boolean;
}

export type PersonalDataCommand =
  | { readonly type: 'erase'; readonly subject: PersonalSubject; readonly reason: string; readonly by: string }
  | { readonly type: 'forgotten'; readonly subject: PersonalSubject; readonly rows: number };

/** The rules of `personal-<kind>-<id>` streams; keys are made where events are appended. */
export const personalData: Aggregate<PersonalData, PersonalDataCommand, PersonalEvent> = {
  events: personalEvents,
  initial: { erased: false, forgotten: false },
  decide(command, { erased, forgotten }) {
    if (command.type === 'erase') {
      const { subject, reason, by } = command;
      return erased ? [] : [{ type: 'PersonalDataErased', data: { subject, reason, by } }];
    }
    const { subject, rows } = command;
    return erased && !forgotten ? [{ type: 'PersonalDataForgotten', data: { subject, rows } }] : [];
  },
  evolve(state, { type }) {
    if (type === 'PersonalDataErased') return { ...state, erased: true };
    if (type === 'PersonalDataForgotten') return { ...state, forgotten: true };
    return state;
  },
};
