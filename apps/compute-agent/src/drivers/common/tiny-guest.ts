/**
 * Boot sectors for x86 real mode: guests of 512 bytes that prove that a guest runs, in a fraction of a second.
 */

const bootSector = (code: readonly number[]): Buffer => {
  const sector = Buffer.alloc(512);
  sector.set(code);
  sector.set([0x55, 0xaa], 510);
  return sector;
};

/** Exit code of QEMU when `probeGuest` has run: `(value << 1) | 1` of what it writes to isa-debug-exit. */
export const PROBE_EXIT_CODE = (0x2a << 1) | 1;

/** Writes 0x2a to port 0x501 (isa-debug-exit), then halts. */
export const probeGuest = (): Buffer =>
  bootSector([
    ...[0xba, 0x01, 0x05], // mov dx, 0x501
    ...[0xb0, 0x2a], //       mov al, 0x2a
    0xee, //                  out dx, al
    ...[0xf4, 0xeb, 0xfd], // hlt; jmp to it
  ]);

/**
 * Says `text` on the first serial port, then waits: the power button or a `q` on the serial port switches it off, an
 * `i` makes it ignore the button. Needs the i440FX machine (ACPI registers at 0x600).
 */
export const tinyGuest = (text = 'tiny guest is up\r\n'): Buffer => {
  const code = [
    ...[0x31, 0xc0, 0x8e, 0xd8], //             00 xor ax, ax; mov ds, ax
    ...[0xba, 0x02, 0x06, 0xb8, 0x00, 0x01, 0xef], // 04 enable the power button: out 0x602, 0x100
    ...[0xbe, 0x4d, 0x7c], //                   0b mov si, text
    ...[0xac, 0x84, 0xc0, 0x74, 0x06], //       0e lodsb; test al, al; jz 19
    ...[0xba, 0xf8, 0x03, 0xee, 0xeb, 0xf5], // 13 out 0x3f8, al; jmp 0e
    ...[0xfb, 0xf4], //                         19 sti; hlt until the timer ticks
    ...[0xba, 0x00, 0x06, 0xed], //             1b in ax, 0x600
    ...[0xf6, 0xc4, 0x01, 0x75, 0x1f], //       1f test ah, 1; jnz 43
    ...[0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01], // 24 in al, 0x3fd; test al, 1
    ...[0x74, 0xed], //                         2a jz 19
    ...[0xba, 0xf8, 0x03, 0xec], //             2c in al, 0x3f8
    ...[0x3c, 0x71, 0x74, 0x0f], //             30 cmp al, 'q'; je 43
    ...[0x3c, 0x69, 0x75, 0xe1], //             34 cmp al, 'i'; jne 19
    ...[0xba, 0x02, 0x06, 0x31, 0xc0, 0xef], // 38 out 0x602, 0
    ...[0xeb, 0xd9, 0x90, 0x90, 0x90], //       3e jmp 19
    ...[0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef], // 43 sleep type 5: out 0x604, 0x2000
    ...[0xeb, 0xcd, 0x90], //                   4a jmp 19
  ];
  return bootSector([...code, ...Buffer.from(text), 0]);
};
