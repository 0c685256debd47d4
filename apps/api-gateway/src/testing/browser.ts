import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { WebSocket } from 'ws';

interface Answer {
  readonly id?: number;
  readonly result?: unknown;
  readonly error?: { readonly message: string };
  readonly method?: string;
  readonly params?: unknown;
}

/** Debian's headless Chromium over its DevTools protocol, with one page. */
export class Browser {
  /** What pages complained about: exceptions, errors on the console, what their policy kept out. */
  readonly complaints: unknown[] = [];
  private readonly waiting = new Map<number, (answer: Answer) => void>();
  private commands = 0;
  private session: string | undefined;

  private constructor(
    private readonly process: ChildProcess,
    private readonly socket: WebSocket,
    private readonly profile: string,
  ) {
    socket.on('message', (text) => this.heard(JSON.parse(String(text))));
  }

  static async start(): Promise<Browser> {
    const profile = mkdtempSync(join(tmpdir(), 'browser-'));
    // Chromium refuses its sandbox to root, which tests may be; it sees pages of ours only.
    const options = ['--no-sandbox', '--disable-gpu', '--remote-debugging-port=0', `--user-data-dir=${profile}`];
    const child = spawn('chromium-headless-shell', [...options, 'about:blank'], {
      stdio: ['ignore', 'ignore', 'pipe'],
      detached: true,
    });
    const url = await new Promise<string>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`chromium-headless-shell ended with ${code}`)));
      createInterface({ input: child.stderr! }).on('line', (line) => {
        const [, found] = /^DevTools listening on (ws:\S+)$/.exec(line) ?? [];
        if (found) resolve(found);
      });
    });
    const socket = new WebSocket(url);
    await once(socket, 'open');
    const browser = new Browser(child, socket, profile);
    const { targetId } = await browser.send<{ targetId: string }>('Target.createTarget', { url: 'about:blank' });
    const attached = await browser.send<{ sessionId: string }>('Target.attachToTarget', { targetId, flatten: true });
    browser.session = attached.sessionId;
    for (const domain of ['Page', 'Runtime', 'Log']) await browser.send(`${domain}.enable`);
    return browser;
  }

  async open(url: string): Promise<void> {
    await this.send('Page.navigate', { url });
    await this.until(`location.href === ${JSON.stringify(url)} && document.readyState === 'complete'`);
  }

  /** The value of an expression in the page; JSON. */
  async evaluate<T>(expression: string): Promise<T> {
    const options = { expression, returnByValue: true, awaitPromise: true };
    const { result, exceptionDetails } = await this.send<{ result: { value: T }; exceptionDetails?: object }>(
      'Runtime.evaluate',
      options,
    );
    if (exceptionDetails) throw new Error(JSON.stringify(exceptionDetails));
    return result.value;
  }

  /** Waits for a condition in the page. */
  async until(condition: string): Promise<void> {
    while (!(await this.evaluate<boolean>(`Boolean(${condition})`))) await new Promise((r) => setTimeout(r, 20));
  }

  async stop(): Promise<void> {
    this.socket.close();
    if (this.process.exitCode === null && this.process.signalCode === null) {
      const ended = once(this.process, 'exit');
      // Debian's is a script, and the browser a child of it; nothing in it is to be kept.
      process.kill(-this.process.pid!, 'SIGKILL');
      await ended;
    }
    rmSync(this.profile, { recursive: true, force: true, maxRetries: 5 });
  }

  private send<T>(method: string, params: object = {}): Promise<T> {
    const id = ++this.commands;
    this.socket.send(JSON.stringify({ id, method, params, ...(this.session ? { sessionId: this.session } : {}) }));
    return new Promise((resolve, reject) => {
      this.waiting.set(id, ({ result, error }) => (error ? reject(new Error(error.message)) : resolve(result as T)));
    });
  }

  private heard(answer: Answer): void {
    if (answer.id !== undefined) {
      this.waiting.get(answer.id)?.(answer);
      this.waiting.delete(answer.id);
    } else if (answer.method === 'Runtime.exceptionThrown' || answer.method === 'Log.entryAdded')
      this.complaints.push(answer.params);
  }
}
