import { hostBus } from '@omnivisor/contracts';
import type { z } from 'zod';
import { HypervisorError, memberOf } from '../drivers/hypervisor-driver.js';
import { dialConsole } from './console-dial.js';
import type { AgentPorts } from './ports.js';
import type { Session } from './session.js';

export type Receive = Extract<z.output<typeof hostBus.Wake>, { kind: 'receive' }>;
type Question = Exclude<z.output<typeof hostBus.Wake>, { kind: 'desired' }>;

/** A guest that cannot come here is to stay where it is: asking again changes nothing. */
const isFinal = ({ kind }: Question, { code }: HypervisorError): boolean =>
  code === 'unsupported' || (kind === 'receive' && code !== 'unavailable');

/** Questions about a guest that somebody waits for: its console log, its console, a shell for it to come to. Answers go out on our own subject. */
export class LiveQuestions {
  constructor(
    private readonly ports: AgentPorts,
    private readonly session: Session,
    private readonly receive: (question: Receive) => Promise<string>,
  ) {}

  async answer(question: Question): Promise<void> {
    let body = '';
    let ok = true;
    let isUnsupported = false;
    try {
      if (question.kind === 'crashDump') await memberOf(this.ports.driver, 'crashDumps').trigger(question.serverId);
      else if (question.kind === 'receive') body = await this.receive(question);
      else if (question.kind === 'consoleLog') {
        const log = this.ports.driver.consoleLog;
        if (!log) throw new HypervisorError('unsupported', 'no console log here');
        body = (await log.tail(question.serverId, question.maxBytes)).toString('latin1');
      } else if (question.kind === 'foreignGuests') {
        const adoption = this.ports.driver.adoption;
        if (!adoption) throw new HypervisorError('unsupported', 'no adoption here');
        body = JSON.stringify(await adoption.candidates());
      } else {
        const consoles = this.ports.driver.consoles;
        if (!consoles) throw new HypervisorError('unsupported', 'no consoles here');
        await dialConsole(question.url, await consoles.open(question.serverId, question.protocol));
      }
    } catch (error) {
      ok = false;
      isUnsupported = error instanceof HypervisorError && isFinal(question, error);
      if (question.kind === 'receive' && isUnsupported) body = (error as Error).message;
      const of = 'serverId' in question ? ` of server ${question.serverId}` : '';
      if (!isUnsupported || question.kind === 'receive') this.ports.onError(`${question.kind}${of}`, error);
    }
    try {
      await this.session.ask(hostBus.answer, { question: question.question, ok, unsupported: isUnsupported, body });
    } catch (error) {
      this.ports.onError('answer', error);
    }
  }
}
