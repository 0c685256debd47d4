import type { ServerEvent } from '@omnivisor/contracts';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { which } from '../../../../../tools/services/process.mjs';
import { history } from '../../compute/server/lifecycle/server.fixtures.js';
import { Browser } from '../../testing/browser.js';
import { AuditCloud, type Person } from '../testing/audit-cloud.js';

const { serverId, host } = history;
const EVIL = '<img src=x onerror="document.title = 1">';

let cloud: AuditCloud;
let browser: Browser;
let owner: Person;
let page: string;
beforeAll(async () => {
  cloud = await AuditCloud.start();
  owner = await cloud.person('owner', 'member', 'web');
  await cloud.person('auditor', 'auditor', 'web');
  await cloud.person('stranger', 'auditor', 'other');
  const asked = cloud.context(owner);
  const request = { ...history.request, name: EVIL, projectId: owner.projectId } as never;
  const [created] = await cloud.serverEvents(serverId, [{ type: 'ServerCreateRequested', data: request }], asked);
  const caused = { requestId: asked.requestId, correlationId: asked.requestId, causationId: created!.id };
  const report = cloud.context({ service: `host-${host}` }, caused);
  await cloud.serverEvents(serverId, [history.scheduled(), history.spawned], report);
  page = `http://127.0.0.1:${await cloud.service.app.listen(0, '127.0.0.1')}/audit/ui/index.html`;
  browser = await Browser.start();
});
afterAll(async () => {
  await browser?.stop();
  await cloud?.stop();
});
beforeEach(async () => {
  await browser.open('about:blank');
  browser.complaints.length = 0;
  await browser.open(page);
});

const submit = (form: string, values: Record<string, string>) =>
  browser.evaluate(`(() => {
    const form = document.getElementById(${JSON.stringify(form)});
    for (const [name, value] of Object.entries(${JSON.stringify(values)})) form.elements[name].value = value;
    form.querySelector('button').click();
  })()`);
const login = async (user: string, project: string, password = 'correct horse battery staple') =>
  submit('login', { user, password, project, domain: 'Default' });
const text = (selector: string) =>
  browser.evaluate<string>(`document.querySelector(${JSON.stringify(selector)}).innerText`);

describe.skipIf(!which('chromium-headless-shell'))('the page with the timeline of a server, in a browser', () => {
  it('shows what caused what, and what comes while one looks', async () => {
    await login('auditor', 'web');
    await browser.until(`!document.getElementById('choose').hidden`);
    await submit('choose', { server: serverId });
    await browser.until(`document.querySelector('[data-type=ServerSpawned]')`);
    // Below the request that caused it, with the call of the hypervisor.
    const below = '[data-type=ServerCreateRequested] > ol > [data-type=ServerSpawned]';
    expect(await text(below)).toMatch(/compute-agent .*running[\s\S]*hypervisor call: spawn/);
    // A name is shown, not obeyed.
    expect(await text('[data-type=ServerCreateRequested] > .what')).toContain(EVIL);
    expect(await browser.evaluate('[document.title, document.images.length]')).toEqual(['Timeline of a server', 0]);
    const locked: ServerEvent = { type: 'ServerLocked', data: { serverId, reason: 'audit', by: 'owner' } };
    await cloud.serverEvents(serverId, [locked], cloud.context(owner));
    await browser.until(`document.querySelector('[data-type=ServerLocked]')`);
    expect(await text('#timeline')).toContain('locked: audit');
    expect(await browser.evaluate('Object.keys(localStorage).length + Object.keys(sessionStorage).length')).toBe(0);
    expect(browser.complaints).toEqual([]);
  });

  it('says so when the password is wrong, and when the server is not of the project', async () => {
    await login('auditor', 'web', 'wrong');
    await browser.until(`document.getElementById('status').textContent !== ''`);
    expect(await text('#status')).toMatch(/requires authentication/);
    await login('stranger', 'other');
    await browser.until(`!document.getElementById('choose').hidden`);
    await submit('choose', { server: serverId });
    await browser.until(`/^No server/.test(document.getElementById('status').textContent)`);
    expect(await text('#timeline')).toBe('');
  });
});
