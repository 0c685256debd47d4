import { AppCore, type AppPorts } from '@omnivisor/eventsourcing';
import type { Bus, Clock, Ids } from '@omnivisor/platform/ports';

export type GatewayPorts = AppPorts<Clock, Bus, Ids>;

/** What every part of the gateway stands on; a class of its own so that Nest can inject it. */
export class GatewayCore extends AppCore<Clock, Bus, Ids> {}
