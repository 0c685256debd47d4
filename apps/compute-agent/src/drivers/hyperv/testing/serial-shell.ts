import { randomUUID } from 'node:crypto';
import type { ServerId } from '@omnivisor/contracts';
import type { HypervisorDriver } from '../../hypervisor-driver.js';

const LINE_TIME = 15_000;
/** What is typed before the prompt is lost, so the first line is soon typed again. */
const FIRST_LINE_TIME = 3_000;

/** The root shell that the test image has on its serial port. */
export const inShell = async (
  driver: HypervisorDriver,
  id: ServerId,
  command: string,
  time = LINE_TIME,
): Promise<string> => {
  const console = await driver.consoles!.open(id, 'serial');
  const mark = randomUUID().slice(0, 8);
  let said = '';
  try {
    return await new Promise<string>((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`the shell did not answer to ${command}: ${said}`)), time);
      console.readable.on('data', (bytes: Buffer) => {
        said += bytes.toString('latin1');
        // The shell echoes the line, where the marks are still in quotes.
        const found = new RegExp(`\\n${mark}begin\\r?\\n([\\s\\S]*?)${mark}end`).exec(said);
        if (!found) return;
        clearTimeout(late);
        resolve(found[1]!.replaceAll('\r', ''));
      });
      console.writable.write(`\n echo '${mark}''begin'; ${command}; echo '${mark}''end'\n`);
    });
  } finally {
    console.close();
  }
};

/** Until the shell answers. */
export const shellIsUp = async (driver: HypervisorDriver, id: ServerId, patience: number): Promise<void> => {
  const deadline = Date.now() + patience;
  for (;;)
    try {
      await inShell(driver, id, 'true', FIRST_LINE_TIME);
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
};
