import { type Described, openApiOf } from '../common/open-api.js';
import { GuestController } from './guest.controller.js';
import { GuestView } from './guest.view.js';

const described: Described = { show: { answer: GuestView } };

const faults = {
  401: 'There is no valid token.',
  403: 'The caller may not read the servers of its project.',
  404: 'There is no such server in the project of the caller.',
  409: 'The server does not run.',
  501: 'The hypervisor of its host has no way to hear of a guest.',
  503: 'The host does not answer now; try again.',
};

/** What guests tell of themselves. */
export const openApi = () =>
  openApiOf(GuestController, described, faults, {
    title: 'What guests tell of themselves',
    description:
      "An extension of the Compute API: what the system inside a server tells by its hypervisor's integration services, or by the guest agent of its image. It is asked at the time of the request and kept nowhere; nothing of it is sure, as the guest may say anything. Faults have the form of Compute.",
  });
