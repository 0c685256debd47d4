import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parse, parseAllDocuments } from 'yaml';

/** As much of kustomize as k8s/ uses: these, and of patches those of RFC 6902 that replace. Anything else is refused. */
const KNOWN = ['apiVersion', 'kind', 'namespace', 'resources', 'images', 'replicas', 'patches'];
/** Kubernetes reads the older YAML, where 0440 is octal. */
const YAML = { version: '1.1' };
const CLUSTER_WIDE = ['Namespace'];

const patched = (manifests, { target, patch }) => {
  const found = manifests.find((m) => m.kind === target.kind && m.metadata.name === target.name);
  if (!found) throw new Error(`a patch for ${target.kind}/${target.name}, which is not there`);
  for (const { op, path, value } of parse(patch, YAML)) {
    const steps = path.split('/').slice(1);
    const last = steps.pop();
    const parent = steps.reduce((at, step) => at?.[step], found);
    if (op !== 'replace' || parent?.[last] === undefined) throw new Error(`cannot ${op} ${path} of ${target.name}`);
    parent[last] = value;
  }
};

/** @param {string} folder of a kustomization @returns {any[]} its manifests */
export const render = (folder) => {
  const kustomization = parse(readFileSync(join(folder, 'kustomization.yaml'), 'utf8'), YAML);
  const unknown = Object.keys(kustomization).filter((k) => !KNOWN.includes(k));
  if (unknown.length > 0) throw new Error(`${folder}: this renderer does not know ${unknown.join(', ')}`);
  const manifests = kustomization.resources.flatMap((name) =>
    name.endsWith('.yaml')
      ? parseAllDocuments(readFileSync(join(folder, name), 'utf8'), YAML).map((d) => {
          if (d.errors.length > 0) throw new Error(`${join(folder, name)}: ${d.errors[0].message}`);
          return d.toJS();
        })
      : render(join(folder, name)),
  );
  for (const patch of kustomization.patches ?? []) patched(manifests, patch);
  for (const m of manifests) {
    if (kustomization.namespace && !CLUSTER_WIDE.includes(m.kind)) m.metadata.namespace = kustomization.namespace;
    for (const { name, count } of kustomization.replicas ?? [])
      if (m.metadata.name === name && m.spec?.replicas !== undefined) m.spec.replicas = count;
    for (const container of containersOf(m))
      for (const { name, newName, newTag } of kustomization.images ?? [])
        if (container.image.split(':')[0] === name)
          container.image = `${newName ?? name}:${newTag ?? container.image.split(':')[1] ?? 'latest'}`;
  }
  return manifests;
};

export const podOf = (manifest) => manifest.spec?.template?.spec;
export const containersOf = (manifest) => [
  ...(podOf(manifest)?.initContainers ?? []),
  ...(podOf(manifest)?.containers ?? []),
];

const { kinds, $defs } = JSON.parse(
  readFileSync(join(dirname(new URL(import.meta.url).pathname), 'kubernetes-schemas.json'), 'utf8'),
);

const typeOf = (value) =>
  Array.isArray(value) ? 'array' : value === null ? 'null' : Number.isInteger(value) ? 'integer' : typeof value;

const problems = (value, schema, path) => {
  if (schema.$ref) return problems(value, $defs[schema.$ref.replace('#/$defs/', '')], path);
  if (schema.oneOf)
    return schema.oneOf.some((s) => problems(value, s, path).length === 0) ? [] : [`${path}: fits no form`];
  const type = typeOf(value);
  if (schema.type && type !== schema.type && !(schema.type === 'number' && type === 'integer'))
    return [`${path}: is ${type}, ${schema.type} is wanted`];
  if (schema.enum && !schema.enum.includes(value)) return [`${path}: ${value} is none of ${schema.enum.join(', ')}`];
  if (type === 'array')
    return value.flatMap((v, i) => (schema.items ? problems(v, schema.items, `${path}[${i}]`) : []));
  if (type !== 'object') return [];
  return [
    ...(schema.required ?? []).filter((k) => value[k] === undefined).map((k) => `${path}.${k}: is required`),
    ...Object.entries(value).flatMap(([k, v]) => {
      const inner = schema.properties?.[k] ?? schema.additionalProperties;
      if (inner) return problems(v, inner, `${path}.${k}`);
      return schema.properties ? [`${path}.${k}: no such field`] : [];
    }),
  ];
};

/** What Kubernetes' own schema has against a manifest; unknown fields too. @returns {string[]} */
export const schemaProblems = (manifest) => {
  const kind = kinds[`${manifest.apiVersion}/${manifest.kind}`];
  const name = `${manifest.kind}/${manifest.metadata?.name}`;
  return kind
    ? problems(manifest, $defs[kind], name)
    : [`${name}: no schema of ${manifest.apiVersion} ${manifest.kind} here`];
};
