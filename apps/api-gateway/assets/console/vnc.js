import RFB from './novnc/core/rfb.js';

const element = (id) => document.getElementById(id);
const say = (text) => {
  element('status').textContent = text;
};

/** The WebSocket that the link names; none but one of this page's own server. */
const address = () => {
  const path = new URLSearchParams(location.search).get('path') ?? '';
  const root = `${location.origin}/`;
  if (!URL.canParse(path, root)) return null;
  const url = new URL(path, root);
  if (url.host !== location.host) return null;
  url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
  return url.href;
};

const open = (url) => {
  const rfb = new RFB(element('screen'), url);
  const button = element('ctrl-alt-del');
  rfb.scaleViewport = true;
  rfb.addEventListener('connect', () => {
    button.disabled = false;
    rfb.focus();
  });
  rfb.addEventListener('desktopname', ({ detail }) => say(`Connected to ${detail.name}`));
  rfb.addEventListener('disconnect', ({ detail }) => {
    say(detail.clean ? 'Disconnected' : 'The console cannot be reached, or its token is over: ask for another.');
    button.disabled = true;
  });
  rfb.addEventListener('securityfailure', ({ detail }) => say(`Refused: ${detail.reason ?? detail.status}`));
  button.addEventListener('click', () => {
    rfb.sendCtrlAltDel();
    rfb.focus();
  });
};

const url = address();
if (url) open(url);
else say('This is no link to a console of this cloud.');
