import { kernelOf } from '../probe-kernel.js';

/** Pages after that of `start_info`: of xenstore, and of the console. */
const CONSOLE = 0x2000;
/** In the page of the console, of xen/include/public/io/console.h. */
const [OUTPUT, PRODUCED] = [CONSOLE + 1024, CONSOLE + 3084];
/** In `start_info`, of xen/include/public/xen.h. */
const CONSOLE_EVENT = 80;

const int32 = (value: number): number[] => [value & 255, (value >> 8) & 255, (value >> 16) & 255, value >>> 24];

/** A kernel for a paravirtual domain that writes this to its console and then waits for ever. */
export const quietKernel = (text: string): Buffer => {
  const said = Buffer.from(text);
  const rest = [
    ...[0xb9, ...int32(said.length)], //               mov ecx, its length
    ...[0xf3, 0xa4], //                                rep movsb
    ...[0xc7, 0x83, ...int32(PRODUCED), ...int32(said.length)], // mov [rbx + out_prod], its length
    ...[0x48, 0x8d, 0xb3, ...int32(CONSOLE_EVENT)], //  lea rsi, [rbx + the console's event channel]
    ...[0xbf, 4, 0, 0, 0], //                          mov edi, 4: send
    ...[0xb8, 32, 0, 0, 0], //                         mov eax, 32: the hypercall event_channel_op
    ...[0x0f, 0x05], //                                syscall
    ...[0x48, 0x8d, 0x35, 14, 0, 0, 0], //             lea rsi, [rip + 14]: no ports, no end
    ...[0xbf, 3, 0, 0, 0], //                          mov edi, 3: poll
    ...[0xb8, 29, 0, 0, 0], //                         mov eax, 29: the hypercall sched_op
    ...[0x0f, 0x05], //                                syscall
    ...[0xeb, 0xeb], //                                jmp to the lea before it
    ...new Array(24).fill(0),
  ];
  const begin = [
    ...[0x48, 0x89, 0xf3], //                          mov rbx, rsi
    ...[0x48, 0x8d, 0xbb, ...int32(OUTPUT)], //        lea rdi, [rbx + the buffer of what it says]
    ...[0x48, 0x8d, 0x35, ...int32(rest.length)], //   lea rsi, [rip + the text]
  ];
  return kernelOf(Buffer.concat([Buffer.from([...begin, ...rest]), said]));
};
