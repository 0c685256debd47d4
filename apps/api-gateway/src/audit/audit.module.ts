import { Controller, type DynamicModule, Module } from '@nestjs/common';
import { type Call, Operation } from '@omnivisor/openstack';
import { IdentityDesk } from '../identity/desk.js';
import { EventFollower } from './events/event-follower.js';
import { EventsController } from './events/events.controller.js';
import { AuditIndex } from './index/audit-index.js';
import { openApi } from './openapi.js';
import { TimelineController } from './timeline/timeline.controller.js';

@Controller()
export class AuditDocuments {
  private readonly document = openApi();

  @Operation({ service: 'audit', method: 'GET', path: '/', policy: 'open' })
  versions(call: Call) {
    const links = [{ rel: 'self', href: `${call.publicUrl}/v1/` }];
    return { versions: [{ id: 'v1.0', status: 'CURRENT', links }] };
  }

  @Operation({ service: 'audit', method: 'GET', path: '/v1/openapi.json', policy: 'open' })
  openapi() {
    return this.document;
  }
}

export interface AuditParts {
  readonly index: AuditIndex;
  readonly follower: EventFollower;
  readonly identity: Pick<IdentityDesk, 'tokens'>;
}

@Module({})
export class AuditModule {
  static of({ index, follower, identity }: AuditParts): DynamicModule {
    return {
      module: AuditModule,
      controllers: [EventsController, TimelineController, AuditDocuments],
      providers: [
        { provide: AuditIndex, useValue: index },
        { provide: EventFollower, useValue: follower },
        { provide: IdentityDesk, useValue: identity },
      ],
    };
  }
}
