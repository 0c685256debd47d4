import { type Described, openApiOf } from '../common/open-api.js';
import { AdoptionController } from './adoption.controller.js';
import { AdoptedView, AdoptionBody, GuestsView } from './adoption.schema.js';

const described: Described = {
  list: { answer: GuestsView },
  adopt: { body: AdoptionBody, answer: AdoptedView },
  release: {},
};

const faults = {
  400: 'What was asked for does not fit the guest, or is wrong.',
  401: 'There is no valid token.',
  403: 'The caller is no administrator, or the quota of the project is used up.',
  404: 'There is no such host, guest or server.',
  409: 'The server was not adopted, or is in the middle of something.',
  501: 'The hypervisor of the host cannot adopt guests.',
  503: 'The host does not answer now; try again.',
};

/** What administrators do with guests that are there already. */
export const openApi = () =>
  openApiOf(AdoptionController, described, faults, {
    title: 'Adoption of guests',
    description:
      'An extension of the Compute API for administrators: guests that somebody else made become servers of a project without a restart, and are given back. Faults have the form of Compute.',
  });
