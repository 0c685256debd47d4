import { type DynamicModule, Module } from '@nestjs/common';
import { SchedulerCore } from '../core/scheduler-core.js';
import { AggregatesController } from './aggregates.controller.js';
import { AllocationsController } from './allocations.controller.js';
import { CandidatesController } from './candidates.controller.js';
import { InventoriesController } from './inventories.controller.js';
import { ProvidersController } from './providers.controller.js';
import { ResourceClassesController } from './resource-classes.controller.js';
import { TraitsController } from './traits.controller.js';

@Module({})
class PlacementModule {}

/** The Placement API, over one scheduler's world. */
export const placementModule = (core: SchedulerCore): DynamicModule => ({
  module: PlacementModule,
  controllers: [
    ProvidersController,
    InventoriesController,
    AggregatesController,
    TraitsController,
    ResourceClassesController,
    AllocationsController,
    CandidatesController,
  ],
  providers: [{ provide: SchedulerCore, useValue: core }],
});
