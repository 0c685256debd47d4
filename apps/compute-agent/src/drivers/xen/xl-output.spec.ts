import { describe, expect, it } from 'vitest';
import { DOMAIN_TYPES } from './definition.js';
import { runsOn } from './migration.js';
import {
  parseDeviceNumbers,
  parseDomains,
  parseInfo,
  parseInterfaces,
  parseVcpuTimes,
  versionNumber,
} from './xl-output.js';

const HEAD =
  'Name                                        ID   Mem VCPUs\tState\tTime(s)   UUID                            Reason-Code\tSecurity Label';
const UUID = '56384da2-c9df-4ddf-af76-2026ff942323';
const line = (name: string, flags: string, uuid = UUID) =>
  `${name.padEnd(40)}     1   160     2     ${flags}       1.4 ${uuid}        -                -`;
const ZERO = line('Domain-0', 'r-----', '00000000-0000-0000-0000-000000000000');

describe('the domains of a host', () => {
  it('have a state by their flags', () => {
    const flags = { 'r-----': 'running', '-b----': 'running', '------': 'running', '--p---': 'paused' };
    const between = { '--pss-': 'paused', '---sr-': 'running', '---sw-': 'running', '---srd': 'off' };
    for (const [text, state] of Object.entries({
      ...flags,
      '---s--': 'off',
      '-----d': 'off',
      '---sc-': 'crashed',
      ...between,
    }))
      expect(parseDomains(`${HEAD}\n${ZERO}\n${line('g1', text)}\n`)[1]).toEqual({
        ...{ name: 'g1', domid: 1, uuid: UUID, memory: 160, vcpus: 2, state, time: 1.4 },
      });
  });

  it('are read from the end of their line, as a name can look like anything', () => {
    const name = `web  9   99     9     r-----       1.0 ${UUID}        -`;
    expect(parseDomains(`${HEAD}\n${line(name, '--p---', ZERO.match(/0{8}\S+/)![0])}\n`)[0]).toMatchObject({
      ...{ name, domid: 1, state: 'paused' },
    });
  });

  it.each([
    ['no table', 'libxl: error: cannot open the privileged interface\n'],
    ['nothing', ''],
    ['a line cut short', `${HEAD}\n${ZERO}\ng1       1   160`],
    ['flags that are none', `${HEAD}\n${line('g1', 'xxxxxx')}\n`],
    ['a UUID that is none', `${HEAD}\n${line('g1', 'r-----', UUID.replace('5', 'g'))}\n`],
  ])('are not believed to be none when there is %s', (_, text) => {
    expect(() => parseDomains(text)).toThrow('an answer that is none');
  });
});

const INFO = `host                   : xenhost
nr_cpus                : 8
cores_per_socket       : 2
threads_per_core       : 2
hw_caps                : bfebfbff:f6fa3203:2c100800
virt_caps              : pv hvm hap
total_memory           : 2999
free_memory            : 1942
xen_version            : 4.17.7
xen_caps               : xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_64 \n`;

describe('what a host says of itself', () => {
  it('is read by name', () => {
    expect(parseInfo(INFO)).toEqual({
      ...{ version: '4.17.7', vcpus: 8, totalMemory: 2999, freeMemory: 1942, pv: true, hvm: true },
      paging: { hap: true, shadow: false },
      cpuWords: 'bfebfbff:f6fa3203:2c100800',
      topology: { sockets: 2, cores: 2, threads: 2 },
    });
    expect(versionNumber('4.17.7')).toBe(4_017_007);
  });

  it('says which types of domain it runs', () => {
    expect(parseInfo(INFO.replace('pv hvm hap', 'hvm hap'))).toMatchObject({ pv: false, hvm: true });
    expect(parseInfo(INFO.replace(/virt_caps.*\n/, '').replace(/hvm-\S+/g, ''))).toMatchObject({
      pv: true,
      hvm: false,
    });
  });

  it('says which domains can run while their memory is sent', () => {
    const runs = (capabilities: string) => {
      const info = parseInfo(INFO.replace('pv hvm hap', capabilities));
      return DOMAIN_TYPES.filter((type) => runsOn(type, info));
    };
    expect(runs('pv hvm hap')).toEqual(['pvh', 'hvm']);
    expect(runs('pv hvm hap shadow')).toEqual(['pv', 'pvh', 'hvm']);
    expect(runs('pv')).toEqual([]);
    // Before it said so, Xen was rarely built without.
    expect(runs('hvm hvm_directio')).toEqual(['pv', 'pvh', 'hvm']);
  });

  it('is not believed with an amount that is none', () => {
    for (const wrong of ['', '-1', '12 apples', '1e400'])
      expect(() => parseInfo(INFO.replace('2999', wrong))).toThrow('an answer that is none');
    expect(() => parseInfo('sh: xl: not found')).toThrow('an answer that is none');
  });
});

describe('devices of a domain', () => {
  it('are told by number and address', () => {
    const blocks = 'Vdev  BE  handle state evt-ch ring-ref BE-path\n51712 0   1      4     8      8   /local/x\n';
    expect(parseDeviceNumbers(blocks)).toEqual([51712]);
    const nics = 'Idx BE Mac Addr.         handle state\n0   0  00:16:3E:00:00:01      0     4      9\nnonsense\n';
    expect([...parseInterfaces(nics)]).toEqual([['00:16:3e:00:00:01', 0]]);
  });

  it('are CPUs in their order, whatever the name', () => {
    const head = 'Name                                ID  VCPU   CPU State   Time(s) Affinity (Hard / Soft)';
    const times = `${head}\ng 1 2     1     1     -   --p       2.5  all / all\ng 1 2     1     0     0   -b-       1.5  all / all\n`;
    expect(parseVcpuTimes(times)).toEqual([1.5, 2.5]);
  });
});
