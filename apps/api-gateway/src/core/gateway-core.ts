import { AppCore, type AppPorts, type RowReader } from '@omnivisor/eventsourcing';
import type { Arrival } from '@omnivisor/openstack';
import type { Bus, Clock, Ids } from '@omnivisor/platform/ports';

export type GatewayPorts = AppPorts<Clock, Bus, Ids>;

/** What every part of the gateway stands on; a class of its own so that Nest can inject it. */
export class GatewayCore extends AppCore<Clock, Bus, Ids> {
  /** The read model as of the request's arrival: where the log was then is asked once for all that a request needs. */
  async freshFor({ arrival }: { readonly arrival: Arrival }): Promise<RowReader> {
    if (this.isLookingBack) return this.fresh();
    arrival.head ??= this.head();
    return this.at(await arrival.head);
  }
}
