/**
 * What a run of vitest comes to, as one JSON file for test.mjs: `{ passed, skipped, failures, flaky, slowest }`. What was
 * skipped is counted by file. A failure is one text of a few lines: where, and the error. Flaky is what failed first and
 * passed when it was tried again. Vitest's own JSON reporter says nothing of errors outside of any test, which fail a run
 * too.
 */
import { writeFileSync } from 'node:fs';

const STACK_LINES = 6;
const SLOWEST = 8;

export default class FailuresReporter {
  onInit({ config }) {
    this.file = config.outputFile;
    this.root = config.root;
  }

  onTestRunEnd(modules, unhandled) {
    const tests = modules.flatMap((module) => [...module.children.allTests()]);
    const passed = tests.filter((test) => test.result().state === 'passed').length;
    const failures = [
      ...modules.flatMap((module) => module.errors().map((error) => this.#text(module.moduleId, error))),
      ...modules.flatMap((module) =>
        [...module.children.allSuites()].flatMap((suite) =>
          suite.errors().map((e) => this.#text(`${module.moduleId}: ${suite.fullName}`, e)),
        ),
      ),
      ...tests.filter((test) => test.result().state === 'failed').map((test) => this.#firstError(test)),
      ...unhandled.map((error) =>
        this.#text(`outside of any test, near ${error.VITEST_TEST_PATH ?? 'an unknown file'}`, error),
      ),
    ];
    const flaky = tests.filter((test) => test.diagnostic()?.flaky).map((test) => this.#firstError(test));
    const slowest = modules
      .map((module) => ({ file: module.relativeModuleId, seconds: this.#seconds(module) }))
      .sort((a, b) => b.seconds - a.seconds)
      .slice(0, SLOWEST);
    const skipped = modules
      .map((module) => ({ file: module.relativeModuleId, tests: [...module.children.allTests('skipped')].length }))
      .filter((module) => module.tests > 0);
    writeFileSync(this.file, JSON.stringify({ passed, skipped, failures, flaky, slowest }));
  }

  /** From its start to its end, hooks and imports too. */
  #seconds(module) {
    const { prepareDuration, collectDuration, setupDuration, duration } = module.diagnostic();
    return Math.round((prepareDuration + collectDuration + setupDuration + duration) / 1000);
  }

  #firstError(test) {
    return this.#text(`${test.module.moduleId}: ${test.fullName}`, test.result().errors?.[0]);
  }

  #text(where, error) {
    const stack = String(error?.stack ?? error?.message ?? 'without an error').split('\n');
    const lines = stack.filter((line) => !line.includes('node_modules')).slice(0, STACK_LINES);
    return [where, ...lines.map((line) => `  ${line.trim()}`)]
      .join('\n')
      .replaceAll(`${this.root}/`, '')
      .replaceAll(this.root, '.');
  }
}
