import { Module } from '@nestjs/common';
import { NetworksController } from './network/networks.controller.js';
import { SubnetsController } from './subnet/subnets.controller.js';

@Module({ controllers: [NetworksController, SubnetsController] })
export class NetworkModule {}
