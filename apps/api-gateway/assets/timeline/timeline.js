// The page knows the audit API and the identity API only. The token stays in this variable.
let token;
let following = new AbortController();

const find = (id) => document.getElementById(id);
const say = (text) => {
  find('status').textContent = text;
};
const element = (name, text, className) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
};

const login = async ({ user, password, project, domain }) => {
  const identity = { methods: ['password'], password: { user: { name: user, password, domain: { name: domain } } } };
  const scope = project ? { project: { name: project, domain: { name: domain } } } : { system: { all: true } };
  const answer = await fetch('../../identity/v3/auth/tokens', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ auth: { identity, scope } }),
  });
  if (!answer.ok) throw new Error((await answer.json()).error.message);
  return answer.headers.get('x-subject-token');
};

const ask = async (path, options = {}) => {
  const answer = await fetch(`../v1/${path}`, { ...options, headers: { 'x-auth-token': token, ...options.headers } });
  if (!answer.ok) throw new Error((await answer.json()).error.message);
  return answer;
};

const line = (event) => {
  const item = element('li', undefined, event.outcome);
  item.dataset.type = event.type;
  item.title = `${event.type}, position ${event.position}`;
  item.append(element('time', event.time.slice(11, 23)), ' ', element('span', event.service, 'service'), ' ');
  item.append(element('span', event.what, 'what'));
  for (const reason of event.reasons) item.append(element('span', reason, 'reason'));
  if (event.call) {
    const { operation, host, hypervisor } = event.call;
    item.append(
      element(
        'span',
        `hypervisor call: ${[operation, host && `on ${host}`, hypervisor].filter(Boolean).join(' ')}`,
        'call',
      ),
    );
  }
  return item;
};

/** Events hang below the one that caused them, else below their request. */
const show = ({ events }) => {
  const lists = new Map();
  const sections = new Map();
  const sectionOf = (event) => {
    const known = sections.get(event.request_id);
    if (known) return known;
    const section = element('section');
    const title = element('h2', `${event.time.slice(0, 19)} ${event.who} `);
    title.append(element('small', event.request_id));
    const list = element('ol');
    section.append(title, list);
    find('timeline').append(section);
    sections.set(event.request_id, list);
    return list;
  };
  find('timeline').replaceChildren();
  for (const event of events) {
    const item = line(event);
    const cause = event.cause_id && lists.get(event.cause_id);
    const list = cause ? (cause.querySelector(':scope > ol') ?? cause.appendChild(element('ol'))) : sectionOf(event);
    list.append(item);
    lists.set(event.id, item);
  }
};

const load = async (server) => {
  const timeline = await (await ask(`servers/${encodeURIComponent(server)}/timeline`)).json();
  show(timeline);
  say(`${timeline.events.length} events${timeline.more ? ', and more that are not shown' : ''}`);
  return timeline.events.at(-1)?.position;
};

/** Loads the timeline again when the stream tells of something new. */
const follow = async (server, last, signal) => {
  const headers = last === undefined ? {} : { 'last-event-id': String(last) };
  const answer = await ask(`events/stream?resource_id=${encodeURIComponent(server)}`, { headers, signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error('The stream has ended: log in again.');
    if (value.includes('data: ')) await load(server);
  }
};

const choose = async (server) => {
  following.abort();
  following = new AbortController();
  const { signal } = following;
  location.hash = server;
  try {
    await follow(server, await load(server), signal);
  } catch (error) {
    if (!signal.aborted) say(error.message);
  }
};

const onSubmit = (id, work) =>
  find(id).addEventListener('submit', async (event) => {
    event.preventDefault();
    try {
      await work(Object.fromEntries(new FormData(event.target)));
    } catch (error) {
      say(error.message);
    }
  });

onSubmit('login', async (given) => {
  token = await login(given);
  find('login').hidden = true;
  find('choose').hidden = false;
  say('');
  const server = location.hash.slice(1);
  if (!server) return;
  find('choose').elements.server.value = server;
  void choose(server);
});
onSubmit('choose', async ({ server }) => void choose(server));
