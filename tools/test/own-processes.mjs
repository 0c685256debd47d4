import { readdirSync, readFileSync } from 'node:fs';

/** Every process started below a run carries this variable, however far it went away from us. */
export const RUN_VARIABLE = 'OMNIVISOR_TEST_RUN';

/** @param {string} run @returns {number[]} the living processes of the run, this one left out */
export const processesOf = (run) => {
  const mark = `${RUN_VARIABLE}=${run}`;
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(mark);
      } catch {
        return false; // ended meanwhile, or not ours to read
      }
    })
    .map(Number);
};

/** How long a supervisor may take to end its services, in milliseconds. */
const PATIENCE = 20_000;

const send = (pids, signal) => {
  for (const pid of pids)
    try {
      process.kill(pid, signal);
    } catch (error) {
      if (error.code !== 'ESRCH') throw error;
    }
};

/**
 * Ends what a run left behind. Services have an environment of their own: their supervisor ends them, when it is let.
 * @param {string} run @returns {Promise<number>} how many there were
 */
export const endProcessesOf = async (run) => {
  const left = processesOf(run);
  send(left, 'SIGTERM');
  for (const end = Date.now() + PATIENCE; processesOf(run).length > 0 && Date.now() < end; )
    await new Promise((resolve) => setTimeout(resolve, 100));
  send(processesOf(run), 'SIGKILL');
  return left.length;
};
