import { type PersonalEvent, type PersonalSubject, personalEvents } from '@omnivisor/contracts';
import type { Aggregate } from '@omnivisor/eventsourcing';

export interface PersonalData {
  readonly erased: boolean;
  /** The key is destroyed, and rows were looked at since. */
  readonly looked: boolean;
  readonly complete: boolean;
}

export type PersonalDataCommand =
  | { readonly type: 'erase'; readonly subject: PersonalSubject; readonly reason: string; readonly by: string }
  | { readonly type: 'forget'; readonly subject: PersonalSubject; readonly rows: number; readonly partial?: boolean };

/** The rules of `personal-<kind>-<id>` streams; keys are made where events are appended. */
export const personalData: Aggregate<PersonalData, PersonalDataCommand, PersonalEvent> = {
  events: personalEvents,
  initial: { erased: false, looked: false, complete: false },
  decide(command, state) {
    const { type, ...data } = command;
    if (command.type === 'erase') return state.erased ? [] : [{ type: 'PersonalDataErased', data } as PersonalEvent];
    const isNews = command.rows > 0 || !(command.partial ? state.looked : state.complete);
    return state.erased && isNews ? [{ type: 'PersonalDataForgotten', data } as PersonalEvent] : [];
  },
  evolve(state, event) {
    if (event.type === 'PersonalDataErased') return { ...state, erased: true };
    if (event.type === 'PersonalDataForgotten')
      return { ...state, looked: true, complete: state.complete || !event.data.partial };
    return state;
  },
};
