/** Tells how far a start is: one moving line on a terminal, plain lines elsewhere. */
export class Progress {
  #terminal;
  #out;
  #timer;
  #began = Date.now();

  /** @param {NodeJS.WriteStream} [out] */
  constructor(out = process.stdout) {
    this.#out = out;
    this.#terminal = out.isTTY === true;
  }

  /** Runs one step under its name. @template T @param {string} name @param {() => Promise<T> | T} work @returns {Promise<T>} */
  async step(name, work) {
    const from = Date.now();
    const seconds = () => `${((Date.now() - from) / 1000).toFixed(1)} s`;
    const frames = '⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏';
    let frame = 0;
    const draw = () => this.#out.write(`\r\x1b[2K${frames[frame++ % frames.length]} ${name} ${seconds()}`);
    if (this.#terminal) {
      draw();
      this.#timer = setInterval(draw, 120);
    }
    try {
      const result = await work();
      this.#end(`✓ ${name} (${seconds()})`, `${name}: done in ${seconds()}`);
      return result;
    } catch (error) {
      this.#end(`✗ ${name} (${seconds()})`, `${name}: failed after ${seconds()}`);
      throw error;
    }
  }

  #end(onTerminal, elsewhere) {
    clearInterval(this.#timer);
    if (this.#terminal) this.#out.write(`\r\x1b[2K${onTerminal}\n`);
    else this.#out.write(`${elsewhere}\n`);
  }

  say(line) {
    this.#out.write(this.#terminal ? `\r\x1b[2K${line}\n` : `${line}\n`);
  }

  get elapsed() {
    return Math.round((Date.now() - this.#began) / 1000);
  }
}
