/** Where progress is shown. @typedef {{ isTTY?: boolean, write: (text: string) => unknown }} Out */

const FRAMES = '⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏';

/** Tells how far a start is: one moving line on a terminal, plain lines elsewhere. */
export class Progress {
  #outs;
  #began = Date.now();

  /** @param {readonly Out[]} outs */
  constructor(...outs) {
    this.#outs = outs;
  }

  /** Runs one step under its name. @template T @param {string} name @param {() => Promise<T> | T} work @returns {Promise<T>} */
  async step(name, work) {
    const from = Date.now();
    const seconds = () => `${((Date.now() - from) / 1000).toFixed(1)} s`;
    let frame = 0;
    const draw = () => this.#write(`\r\x1b[2K${FRAMES[frame++ % FRAMES.length]} ${name} ${seconds()}`, '');
    draw();
    const timer = setInterval(draw, 120);
    const end = (mark, words) => {
      clearInterval(timer);
      this.#write(`\r\x1b[2K${mark} ${name} (${seconds()})\n`, `${name}: ${words} ${seconds()}\n`);
    };
    try {
      const result = await work();
      end('✓', 'done in');
      return result;
    } catch (error) {
      end('✗', 'failed after');
      throw error;
    }
  }

  say(line) {
    this.#write(`\r\x1b[2K${line}\n`, `${line}\n`);
  }

  #write(onTerminal, elsewhere) {
    for (const out of this.#outs) {
      const text = out.isTTY ? onTerminal : elsewhere;
      if (text !== '') out.write(text);
    }
  }

  get elapsed() {
    return Math.round((Date.now() - this.#began) / 1000);
  }
}
