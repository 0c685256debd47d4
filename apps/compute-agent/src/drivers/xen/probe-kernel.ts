/** Where it is loaded. */
const ADDRESS = 0x100000n;
const VIRTUAL = 0xffffffff80000000n;
const HEADERS = 64 + 2 * 56;

/** Types of Xen's notes in a kernel, of xen/include/public/elfnote.h. */
const NOTES = { entry: 1, virtualBase: 3, physicalOffset: 4, xenVersion: 5, guestSystem: 6, loader: 8 } as const;

const uint64 = (value: bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
};

const note = (type: number, content: Buffer): Buffer => {
  const head = Buffer.alloc(12);
  head.writeUInt32LE(4, 0);
  head.writeUInt32LE(content.length, 4);
  head.writeUInt32LE(type, 8);
  return Buffer.concat([head, Buffer.from('Xen\0'), content, Buffer.alloc(-content.length & 3)]);
};

/** A kernel for a paravirtual domain that is this code, which starts with the address of its `start_info` in rsi. */
export const kernelOf = (code: Buffer): Buffer => {
  const notesWith = (entry: bigint) =>
    Buffer.concat([
      note(NOTES.guestSystem, Buffer.from('omnivisor probe\0')),
      note(NOTES.xenVersion, Buffer.from('xen-3.0\0')),
      note(NOTES.loader, Buffer.from('generic\0')),
      note(NOTES.virtualBase, uint64(VIRTUAL)),
      note(NOTES.physicalOffset, uint64(0n)),
      note(NOTES.entry, uint64(entry)),
    ]);
  const start = HEADERS + notesWith(0n).length;
  const entry = VIRTUAL + ADDRESS + BigInt(start);
  const notes = notesWith(entry);
  const size = BigInt(start + code.length);
  const header = Buffer.concat([
    Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]), // ELF, 64 bit
    Buffer.from([2, 0, 62, 0, 1, 0, 0, 0]), // executable, x86-64
    ...[uint64(entry), uint64(64n), uint64(0n)],
    Buffer.from([0, 0, 0, 0, 64, 0, 56, 0, 2, 0, 0, 0, 0, 0, 0, 0]), // two program headers, no sections
  ]);
  const segment = (type: number, offset: bigint, length: bigint): Buffer =>
    Buffer.concat([
      Buffer.from([type, 0, 0, 0, 7, 0, 0, 0]),
      ...[uint64(offset), uint64(VIRTUAL + ADDRESS + offset), uint64(ADDRESS + offset)],
      ...[uint64(length), uint64(length), uint64(4096n)],
    ]);
  return Buffer.concat([
    ...[header, segment(1, 0n, size), segment(4, BigInt(HEADERS), BigInt(notes.length))],
    ...[notes, code],
  ]);
};

/** Switches itself off: it proves that guests run, in a fraction of a second. */
export const probeKernel = (): Buffer =>
  kernelOf(
    Buffer.from([
      ...[0xb8, 29, 0, 0, 0], //               mov eax, 29: the hypercall sched_op
      ...[0xbf, 2, 0, 0, 0], //                mov edi, 2: shutdown
      ...[0x48, 0x8d, 0x35, 4, 0, 0, 0], //    lea rsi, [rip + 4]: the reason
      ...[0x0f, 0x05], //                      syscall
      ...[0xeb, 0xfe], //                      jmp to it
      ...[0, 0, 0, 0], //                      0: it switched itself off
    ]),
  );
