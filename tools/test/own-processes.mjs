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

/** Ends what a run left behind. @param {string} run @returns {number} how many there were */
export const endProcessesOf = (run) => {
  const left = processesOf(run);
  for (const pid of left)
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      if (error.code !== 'ESRCH') throw error;
    }
  return left.length;
};
