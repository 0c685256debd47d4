import { Controller } from '@nestjs/common';
import { invalid, notFound, type ProviderId } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import { z } from 'zod';
import { SchedulerCore } from '../core/scheduler-core.js';
import type { World } from '../core/world.js';
import { outdated } from '../registry/registry-lifecycle.js';
import { isCustomName, SET_TRAITS } from './bodies.js';
import { allTraits, isTrait, traitsInUse } from './catalog.js';
import { type PlacementProvider, providerIn } from './providers.js';
import { badQuery } from './query.js';
import { register } from './registry-writer.js';
import { dated, withGeneration } from './views.js';

const base = { service: 'placement', versions: ['1.6'] } as const;
const OF_PROVIDER = '/resource_providers/:uuid/traits';
const rule = (name: string) => `placement:resource_providers:traits:${name}`;
const one = z.array(z.string());

@Controller()
export class TraitsController {
  constructor(private readonly core: SchedulerCore) {}

  @Operation({
    ...base,
    method: 'GET',
    path: '/traits',
    policy: 'placement:traits:list',
    query: z.strictObject({ name: one.optional(), associated: one.optional() }),
  })
  async list(call: Call) {
    const world = await this.core.fresh();
    const used = traitsInUse(world);
    const associated = call.query.associated?.at(-1)?.toLowerCase();
    if (associated !== undefined && associated !== 'true' && associated !== 'false')
      throw badQuery('The query parameter "associated" only accepts "true" or "false"');
    const named = nameFilter(call.query.name?.at(-1));
    const wanted = (name: string) =>
      named(name) && (associated === undefined || used.has(name) === (associated === 'true'));
    return dated(call, { traits: [...allTraits(world)].filter(wanted).sort() });
  }

  @Operation({ ...base, method: 'GET', path: '/traits/:name', policy: 'placement:traits:show', status: 204 })
  async show(call: Call) {
    const name = call.params.name!;
    if (!isTrait(await this.core.fresh(), name)) throw notFound(`No such trait(s): ${name}.`);
    return dated(call, undefined, { status: 204 });
  }

  @Operation({ ...base, method: 'PUT', path: '/traits/:name', policy: 'placement:traits:update', status: 204 })
  async make(call: Call) {
    const name = call.params.name!;
    if (!isCustomName(name))
      throw invalid(
        'The trait is invalid. A valid trait must be no longer than 255 characters, start with the prefix "CUSTOM_" and use following characters: "A"-"Z", "0"-"9" and "_"',
      );
    const { changed } = await register(this.core, call, { type: 'registerTrait', name });
    return dated(call, undefined, { status: changed ? 201 : 204, location: `/traits/${name}` });
  }

  @Operation({ ...base, method: 'DELETE', path: '/traits/:name', policy: 'placement:traits:delete', status: 204 })
  async delete(call: Call) {
    await register(this.core, call, { type: 'unregisterTrait', name: call.params.name! });
  }

  @Operation({ ...base, method: 'GET', path: OF_PROVIDER, policy: rule('list') })
  async ofProvider(call: Call) {
    return this.answer(call, providerIn(await this.core.fresh(), call.params.uuid!));
  }

  @Operation({ ...base, method: 'PUT', path: OF_PROVIDER, policy: rule('update'), body: SET_TRAITS })
  async setOfProvider(call: Call<z.infer<typeof SET_TRAITS>>) {
    const world = await this.core.fresh();
    const provider = providerIn(world, call.params.uuid!);
    const { traits, resource_provider_generation: generation } = call.body;
    if (generation !== provider.generation) throw outdated();
    const unknown = traits.filter((t) => !isTrait(world, t));
    if (unknown.length > 0) throw invalid(`No such trait ${unknown.join(', ')}`);
    return this.answer(call, providerIn(await this.set(call, provider, traits, generation), provider.id));
  }

  @Operation({ ...base, method: 'DELETE', path: OF_PROVIDER, policy: rule('delete'), status: 204 })
  async clearOfProvider(call: Call) {
    await this.set(call, providerIn(await this.core.fresh(), call.params.uuid!), [], undefined);
  }

  private async set(
    call: Call<unknown>,
    { id: providerId, isHost }: PlacementProvider,
    traits: readonly string[],
    generation: number | undefined,
  ): Promise<World> {
    if (!isHost) return (await register(this.core, call, { type: 'setTraits', providerId, traits, generation })).world;
    const change = { type: 'setCustomTraits', providerId: providerId as ProviderId, traits } as const;
    await this.core.providers.execute(change, call.context());
    return this.core.fresh();
  }

  private answer(call: Call<unknown>, provider: PlacementProvider) {
    return dated(call, withGeneration(provider, { traits: provider.traits }), { at: provider.updatedAt });
  }
}

const nameFilter = (text: string | undefined): ((name: string) => boolean) => {
  if (text === undefined) return () => true;
  const [, operator, value] = /^([^:]*):(.*)$/s.exec(text) ?? [];
  if (operator === undefined || value === undefined)
    throw badQuery(
      `Badly formatted name parameter. Expected name query string parameter in form: ?name=[in|startswith]:[name1,name2|prefix]. Got: "${text}"`,
    );
  if (operator === 'in') {
    const names = new Set(value.split(','));
    return (name) => names.has(name);
  }
  return operator === 'startswith' ? (name) => name.startsWith(value) : () => true;
};
