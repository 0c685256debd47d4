import { hostBus, type MigrationProgress, type ServerId } from '@omnivisor/contracts';
import type { z } from 'zod';
import { type ConsoleStream, HypervisorError, memberOf } from '../drivers/hypervisor-driver.js';
import { dialConsole } from './console-dial.js';
import { guestDetails } from './guest-details.js';
import { openMks } from './mks-console.js';
import type { AgentPorts } from './ports.js';
import type { Session } from './session.js';

export type Receive = Extract<z.output<typeof hostBus.Wake>, { kind: 'receive' }>;
type Question = Exclude<z.output<typeof hostBus.Wake>, { kind: 'desired' }>;

/** A guest that cannot come here is to stay where it is: asking again changes nothing. */
const isFinal = ({ kind }: Question, { code }: HypervisorError): boolean =>
  code === 'unsupported' || (kind === 'receive' && code !== 'unavailable');

/**
 * Questions that somebody waits for: a guest's console and its log, its counters, how far it has moved, a shell for it to come
 * to. Answers go out on our own subject.
 */
export class LiveQuestions {
  constructor(
    private readonly ports: AgentPorts,
    private readonly session: Session,
    private readonly agent: {
      receive(question: Receive): Promise<string>;
      progressOf(id: ServerId): MigrationProgress | null;
    },
  ) {}

  async answer(question: Question): Promise<void> {
    let body = '';
    let ok = true;
    let isUnsupported = false;
    try {
      body = await this.answerTo(question);
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

  private async answerTo(question: Question): Promise<string> {
    const { driver, uptime } = this.ports;
    switch (question.kind) {
      case 'receive':
        return this.agent.receive(question);
      case 'crashDump':
        await memberOf(driver, 'crashDumps').trigger(question.serverId);
        return '';
      case 'consoleLog':
        return (await memberOf(driver, 'consoleLog').tail(question.serverId, question.maxBytes)).toString('latin1');
      case 'console':
        await dialConsole(question.url, await this.console(question));
        return '';
      case 'consoleTicket':
        return JSON.stringify(await memberOf(driver, 'consoleTickets').open(question.serverId, question.protocol));
      case 'guestDetails':
        return JSON.stringify(await guestDetails(driver, question.serverId));
      case 'setPassword':
        await memberOf(driver, 'guestAgent').setPassword(question.serverId, question.user, question.password);
        return '';
      case 'statistics':
        return JSON.stringify(await memberOf(driver, 'statistics').read(question.serverId));
      case 'migrationProgress':
        return JSON.stringify(this.agent.progressOf(question.serverId));
      case 'foreignGuests':
        return JSON.stringify(await memberOf(driver, 'adoption').candidates());
      case 'uptime':
        if (!uptime) throw new HypervisorError('unsupported', 'the hypervisor is on another machine');
        return uptime();
    }
  }

  private async console({ serverId, protocol }: Extract<Question, { kind: 'console' }>): Promise<ConsoleStream> {
    const { driver } = this.ports;
    if (protocol !== 'mks') return memberOf(driver, 'consoles').open(serverId, protocol);
    return openMks(await memberOf(driver, 'consoleTickets').open(serverId, protocol));
  }
}
