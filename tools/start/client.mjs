import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** A refusal of the API, in its own words. */
export class ApiError extends Error {
  constructor(method, path, status, text) {
    super(`${method} ${path}: ${status} ${text.slice(0, 400)}`);
    this.status = status;
  }
}

/** @param {string} url @param {RequestInit & { duplex?: 'half' }} request */
const call = (url, request) =>
  fetch(url, request).catch((error) => {
    throw new Error(`${url} does not answer: ${error.cause?.message ?? error.message}`, { cause: error });
  });

/** `export NAME='value'` lines of an openrc. @param {string} file */
export const readOpenrc = (file) =>
  Object.fromEntries(
    [...readFileSync(file, 'utf8').matchAll(/^export (\w+)='?(.*?)'?$/gm)].map(([, name, value]) => [
      name,
      value.replaceAll("'\\''", "'"),
    ]),
  );

/**
 * A small client of the public API: what the start, the demo and the bench say to the cloud, they say like anybody else.
 */
export class Client {
  #token = '';
  #catalog = [];

  /** @param {{ authUrl: string, username: string, password: string, project: string, domain?: string }} login */
  constructor(login) {
    this.login = login;
  }

  async authenticate() {
    const { authUrl, username, password, project, domain = 'Default' } = this.login;
    const user = { name: username, password, domain: { name: domain } };
    const body = {
      auth: {
        identity: { methods: ['password'], password: { user } },
        scope: { project: { name: project, domain: { name: domain } } },
      },
    };
    const answer = await call(`${authUrl}/auth/tokens`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    const text = await answer.text();
    if (!answer.ok) throw new ApiError('POST', '/auth/tokens', answer.status, text);
    this.#token = answer.headers.get('x-subject-token') ?? '';
    const { token } = JSON.parse(text);
    this.#catalog = token.catalog;
    this.projectId = token.project.id;
    this.userId = token.user.id;
    return this;
  }

  get token() {
    return this.#token;
  }

  /** @param {string} type e.g. `compute` */
  endpoint(type) {
    const service = this.#catalog.find((s) => s.type === type);
    const url = service?.endpoints.find((e) => e.interface === 'public')?.url;
    if (!url) throw new Error(`the catalog has no ${type} service`);
    const base = url.replace(/\/$/, '');
    const versioned = { identity: '/v3', network: '/v2.0', image: '/v2' }[type];
    return versioned && !/\/v\d/.test(base.slice(-6)) ? `${base}${versioned}` : base;
  }

  async request(method, type, path, body, headers = {}) {
    const raw =
      body instanceof Uint8Array ||
      (body !== null && typeof body?.pipe === 'function') ||
      body instanceof ReadableStream;
    const answer = await call(`${this.endpoint(type)}${path}`, {
      method,
      headers: {
        'x-auth-token': this.#token,
        'openstack-api-version': 'compute 2.90',
        ...(body === undefined || raw ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : raw ? { body, duplex: 'half' } : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new ApiError(method, path, answer.status, text);
    return text !== '' && (answer.headers.get('content-type') ?? '').includes('json') ? JSON.parse(text) : text;
  }

  get(type, path) {
    return this.request('GET', type, path);
  }
  post(type, path, body, headers) {
    return this.request('POST', type, path, body, headers);
  }
  put(type, path, body, headers) {
    return this.request('PUT', type, path, body, headers);
  }
  delete(type, path) {
    return this.request('DELETE', type, path);
  }

  /** Looks until `probe` gives something true. */
  async until(what, timeout, probe, interval = 250) {
    const end = Date.now() + timeout;
    for (;;) {
      const found = await probe();
      if (found) return found;
      if (Date.now() > end) throw new Error(`${what}: not within ${Math.round(timeout / 1000)} s`);
      await new Promise((resolve) => setTimeout(resolve, interval));
    }
  }
}

const fromOpenrc = (file) => {
  const rc = readOpenrc(file);
  return new Client({
    authUrl: rc.OS_AUTH_URL,
    username: rc.OS_USERNAME,
    password: rc.OS_PASSWORD,
    project: rc.OS_PROJECT_NAME,
  }).authenticate();
};

export const adminClient = (home) => fromOpenrc(join(home, 'openrc'));
export const demoClient = (home) => fromOpenrc(join(home, 'openrc-demo'));
