import { type Served, serve } from './http/routes.js';
import { microversions, versionText } from './microversion.js';
import { type Call, Reply, type ServiceType } from './operation.js';
import { Operation, operationsOf } from './registry.js';

const mediaTypes = (service: string, version: string) => [
  { base: 'application/json', type: `application/vnd.openstack.${service}+json;version=${version}` },
];

const documentation = { rel: 'describedby', type: 'text/html', href: 'https://docs.openstack.org/' };

const identityVersion = (call: Call) => ({
  id: 'v3.14',
  status: 'stable',
  updated: '2020-04-07T00:00:00Z',
  links: [{ rel: 'self', href: `${call.publicUrl}/v3/` }],
  'media-types': [{ base: 'application/json', type: 'application/vnd.openstack.identity-v3+json' }],
});

class IdentityDiscovery {
  @Operation({ service: 'identity', method: 'GET', path: '/', policy: 'open', status: 300 })
  versions(call: Call) {
    return new Reply(
      { versions: { values: [identityVersion(call)] } },
      { headers: { location: `${call.publicUrl}/v3/` } },
    );
  }

  @Operation({ service: 'identity', method: 'GET', path: '/v3', policy: 'open' })
  v3(call: Call) {
    return { version: identityVersion(call) };
  }
}

const { min, max } = microversions.compute!;

const computeVersions = {
  'v2.0': {
    id: 'v2.0',
    status: 'SUPPORTED',
    version: '',
    min_version: '',
    updated: '2011-01-21T11:33:21Z',
  },
  'v2.1': {
    id: 'v2.1',
    status: 'CURRENT',
    version: versionText(max),
    min_version: versionText(min),
    updated: '2013-07-23T11:33:21Z',
  },
} as const;

class ComputeDiscovery {
  @Operation({ service: 'compute', method: 'GET', path: '/', policy: 'open' })
  versions(call: Call) {
    const entry = (id: keyof typeof computeVersions, path: string) => ({
      ...computeVersions[id],
      links: [{ rel: 'self', href: `${call.publicUrl}/${path}/` }],
    });
    return { versions: [entry('v2.0', 'v2'), entry('v2.1', 'v2.1')] };
  }

  @Operation({ service: 'compute', method: 'GET', path: '/v2', policy: 'open' })
  v2(call: Call) {
    return this.version(call, 'v2.0', 'v2', '2');
  }

  @Operation({ service: 'compute', method: 'GET', path: '/v2.1', policy: 'open' })
  v21(call: Call) {
    return this.version(call, 'v2.1', 'v2.1', '2.1');
  }

  private version(call: Call, id: keyof typeof computeVersions, path: string, media: string) {
    return {
      version: {
        ...computeVersions[id],
        links: [{ rel: 'self', href: `${call.publicUrl}/${path}/` }, documentation],
        'media-types': mediaTypes('compute', media),
      },
    };
  }
}

class NetworkDiscovery {
  @Operation({ service: 'network', method: 'GET', path: '/', policy: 'open' })
  versions(call: Call) {
    return {
      versions: [{ id: 'v2.0', status: 'CURRENT', links: [{ rel: 'self', href: `${call.publicUrl}/v2.0/` }] }],
    };
  }

  @Operation({ service: 'network', method: 'GET', path: '/v2.0', policy: 'authenticated' })
  resources(call: Call) {
    const resource = (name: string) => ({
      name: name.replace(/s$/, ''),
      collection: name,
      links: [{ rel: 'self', href: `${call.publicUrl}/v2.0/${name}` }],
    });
    return { resources: ['networks', 'subnets', 'ports'].map(resource) };
  }
}

/** Glance's minor versions that every deployment has. */
const IMAGE_MINORS = [17, 16, 15, 9, 7, 6, 5, 4, 3, 2, 1, 0] as const;

class ImageDiscovery {
  @Operation({ service: 'image', method: 'GET', path: '/', policy: 'open', status: 300 })
  choices(call: Call) {
    return this.versions(call);
  }

  @Operation({ service: 'image', method: 'GET', path: '/versions', policy: 'open' })
  versions(call: Call) {
    return {
      versions: IMAGE_MINORS.map((minor, i) => ({
        id: `v2.${minor}`,
        status: i === 0 ? 'CURRENT' : 'SUPPORTED',
        links: [{ rel: 'self', href: `${call.publicUrl}/v2/` }],
      })),
    };
  }
}

class PlacementDiscovery {
  @Operation({ service: 'placement', method: 'GET', path: '/', policy: 'open' })
  versions(call: Call) {
    const { min: first, max: last } = microversions.placement!;
    const body = {
      versions: [
        {
          id: 'v1.0',
          max_version: versionText(last),
          min_version: versionText(first),
          status: 'CURRENT',
          links: [{ rel: 'self', href: '' }],
        },
      ],
    };
    if (!call.since('1.15')) return body;
    return new Reply(body, { headers: { 'last-modified': new Date().toUTCString(), 'cache-control': 'no-cache' } });
  }
}

const documents: { readonly [S in ServiceType]?: new () => object } = {
  identity: IdentityDiscovery,
  compute: ComputeDiscovery,
  network: NetworkDiscovery,
  image: ImageDiscovery,
  placement: PlacementDiscovery,
};

/** The version documents of services: told to everybody, without a token. */
export const discoveryOf = (services: readonly ServiceType[]): Served[] =>
  services.flatMap((service) => {
    const document = documents[service];
    if (!document) return [];
    const instance = new document();
    return operationsOf(document).map((o) => serve(o, instance));
  });
