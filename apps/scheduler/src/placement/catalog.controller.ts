import { Controller } from '@nestjs/common';
import { DomainError } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import { z } from 'zod';
import { SchedulerCore } from '../core/scheduler-core.js';
import { allClasses, allTraits, isClass, isTrait, traitsInUse } from './catalog.js';
import { badQuery } from './query.js';
import { classView, dated } from './views.js';

const base = { service: 'placement', method: 'GET' } as const;
const one = z.array(z.string());

@Controller()
export class CatalogController {
  constructor(private readonly core: SchedulerCore) {}

  @Operation({ ...base, path: '/resource_classes', versions: ['1.2'], policy: 'placement:resource_classes:list' })
  async classes(call: Call) {
    const names = allClasses(await this.core.fresh());
    return dated(call, { resource_classes: names.map((name) => classView(name, call)) });
  }

  @Operation({ ...base, path: '/resource_classes/:name', versions: ['1.2'], policy: 'placement:resource_classes:show' })
  async resourceClass(call: Call) {
    const name = call.params.name!;
    if (!isClass(await this.core.fresh(), name)) throw new DomainError('notFound', `No such resource class ${name}.`);
    return dated(call, classView(name, call));
  }

  @Operation({
    ...base,
    path: '/traits',
    versions: ['1.6'],
    policy: 'placement:traits:list',
    query: z.strictObject({ name: one.optional(), associated: one.optional() }),
  })
  async traits(call: Call) {
    const world = await this.core.fresh();
    const used = traitsInUse(world);
    const associated = call.query.associated?.at(-1);
    if (associated !== undefined && !/^(true|1|false|0)$/i.test(associated))
      throw badQuery(`The query parameter "associated" only accepts "true" or "false"; got: ${associated}`);
    const wanted = associated === undefined ? null : /^(true|1)$/i.test(associated);
    const named = nameFilter(call.query.name?.at(-1));
    const traits = [...allTraits(world)].filter((t) => named(t) && (wanted === null || used.has(t) === wanted)).sort();
    return dated(call, { traits });
  }

  @Operation({ ...base, path: '/traits/:name', versions: ['1.6'], policy: 'placement:traits:show', status: 204 })
  async trait(call: Call) {
    const name = call.params.name!;
    if (!isTrait(await this.core.fresh(), name)) throw new DomainError('notFound', `No such trait(s): ${name}.`);
    return dated(call, undefined, undefined, 204);
  }
}

const nameFilter = (text: string | undefined): ((name: string) => boolean) => {
  if (text === undefined) return () => true;
  if (text.startsWith('in:')) {
    const names = new Set(text.slice(3).split(','));
    return (name) => names.has(name);
  }
  if (text.startsWith('startswith:')) return (name) => name.startsWith(text.slice('startswith:'.length));
  throw badQuery(
    `Badly formatted name parameter. Expected name query string parameter in form: ?name=[in|startswith]:[name1,name2|prefix]. Got: "${text}"`,
  );
};
