import { createServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { XapiFailure } from '../model/failure.mjs';
import * as json from '../rpc/json-rpc.mjs';
import * as xml from '../rpc/xml-rpc.mjs';
import { openConsole } from './console.mjs';
import { exportVdi, importVdi, receive } from './transfer.mjs';

const LARGEST_CALL = 8 << 20;

const readBody = async (request) => {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size > LARGEST_CALL) throw new Error('the call is too large');
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
};

/** One member's listener: calls, transfers of disks, consoles. */
export class MemberServer {
  /** @param {import('../model/xapi.mjs').Xapi} xapi @param {string} host @param {() => Promise<void>} save before an answer */
  constructor(xapi, host, save) {
    this.xapi = xapi;
    this.host = host;
    this.save = save;
    /** @type {Set<import('node:net').Socket>} */
    this.sockets = new Set();
    /** `refuse`: connections are reset; `silence`: they are taken and never answered. @type {null | 'refuse' | 'silence'} */
    this.cut = null;
    this.http = createServer((request, response) => {
      this.#handle(request, response).catch((error) => this.#broken(request, response, error));
    });
    this.http.on('clientError', (_error, socket) => socket.destroy());
    const { tls } = xapi.settings;
    const accept = (socket) => this.#accept(socket);
    this.listener = tls ? createTlsServer(tls, accept) : createTcpServer(accept);
    this.listener.on('tlsClientError', () => {});
  }

  /** @param {number} port @param {string} address @returns {Promise<number>} */
  listen(port, address) {
    return new Promise((resolve, reject) => {
      this.listener.once('error', reject);
      this.listener.listen(port, address, () => resolve(this.listener.address().port));
    });
  }

  /** @param {null | 'refuse' | 'silence'} how */
  setCut(how) {
    this.cut = how;
    if (how === 'refuse') this.drop();
  }

  /** Breaks every connection. */
  drop() {
    for (const socket of this.sockets) socket.destroy();
  }

  close() {
    return new Promise((resolve) => {
      this.listener.close(() => resolve(undefined));
      this.drop();
    });
  }

  /** The path of XAPI's CONNECT is no authority, so it has to be told apart before an HTTP parser sees it. */
  #accept(socket) {
    this.sockets.add(socket);
    socket.on('close', () => this.sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    if (this.cut === 'refuse') return socket.destroy();
    if (this.cut === 'silence') return socket.pause();
    socket.once('data', (first) => {
      socket.pause();
      if (first.subarray(0, 8).toString('latin1') === 'CONNECT ')
        return openConsole(this.xapi, this.host, socket, first);
      socket.unshift(first);
      this.http.emit('connection', socket);
      socket.resume();
    });
  }

  async #handle(request, response) {
    if (this.cut === 'silence') return;
    const url = new URL(request.url ?? '/', 'http://xapi');
    const path = url.pathname.replace(/\/+$/, '') || '/';
    if (request.method === 'PUT' && path === '/import_raw_vdi')
      return importVdi(this.xapi, this.host, url, request, response);
    if (request.method === 'GET' && path === '/export_raw_vdi') return exportVdi(this.xapi, this.host, url, response);
    if (request.method === 'POST' && path === '/services/xenops')
      return receive(this.xapi, this.host, url, request, response);
    if (request.method !== 'POST') return void response.writeHead(404).end();
    const body = await readBody(request);
    return path === '/jsonrpc' ? this.#answerJson(body, response) : this.#answerXml(body, response);
  }

  async #answerJson(body, response) {
    const { id, method, params } = json.parseCall(body);
    const { value, error, lost } = await this.#call(method, params);
    const text = error ? json.formatFailure(id, error.description) : json.formatSuccess(id, value);
    await this.#send(response, 'application/json', text, lost);
  }

  async #answerXml(body, response) {
    const { method, params } = xml.parseCall(body);
    const { type, value, error, lost } = await this.#call(method, params);
    const { schema } = this.xapi;
    const format = method === 'system.listMethods' ? xml.formatPlain : xml.formatSuccess;
    const text = error ? xml.formatFailure(error.description) : format(type, value, schema);
    await this.#send(response, 'text/xml', text, lost);
  }

  async #call(method, params) {
    try {
      return await this.xapi.call(this.host, method, params);
    } catch (error) {
      return { error: XapiFailure.of(error) };
    }
  }

  async #send(response, type, text, lost) {
    const later = this.xapi.later.splice(0);
    await this.save();
    if (this.cut === 'silence') return;
    if (lost) response.socket?.destroy();
    else response.writeHead(200, { 'content-type': type, 'content-length': Buffer.byteLength(text) }).end(text);
    for (const action of later) setImmediate(action);
  }

  #broken(request, response, error) {
    if (response.headersSent) return void request.socket.destroy();
    const status = error instanceof SyntaxError ? 400 : 500;
    response.writeHead(status, { connection: 'close' }).end(`${error.message}\n`);
  }
}
