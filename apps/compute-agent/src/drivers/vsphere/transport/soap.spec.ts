import { describe, expect, it } from 'vitest';
import { bodyOf, callOf, element, envelope, listOf, Ref } from './soap.js';

const answer = (xml: string) =>
  bodyOf(
    `<S:Envelope xmlns:S="http://schemas.xmlsoap.org/soap/envelope/" xmlns:XMLSchema-instance="http://www.w3.org/2001/XMLSchema-instance"><S:Body>${xml}</S:Body></S:Envelope>`,
  );

describe('what is sent', () => {
  it('has its fields in the order of the schema, whatever order they are given in', () => {
    const spec = { memoryMB: 64, name: 'a', numCPUs: 1, guestId: 'otherLinux64Guest' };
    expect(element('spec', spec, 'VirtualMachineConfigSpec')).toBe(
      '<spec><name>a</name><guestId>otherLinux64Guest</guestId><numCPUs>1</numCPUs><memoryMB>64</memoryMB></spec>',
    );
  });

  it('is refused before it goes out when the schema does not know it', () => {
    const self = new Ref('VirtualMachine', 'vm-1');
    expect(() => callOf('vim25', 'PowerOnVM_Task', self, { hostt: null })).toThrow('PowerOnVM_Task.hostt');
    expect(() => callOf('vim25', 'NoSuchMethod', self, {})).toThrow('NoSuchMethod');
    expect(() => element('spec', { $type: 'VirtualDisk', file: 'x' })).toThrow('VirtualDisk.file');
  });

  it('says the type where the schema gives a choice, and repeats lists', () => {
    const value = { $type: 'xsd:string', $text: 'v' };
    expect(element('extraConfig', [{ key: 'k', value }], 'OptionValue')).toBe(
      '<extraConfig><key>k</key><value xsi:type="xsd:string">v</value></extraConfig>',
    );
    expect(element('add', [new Ref('Task', 'task-1'), new Ref('Task', 'task-2')])).toBe(
      '<add type="Task">task-1</add><add type="Task">task-2</add>',
    );
  });

  it('lets no text become markup, and drops what no XML may hold', () => {
    expect(element('name', '</name><evil>&"\u0000\n')).toBe('<name>&lt;/name&gt;&lt;evil&gt;&amp;&quot;&#10;</name>');
    expect(element('host', new Ref('Host"System', '<1>'))).toBe('<host type="Host&quot;System">&lt;1&gt;</host>');
  });

  it('stands in an envelope that can be read back', () => {
    const call = callOf('vim25', 'PowerOnVM_Task', new Ref('VirtualMachine', 'vm-1'), {});
    expect(bodyOf(envelope(call)).PowerOnVM_Task).toEqual({ _this: new Ref('VirtualMachine', 'vm-1') });
  });
});

describe('what is answered', () => {
  it('keeps references, types, lists and texts apart, whatever prefixes are used', () => {
    const read = answer(
      '<r><a type="Folder">group-1</a><b XMLSchema-instance:type="xsd:int">7</b><c XMLSchema-instance:type="xsd:boolean">true</c>' +
        '<d XMLSchema-instance:type="ArrayOfString"><string>x</string><string>y</string></d><d2 XMLSchema-instance:type="ArrayOfString"></d2>' +
        '<e XMLSchema-instance:type="VirtualDisk"><key>2000</key></e><f>1 &lt; 2</f><g XMLSchema-instance:type="NotAuthenticated"/></r>',
    ).r;
    expect(read).toEqual({
      a: new Ref('Folder', 'group-1'),
      ...{ b: 7, c: true, d: ['x', 'y'], d2: [] },
      ...{ e: { $type: 'VirtualDisk', key: '2000' }, f: '1 < 2', g: { $type: 'NotAuthenticated' } },
    });
  });

  it('is none when it is a page of something in between', () => {
    expect(() => bodyOf('<html><body>502</body></html>')).toThrow('no SOAP envelope');
  });

  it('may have an element no times, once or often', () => {
    expect([listOf(undefined), listOf('a'), listOf(['a', 'b'])]).toEqual([[], ['a'], ['a', 'b']]);
  });
});

it('OSSA-2023-001 an answer brings in no file and grows beyond no bound by entities of its own', () => {
  const inBody = (types: string, text: string) =>
    bodyOf(`<!DOCTYPE x [${types}]><Envelope><Body><a>${text}</a></Body></Envelope>`);
  const told = (types: string, text: string) => {
    try {
      return JSON.stringify(inBody(types, text));
    } catch (error) {
      return String(error);
    }
  };
  expect(told('<!ENTITY f SYSTEM "file:///etc/passwd">', '&f;')).not.toContain('root:');
  const laughs = Array.from({ length: 12 }, (_, n) => `<!ENTITY l${n + 1} "${`&l${n};`.repeat(10)}">`).join('');
  expect(told(`<!ENTITY l0 "ha">${laughs}`, '&l12;').length).toBeLessThan(10_000);
});
