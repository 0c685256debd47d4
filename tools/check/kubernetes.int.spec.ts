import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkConfig } from '@omnivisor/platform';
import { describe, expect, it, onTestFinished } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { GatewayConfig } from '../../apps/api-gateway/src/config.js';
import { AgentConfig } from '../../apps/compute-agent/src/config.js';
import { imageServiceConfig } from '../../apps/image-service/src/config.js';
import { SchedulerConfig } from '../../apps/scheduler/src/config.js';
import { containersOf, podOf, render, schemaProblems } from './kubernetes.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
// biome-ignore lint/suspicious/noExplicitAny: manifests are data of somebody else's shape; the schema check is the type
type Manifest = any;
const overlays = ['single', 'production'] as const;
const name = (m: { kind: string; metadata: { name: string } }) => `${m.kind}/${m.metadata.name}`;
const appOf = (m: Manifest) => m.spec.template.metadata.labels['app.kubernetes.io/name'];

/** What pods are told besides the ConfigMap. */
const told = {
  ...{ OMNIVISOR_CLOUD_ID: 'c', OMNIVISOR_MASTER_KEY_FILE: 'f', OMNIVISOR_IMAGE_DIR: 'd' },
  OMNIVISOR_IMAGE_HMAC_KEY_FILE: 'f',
};

/** Services with replicas that are to lie on different nodes. */
const sharing = { 'api-gateway': true, scheduler: true, 'image-service': true };

describe.each(overlays)('the Kubernetes manifests of %s', (overlay) => {
  const folder = join(root, 'k8s/overlays', overlay);
  const manifests: Manifest[] = render(folder);
  const named = (kind: string) => manifests.filter((m) => m.kind === kind);
  const workloads = manifests.filter((m) => podOf(m) !== undefined);

  it.each(manifests.map((m) => [name(m), m]))('%s fits the schema of its kind', (_, manifest) =>
    expect(schemaProblems(manifest)).toEqual([]),
  );

  it('are refused by that schema when a field is misspelt or of another type', () => {
    const broken = structuredClone(named('Deployment')[0]);
    const [container] = containersOf(broken);
    container.readynessProbe = container.readinessProbe;
    broken.spec.replicas = 'two';
    expect(schemaProblems(broken)).toHaveLength(2);
  });

  it('has each name once', () => expect(new Set(manifests.map(name)).size).toBe(manifests.length));

  it.each(workloads.map((m) => [name(m), m]))('%s keeps to Pod Security "restricted"', (_, manifest) => {
    const pod = podOf(manifest);
    expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } });
    expect(pod.securityContext.runAsUser).toBeGreaterThan(0);
    expect(pod.automountServiceAccountToken).toBe(false);
    expect([pod.hostNetwork, pod.hostPID, pod.hostIPC]).toEqual([undefined, undefined, undefined]);
    for (const volume of pod.volumes ?? [])
      expect(['secret', 'emptyDir', 'persistentVolumeClaim', 'configMap']).toContain(
        Object.keys(volume).find((k) => k !== 'name'),
      );
    for (const container of containersOf(manifest)) {
      expect(container.securityContext).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      });
      expect(container.resources.requests).toMatchObject({ cpu: expect.anything(), memory: expect.anything() });
      expect(container.resources.limits.memory).toBeDefined();
    }
  });

  it.each(workloads.filter((m) => m.kind !== 'Job').map((m) => [name(m), m]))(
    '%s has probes, a disruption budget and network policies',
    (_, manifest) => {
      for (const container of containersOf(manifest)) {
        expect(Object.keys(container)).toEqual(
          expect.arrayContaining(['startupProbe', 'livenessProbe', 'readinessProbe']),
        );
        const ports = container.ports.map((p: { name: string }) => p.name);
        for (const probe of [container.startupProbe, container.livenessProbe, container.readinessProbe])
          if (probe.httpGet) expect(ports).toContain(probe.httpGet.port);
      }
      const app = appOf(manifest);
      const select = (m: Manifest, selector: 'selector' | 'podSelector') =>
        m.spec[selector]?.matchLabels?.['app.kubernetes.io/name'] === app;
      expect(named('PodDisruptionBudget').filter((m) => select(m, 'selector'))).toHaveLength(1);
      expect(named('NetworkPolicy').filter((m) => select(m, 'podSelector'))).toHaveLength(1);
      if (manifest.metadata.name in sharing) expect(podOf(manifest).topologySpreadConstraints).toHaveLength(2);
      expect(manifest.spec.selector.matchLabels['app.kubernetes.io/name']).toBe(app);
    },
  );

  it('let nothing speak that no policy names', () =>
    expect(named('NetworkPolicy').find((m) => m.metadata.name === 'default-deny').spec).toEqual({
      podSelector: {},
      policyTypes: ['Ingress', 'Egress'],
    }));

  it('let in what each policy lets out', () => {
    const policy = (app: string) => named('NetworkPolicy').find((m) => m.metadata.name === app);
    for (const from of named('NetworkPolicy'))
      for (const { to = [], ports } of from.spec.egress ?? [])
        for (const { podSelector } of to) {
          const target = podSelector?.matchLabels?.['app.kubernetes.io/name'];
          if (!target) continue;
          const external = named('Service').find((m) => m.metadata.name === target)?.spec.type === 'ExternalName';
          const open = policy(target)?.spec.ingress.some(
            (rule: { from?: unknown[]; ports: { port: number }[] }) =>
              rule.ports.some((p) => p.port === ports[0].port) &&
              (rule.from === undefined || JSON.stringify(rule.from).includes(`"${from.metadata.name}"`)),
          );
          expect(external || open, `${from.metadata.name} -> ${target}:${ports[0].port}`).toBe(true);
        }
  });

  it('set what each service knows, and all that it needs', () => {
    const schemas = {
      'api-gateway': GatewayConfig,
      scheduler: SchedulerConfig,
      'image-service': imageServiceConfig,
      'remote-agent': AgentConfig,
    };
    const shared = named('ConfigMap')[0].data;
    const everywhere = new Set(Object.values(schemas).flatMap((s) => Object.keys(s.shape)));
    expect(Object.keys(shared).filter((k) => !everywhere.has(k))).toEqual([]);
    for (const [app, schema] of Object.entries(schemas)) {
      const [container] = containersOf(workloads.find((m) => m.metadata.name === app));
      const own: string[] = container.env
        .filter((e: { valueFrom?: { fieldRef?: unknown } }) => e.valueFrom?.fieldRef === undefined)
        .map((e: { name: string }) => (e.name in schema.shape ? e.name : e.name.replace(/_FILE$/, '')));
      expect(own.filter((k) => !(k in schema.shape))).toEqual([]);
      const given = new Set([...own, ...Object.keys(shared)]);
      const needed = Object.entries(schema.shape).filter(([, field]) => !field.safeParse(undefined).success);
      expect(needed.map(([k]) => k).filter((k) => !given.has(k))).toEqual([]);
    }
  });

  it.runIf(overlay === 'production')('let no service start that goes plain to a store', () => {
    const shared = named('ConfigMap')[0].data;
    const of = (url: string) => ({ ...told, ...shared, OMNIVISOR_DATABASE_URL: url });
    const plain = 'postgres://u:p@postgres.omnivisor.svc:5432/omnivisor';
    const secured = `${plain}?sslmode=verify-full&sslrootcert=/etc/omnivisor/authorities/ca.crt`;
    for (const schema of [GatewayConfig, SchedulerConfig, imageServiceConfig]) {
      const about = (env: Record<string, string>) => checkConfig(schema, env).map((problem) => problem.name);
      expect(about(of(secured))).toEqual([]);
      expect(about(of(plain))).toEqual(['OMNIVISOR_DATABASE_URL']);
      const downgraded = { ...of(secured), OMNIVISOR_NATS_URL: 'nats://nats:4222', OMNIVISOR_NATS_CA_FILE: '' };
      expect(about(downgraded)).toEqual(['OMNIVISOR_NATS_URL']);
    }
    for (const workload of workloads.filter((m) => m.metadata.name in { ...sharing, 'remote-agent': 1, migrate: 1 }))
      expect(containersOf(workload)[0].volumeMounts).toContainEqual({
        name: 'authorities',
        mountPath: dirname(shared.OMNIVISOR_NATS_CA_FILE),
        readOnly: true,
      });
  });

  it('give no secret by the environment', () => {
    const ids = ['host-id', 'id'];
    for (const { env = [] } of workloads.flatMap(containersOf))
      for (const { name: variable, valueFrom } of env)
        if (valueFrom?.secretKeyRef) expect(ids, variable).toContain(valueFrom.secretKeyRef.key);
  });

  it('use only secrets that make-secrets makes, or an operator at enrolment', () => {
    const source = readFileSync(join(root, 'deploy/kubernetes/make-secrets.mjs'), 'utf8');
    const used = [
      ...JSON.stringify(workloads).matchAll(/"secret(?:Name|KeyRef)":(?:"([^"]+)"|\{"name":"([^"]+)")/g),
    ].map((m) => m[1] ?? m[2] ?? '');
    const made = [...source.matchAll(/secret\('([^']+)'/g)].map((m) => m[1]);
    expect(
      [...new Set(used)].filter(
        (s) => !made.includes(s) && !['api-gateway', 'scheduler', 'image-service', 'remote-agent'].includes(s),
      ),
    ).toEqual([]);
  });

  it('are rendered alike by kubectl, where there is one that knows how', (context) => {
    const rendered = spawnSync('kubectl', ['kustomize', folder], { encoding: 'utf8' });
    if (rendered.error || rendered.status !== 0) return context.skip('no kubectl with kustomize here');
    const theirs = parseAllDocuments(rendered.stdout).map((d) => d.toJS());
    const byName = (all: Manifest[]) => Object.fromEntries(all.map((m) => [name(m), m]));
    expect(byName(manifests)).toEqual(byName(theirs));
  });
});

describe('the bucket of checkpoints', () => {
  const [policy, ...others]: Manifest[] = render(join(root, 'k8s/components/checkpoint-bucket'));

  it('is let out to by a policy that fits the schema, and that no overlay has unasked', () => {
    expect([schemaProblems(policy), others]).toEqual([[], []]);
    for (const overlay of overlays)
      expect(render(join(root, 'k8s/overlays', overlay)).map(name)).not.toContain(name(policy));
  });

  it('is reached by the gateway only, by TLS, and in no private network', () => {
    expect(policy.metadata.namespace).toBe('omnivisor');
    expect(policy.spec.podSelector.matchLabels).toEqual({ 'app.kubernetes.io/name': 'api-gateway' });
    expect(policy.spec.policyTypes).toEqual(['Egress']);
    const [{ to, ports }] = policy.spec.egress;
    expect(ports).toEqual([{ port: 443 }]);
    expect(to[0].ipBlock.except).toEqual(expect.arrayContaining(['10.0.0.0/8', '169.254.0.0/16']));
  });
});

describe('the unit of a compute host', () => {
  const unit = join(root, 'deploy/host/omnivisor-agent.service');
  const text = readFileSync(unit, 'utf8');

  const hasSystemd = existsSync('/usr/bin/systemd-analyze');
  it.runIf(hasSystemd).each(['by itself', 'with xen-dom0.conf'])('is accepted by systemd %s', (how) => {
    const folder = mkdtempSync(join(tmpdir(), 'omnivisor-unit-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const [, dropIn] = /^with (.*)$/.exec(how) ?? [];
    if (dropIn) cpSync(join(root, 'deploy/host', dropIn), join(folder, 'omnivisor-agent.service.d', dropIn));
    cpSync(unit, join(folder, 'omnivisor-agent.service'));
    const verify = ['verify', '--man=no', join(folder, 'omnivisor-agent.service')];
    const own = spawnSync('systemd-analyze', verify, { encoding: 'utf8' })
      .stderr.split('\n')
      .filter((line) => line.includes('omnivisor-agent') && !line.includes('is not executable'));
    expect(own).toEqual([]);
  });

  it('gives the agent no mounts of its own: the next one would not find the network namespaces', () =>
    expect(text).not.toMatch(
      /^(Protect(Home|System|KernelLogs|KernelTunables|KernelModules|ControlGroups|Hostname|Proc)|Private\w+|ProcSubset|(ReadOnly|ReadWrite|Inaccessible|Bind|Temporary)\w*)=/m,
    ));

  it('has the capabilities that SECURITY.md tells, and no other', () => {
    const has = /^CapabilityBoundingSet=(.*)$/m.exec(text)?.[1]?.split(' ').sort();
    const told = readFileSync(join(root, 'SECURITY.md'), 'utf8').match(/^\| CAP_.*$/gm) ?? [];
    const named = told.flatMap((line) => line.split('|')[1]?.match(/CAP_\w+/g) ?? []);
    expect(has).toEqual(named.sort());
  });
});
