import { Controller } from '@nestjs/common';
import {
  forbidden,
  type IdentityDomainId,
  invalid,
  type ProjectAttributes,
  type ProjectId,
} from '@omnivisor/contracts';
import { type Call, Operation } from '@omnivisor/openstack';
import { z } from 'zod';
import {
  collection,
  Enabled,
  extraOf,
  filtered,
  flag,
  given,
  Id,
  Options,
  one,
  ShortName,
  selfLink,
  Tags,
} from '../common.js';
import { IdentityDesk } from '../desk.js';
import { projects } from '../record/aggregates.js';
import { missing } from '../record/record.js';
import { domainTable, type ProjectRow, projectTable } from '../record/tables.js';
import { Removal } from '../removal.js';
import { ancestorsOf } from '../token/directory.js';

const fields = {
  name: ShortName,
  description: z.string().nullable().optional(),
  enabled: Enabled.optional(),
  domain_id: Id.nullable().optional(),
  parent_id: Id.nullable().optional(),
  is_domain: z.boolean().optional(),
  tags: Tags.optional(),
  options: Options.optional(),
};
const KNOWN = [...Object.keys(fields), 'id', 'links'];
const CreateBody = z.looseObject({ project: z.looseObject(fields) });
const UpdateBody = z.looseObject({ project: z.looseObject({ ...fields, name: ShortName.optional() }) });

export const projectView = (call: Call, row: ProjectRow) => ({
  ...row.extra,
  id: row.id,
  name: row.name,
  domain_id: row.domainId,
  description: row.description,
  enabled: row.enabled,
  parent_id: row.parentId,
  is_domain: false,
  tags: row.tags,
  options: row.options,
  links: selfLink(call, `projects/${row.id}`),
});

export const projectTarget = (row: { id?: string; domainId: string; name?: string }) => ({
  project: { id: row.id, name: row.name, domain_id: row.domainId },
});

@Controller()
export class ProjectsController {
  constructor(
    private readonly desk: IdentityDesk,
    private readonly removal: Removal,
  ) {}

  @Operation({ service: 'identity', method: 'GET', path: '/v3/projects', policy: 'authenticated' })
  async list(call: Call) {
    const domainId = one(call, 'domain_id') ?? call.token.domainId ?? undefined;
    call.enforce('identity:list_projects', { target: { domain_id: domainId } });
    if (flag(call, 'is_domain')) return collection(call, 'projects', []);
    const own =
      call.token.domainId !== null && !call.isAdmin ? { where: { domainId: call.token.domainId } as never } : {};
    const rows = await (await this.desk.fresh()).find(projectTable, { ...own, orderBy: [['name', 'asc']] });
    const views = rows.filter((r) => tagged(call, r.tags)).map((r) => projectView(call, r));
    return collection(call, 'projects', filtered(call, views, ['name', 'enabled', 'domain_id', 'parent_id']));
  }

  @Operation({
    service: 'identity',
    method: 'POST',
    path: '/v3/projects',
    policy: 'authenticated',
    body: CreateBody,
    status: 201,
  })
  async create(call: Call) {
    const { project } = call.body as z.infer<typeof CreateBody>;
    const rows = await this.desk.fresh();
    const parent = project.parent_id ? await rows.get(projectTable, project.parent_id) : undefined;
    const domainId =
      project.domain_id ??
      parent?.domainId ??
      (project.parent_id && !parent ? project.parent_id : undefined) ??
      call.token.domainId ??
      call.token.projectDomainId ??
      'default';
    call.enforce('identity:create_project', { target: projectTarget({ domainId }) });
    if (project.is_domain) throw invalid('Creating a project that acts as a domain is not supported; create a domain.');
    if (!(await rows.get(domainTable, domainId))) throw missing('domain', domainId);
    if (project.parent_id && project.parent_id !== domainId && !parent) throw missing('project', project.parent_id);
    if (parent && parent.domainId !== domainId)
      throw invalid(`Cannot create project, since its parent (${domainId}) does not belong to the same domain.`);
    if (parent && (await ancestorsOf(rows, parent)).length >= 3)
      throw forbidden(`Max hierarchy depth reached for ${parent.id} branch.`);
    const id = this.desk.core.ids.hex() as ProjectId;
    const at = this.desk.core.clock.now();
    await this.desk.names.take('project', domainId, project.name, id, at, call.context(), (o) => this.exists(o));
    const attributes: ProjectAttributes = {
      name: project.name,
      domainId: domainId as IdentityDomainId,
      parentId: parent?.id ?? domainId,
      description: project.description ?? '',
      enabled: project.enabled ?? true,
      tags: project.tags ?? [],
      options: project.options ?? {},
      extra: extraOf(project, KNOWN),
    };
    await this.desk.execute(projects, id, { type: 'create', id, attributes }, call.context());
    return { project: projectView(call, { ...attributes, id, createdAt: at, invalidBefore: null }) };
  }

  @Operation({ service: 'identity', method: 'GET', path: '/v3/projects/:project_id', policy: 'authenticated' })
  async show(call: Call) {
    const row = await this.load(call, 'identity:get_project');
    const view: Record<string, unknown> = projectView(call, row);
    const asked = ['parents_as_list', 'parents_as_ids', 'subtree_as_list', 'subtree_as_ids'].filter(
      (n) => flag(call, n) || call.query[n],
    );
    if (asked.includes('parents_as_list') && asked.includes('parents_as_ids'))
      throw invalid('Cannot use parents_as_list and parents_as_ids query params at the same time.');
    const rows = await this.desk.fresh();
    const above = await ancestorsOf(rows, row);
    if (asked.includes('parents_as_list')) view.parents = above.map((p) => ({ project: projectView(call, p) }));
    if (asked.includes('parents_as_ids'))
      view.parents = above.reduceRight<object | null>((inner, p) => ({ [p.id]: inner }), { [row.domainId]: null });
    if (asked.some((n) => n.startsWith('subtree'))) {
      const below = await this.below(row.id);
      view.subtree = asked.includes('subtree_as_list')
        ? below.map((p) => ({ project: projectView(call, p) }))
        : tree(row.id, below);
    }
    return { project: view };
  }

  @Operation({
    service: 'identity',
    method: 'PATCH',
    path: '/v3/projects/:project_id',
    policy: 'authenticated',
    body: UpdateBody,
  })
  async update(call: Call) {
    const row = await this.load(call, 'identity:update_project');
    const { project } = call.body as z.infer<typeof UpdateBody>;
    if (project.domain_id !== undefined && project.domain_id !== row.domainId)
      throw invalid('Cannot change Domain ID.');
    if (project.parent_id !== undefined && project.parent_id !== row.parentId)
      throw forbidden('Update of `parent_id` is not allowed.');
    if (project.is_domain) throw invalid('Update of `is_domain` is not allowed.');
    const { name } = project;
    const renamed = name !== undefined && name !== row.name;
    const at = this.desk.core.clock.now();
    if (renamed)
      await this.desk.names.take('project', row.domainId, name, row.id, at, call.context(), (o) => this.exists(o));
    await this.change(
      call,
      row.id,
      given({
        name,
        description: project.description === null ? '' : project.description,
        enabled: project.enabled,
        tags: project.tags,
        options: project.options,
        extra: extraOf(project, KNOWN),
      }),
    );
    if (renamed) await this.desk.names.giveBack('project', row.domainId, row.name, row.id, call.context());
    return { project: projectView(call, (await (await this.desk.fresh()).get(projectTable, row.id)) ?? row) };
  }

  @Operation({
    service: 'identity',
    method: 'DELETE',
    path: '/v3/projects/:project_id',
    policy: 'authenticated',
    status: 204,
  })
  async remove(call: Call) {
    const row = await this.load(call, 'identity:delete_project');
    if ((await this.below(row.id)).length > 0)
      throw forbidden(
        `Cannot delete the project ${row.id} since it is not a leaf in the hierarchy. Use the cascade option if you want to delete a whole subtree.`,
      );
    await this.removal.project(row, (step) => call.context(step));
  }

  @Operation({ service: 'identity', method: 'GET', path: '/v3/projects/:project_id/tags', policy: 'authenticated' })
  async tags(call: Call) {
    const row = await this.load(call, 'identity:list_project_tags');
    return { tags: row.tags, links: { next: null, self: call.publicUrl + call.path, previous: null } };
  }

  @Operation({
    service: 'identity',
    method: 'PUT',
    path: '/v3/projects/:project_id/tags',
    policy: 'authenticated',
    body: z.strictObject({ tags: Tags }),
  })
  async setTags(call: Call) {
    const row = await this.load(call, 'identity:update_project_tags');
    const { tags } = call.body as { tags: string[] };
    await this.change(call, row.id, { tags: [...new Set(tags)] });
    return { tags, links: { next: null, self: call.publicUrl + call.path, previous: null } };
  }

  @Operation({
    service: 'identity',
    method: 'DELETE',
    path: '/v3/projects/:project_id/tags',
    policy: 'authenticated',
    status: 204,
  })
  async clearTags(call: Call) {
    const row = await this.load(call, 'identity:delete_project_tags');
    await this.change(call, row.id, { tags: [] });
  }

  @Operation({
    service: 'identity',
    method: 'GET',
    path: '/v3/projects/:project_id/tags/:tag',
    policy: 'authenticated',
    status: 204,
  })
  async hasTag(call: Call) {
    const row = await this.load(call, 'identity:get_project_tag');
    if (!row.tags.includes(call.params.tag!)) throw missing('project tag', call.params.tag!);
  }

  @Operation({
    service: 'identity',
    method: 'PUT',
    path: '/v3/projects/:project_id/tags/:tag',
    policy: 'authenticated',
    status: 201,
  })
  async addTag(call: Call) {
    const row = await this.load(call, 'identity:create_project_tag');
    const tag = Tags.safeParse([...new Set([...row.tags, call.params.tag!])]);
    if (!tag.success)
      throw invalid(`Invalid input for field 'tags': ${call.params.tag} is no tag, or there are too many.`);
    await this.change(call, row.id, { tags: tag.data });
  }

  @Operation({
    service: 'identity',
    method: 'DELETE',
    path: '/v3/projects/:project_id/tags/:tag',
    policy: 'authenticated',
    status: 204,
  })
  async dropTag(call: Call) {
    const row = await this.load(call, 'identity:delete_project_tag');
    if (!row.tags.includes(call.params.tag!)) throw missing('project tag', call.params.tag!);
    await this.change(call, row.id, { tags: row.tags.filter((t) => t !== call.params.tag) });
  }

  private change(call: Call, id: string, changes: Partial<ProjectAttributes>) {
    return this.desk.execute(projects, id, { type: 'update', id, changes }, call.context());
  }

  private load(call: Call, rule: string): Promise<ProjectRow> {
    return this.desk.load(call, rule, projectTable, call.params.project_id!, 'project', projectTarget);
  }

  private async below(id: string): Promise<ProjectRow[]> {
    const rows = await this.desk.fresh();
    const found: ProjectRow[] = [];
    let level = [id];
    while (level.length > 0) {
      const next = await rows.find(projectTable, { where: { parentId: { in: level } } });
      found.push(...next);
      level = next.map((p) => p.id);
    }
    return found;
  }

  private async exists(id: string): Promise<boolean> {
    const found = await this.desk.core.commands.load(projects, id);
    return found.status === 'present';
  }
}

const tree = (id: string, below: readonly ProjectRow[]): object | null => {
  const children = below.filter((p) => p.parentId === id);
  return children.length === 0 ? null : Object.fromEntries(children.map((c) => [c.id, tree(c.id, below)]));
};

const tagged = (call: Call, tags: readonly string[]): boolean => {
  const list = (name: string) => one(call, name)?.split(',');
  const all = list('tags');
  const any = list('tags-any');
  const notAll = list('not-tags');
  const notAny = list('not-tags-any');
  return (
    (!all || all.every((t) => tags.includes(t))) &&
    (!any || any.some((t) => tags.includes(t))) &&
    !notAll?.every((t) => tags.includes(t)) &&
    !notAny?.some((t) => tags.includes(t))
  );
};
