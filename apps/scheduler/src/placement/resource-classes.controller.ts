import { Controller } from '@nestjs/common';
import { invalid, notFound } from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import type { z } from 'zod';
import { SchedulerCore } from '../core/scheduler-core.js';
import { CLASS, isCustomName } from './bodies.js';
import { allClasses } from './catalog.js';
import { register } from './registry-writer.js';
import { classView, dated, located } from './views.js';

const base = { service: 'placement', versions: ['1.2'] } as const;
const rule = (name: string) => `placement:resource_classes:${name}`;
const ALL = '/resource_classes';
const ONE = `${ALL}/:name`;

@Controller()
export class ResourceClassesController {
  constructor(private readonly core: SchedulerCore) {}

  @Operation({ ...base, method: 'GET', path: ALL, policy: rule('list') })
  async list(call: Call) {
    const names = allClasses(await this.core.fresh());
    return dated(call, { resource_classes: names.map((name) => classView(name, call)) });
  }

  @Operation({ ...base, method: 'POST', path: ALL, policy: rule('create'), body: CLASS, status: 201 })
  async create(call: Call<z.infer<typeof CLASS>>) {
    const { name } = call.body;
    await register(this.core, call, { type: 'registerClass', name, orHave: false });
    return located(call, `${ALL}/${name}`, 201);
  }

  @Operation({ ...base, method: 'GET', path: ONE, policy: rule('show') })
  async show(call: Call) {
    const name = call.params.name!;
    if (!allClasses(await this.core.fresh()).includes(name)) throw notFound(`No such resource class ${name}.`);
    return dated(call, classView(name, call));
  }

  @Operation({ ...base, method: 'PUT', path: ONE, versions: ['1.2', '1.6'], policy: rule('update'), body: CLASS })
  async rename(call: Call<z.infer<typeof CLASS>>) {
    const to = call.body.name;
    await register(this.core, call, { type: 'renameClass', name: call.params.name!, to });
    return classView(to, call);
  }

  @Operation({ ...base, method: 'PUT', path: ONE, versions: ['1.7'], policy: rule('update'), status: 204 })
  async make(call: Call) {
    const name = call.params.name!;
    if (!isCustomName(name)) throw invalid(`JSON does not validate: '${name}' does not match '^CUSTOM_[A-Z0-9_]+$'`);
    const { changed } = await register(this.core, call, { type: 'registerClass', name, orHave: true });
    return located(call, `${ALL}/${name}`, changed ? 201 : 204);
  }

  @Operation({ ...base, method: 'DELETE', path: ONE, policy: rule('delete'), status: 204 })
  async delete(call: Call) {
    await register(this.core, call, { type: 'unregisterClass', name: call.params.name! });
  }
}
