import { Controller, Injectable, Module } from '@nestjs/common';
import { DomainError, unavailable } from '@omnivisor/contracts';
import { z } from 'zod';
import { type Call, Operation, Reply } from '../index.js';

@Injectable()
class Greeter {
  greet(name: string) {
    return `hello ${name}`;
  }
}

const Body21 = z.strictObject({
  thing: z.strictObject({ name: z.string().min(1).max(255), size: z.number().int().min(1).optional() }),
});
const Body250 = z.strictObject({ thing: z.strictObject({ name: z.string(), colour: z.enum(['red', 'blue']) }) });

@Controller()
class ThingsController {
  constructor(private readonly greeter: Greeter) {}

  @Operation({ service: 'compute', method: 'GET', path: '/v2.1/things/:id', policy: 'os_compute_api:servers:show' })
  show(call: Call) {
    if (call.params.id === 'boom') throw new Error('secret text');
    if (call.params.id === 'away')
      throw unavailable('the service cannot reach its store', new Error('10.0.0.1 refused'));
    if (call.params.id === 'none') throw new DomainError('notFound', 'Thing none could not be found.');
    return {
      thing: {
        id: call.params.id,
        at: call.version,
        old: !call.since('2.50'),
        url: call.publicUrl,
        hi: this.greeter.greet('x'),
      },
    };
  }

  @Operation({
    service: 'compute',
    method: 'POST',
    path: '/v2.1/things',
    policy: 'os_compute_api:servers:create',
    body: [
      ['2.1', Body21],
      ['2.50', Body250],
    ],
    status: [
      ['2.1', 200],
      ['2.2', 201],
    ],
    bodyLimit: 1000,
  })
  create(call: Call) {
    return { thing: call.body };
  }

  @Operation({
    service: 'compute',
    method: 'GET',
    path: '/v2.1/new',
    versions: ['2.10', '2.20'],
    policy: 'authenticated',
  })
  fresh() {
    return { new: 1 };
  }

  @Operation({ service: 'compute', method: 'GET', path: '/v2.1/new', versions: ['2.21'], policy: 'authenticated' })
  fresher() {
    return new Reply({ new: 2 }, { status: 203, headers: { 'x-a': 'b' } });
  }

  @Operation({
    service: 'compute',
    method: 'DELETE',
    path: '/v2.1/things/:id',
    policy: 'os_compute_api:os-services:update',
    status: 204,
  })
  remove() {}

  @Operation({ service: 'identity', method: 'GET', path: '/v3/things', policy: 'authenticated' })
  list() {
    return { things: [] };
  }
}

@Module({ controllers: [ThingsController], providers: [Greeter] })
export class ThingsModule {}
