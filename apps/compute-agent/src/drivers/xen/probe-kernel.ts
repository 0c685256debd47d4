/** Where it is loaded. */
const ADDRESS = 0x100000n;
const VIRTUAL = 0xffffffff80000000n;
const HEADERS = 64 + 2 * 56;

/** Types of Xen's notes in a kernel, of xen/include/public/elfnote.h. */
const NOTES = {
  ...{ entry: 1, virtualBase: 3, physicalOffset: 4, xenVersion: 5, guestSystem: 6, loader: 8, entryWithoutPages: 18 },
} as const;

const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};

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

/**
 * A kernel for a paravirtual domain that is this code, which starts with the address of its `start_info` in rsi.
 * @param code32 of where it begins in a domain with virtualisation: in 32 bits without pages, told its own address
 */
export const kernelOf = (code: Buffer, code32: (at: number) => Buffer = () => Buffer.alloc(0)): Buffer => {
  const notesWith = (entry: bigint, entry32: number) =>
    Buffer.concat([
      note(NOTES.guestSystem, Buffer.from('omnivisor probe\0')),
      note(NOTES.xenVersion, Buffer.from('xen-3.0\0')),
      note(NOTES.loader, Buffer.from('generic\0')),
      note(NOTES.virtualBase, uint64(VIRTUAL)),
      note(NOTES.physicalOffset, uint64(0n)),
      note(NOTES.entry, uint64(entry)),
      note(NOTES.entryWithoutPages, uint32(entry32)),
    ]);
  const start = HEADERS + notesWith(0n, 0).length;
  const entry = VIRTUAL + ADDRESS + BigInt(start);
  const entry32 = Number(ADDRESS) + start + code.length;
  const all = Buffer.concat([code, code32(entry32)]);
  const notes = notesWith(entry, entry32);
  const size = BigInt(start + all.length);
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
    ...[notes, all],
  ]);
};

/** Where it has Xen put the code of hypercalls, 32 bytes each: a page that is free. */
const HYPERCALLS = 0x200000;

/** Switches itself off: it proves that guests run, in a fraction of a second. For domains of every type. */
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
    (at) => {
      const code = (reason: number) =>
        Buffer.from([
          ...[0xb8, 2, 0, 0, 0x40], //                   mov eax, 0x40000002: Xen's leaf of hypercalls
          ...[0x0f, 0xa2], //                            cpuid
          ...[0x89, 0xd9], //                            mov ecx, ebx: the register that takes the page
          ...[0xb8, ...uint32(HYPERCALLS)], //           mov eax, the page
          ...[0x31, 0xd2], //                            xor edx, edx
          ...[0x0f, 0x30], //                            wrmsr
          ...[0xbb, 2, 0, 0, 0], //                      mov ebx, 2: shutdown
          ...[0xb9, ...uint32(reason)], //               mov ecx, the reason
          ...[0xb8, ...uint32(HYPERCALLS + 29 * 32)], // mov eax, the hypercall sched_op
          ...[0xff, 0xe0], //                            jmp eax: it does not come back
          ...[0, 0, 0, 0], //                            0: it switched itself off
        ]);
      return code(at + code(0).length - 4);
    },
  );
