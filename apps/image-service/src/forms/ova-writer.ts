import { createHash } from 'node:crypto';
import { padded, TAR_BLOCK, tarHeader } from '../formats/tar.js';
import type { Segment } from './segments.js';

const DISK = 'disk.vmdk';
const rasd = (fields: Record<string, string | number>): string =>
  `      <Item>\n${Object.entries(fields)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `        <rasd:${name}>${value}</rasd:${name}>\n`)
    .join('')}      </Item>\n`;

/** An OVF 1.0 descriptor of a machine with one disk; who imports it chooses the size of the machine. */
const descriptor = (name: string, fileSize: number, capacity: number): string => `<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
  <References>
    <File ovf:href="${DISK}" ovf:id="file1" ovf:size="${fileSize}"/>
  </References>
  <DiskSection>
    <Info>Virtual disks</Info>
    <Disk ovf:capacity="${capacity}" ovf:diskId="disk1" ovf:fileRef="file1" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <VirtualSystem ovf:id="${name}">
    <Info>A virtual machine</Info>
    <Name>${name}</Name>
    <OperatingSystemSection ovf:id="102">
      <Info>The guest operating system</Info>
    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Virtual hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>${name}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>vmx-13</vssd:VirtualSystemType>
      </System>
${[
  { ElementName: '1 virtual CPU', InstanceID: 1, ResourceType: 3, VirtualQuantity: 1 },
  {
    AllocationUnits: 'byte * 2^20',
    ElementName: '1024 MB of memory',
    InstanceID: 2,
    ResourceType: 4,
    VirtualQuantity: 1024,
  },
  { Address: 0, ElementName: 'SCSI controller', InstanceID: 3, ResourceSubType: 'lsilogic', ResourceType: 6 },
  {
    AddressOnParent: 0,
    ElementName: 'Disk',
    HostResource: 'ovf:/disk/disk1',
    InstanceID: 4,
    Parent: 3,
    ResourceType: 17,
  },
]
  .map(rasd)
  .join('')}    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
`;

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/**
 * An OVA around a streamOptimized VMDK: descriptor, manifest, disk.
 * @param disk the stored VMDK, its SHA-256 and the size of the disk inside
 */
export const ovaSegments = (
  name: string,
  disk: { readonly segment: Segment & { kind: 'blob' }; readonly sha256: string; readonly virtualSize: number },
): Segment[] => {
  const ovf = descriptor(name, disk.segment.length, disk.virtualSize);
  const manifest = `SHA256(image.ovf)= ${sha256(ovf)}\nSHA256(${DISK})= ${disk.sha256}\n`;
  const file = (path: string, text: string): Buffer[] => {
    const bytes = Buffer.from(text);
    return [tarHeader(path, bytes.length), bytes, Buffer.alloc(padded(bytes.length) - bytes.length)];
  };
  const { length } = disk.segment;
  return [
    {
      kind: 'bytes',
      bytes: Buffer.concat([...file('image.ovf', ovf), ...file('image.mf', manifest), tarHeader(DISK, length)]),
    },
    disk.segment,
    { kind: 'zeros', length: padded(length) - length + 2 * TAR_BLOCK },
  ];
};
