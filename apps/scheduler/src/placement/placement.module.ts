import { type DynamicModule, Module } from '@nestjs/common';
import { SchedulerCore } from '../core/scheduler-core.js';
import { AllocationsController } from './allocations.controller.js';
import { CandidatesController } from './candidates.controller.js';
import { CatalogController } from './catalog.controller.js';
import { ProvidersController } from './providers.controller.js';

@Module({})
class PlacementModule {}

/** The read side of the Placement API, over one scheduler's world. */
export const placementModule = (core: SchedulerCore): DynamicModule => ({
  module: PlacementModule,
  controllers: [ProvidersController, CatalogController, AllocationsController, CandidatesController],
  providers: [{ provide: SchedulerCore, useValue: core }],
});
