import { run } from '../common/native-command.js';
import { HypervisorError } from '../hypervisor-driver.js';
import type { Nic } from './definition.js';
import { FILES } from './files.js';

/**
 * Opens what a guest's process may not open itself and gives it the descriptors: when it starts, or over its second
 * control socket. Neither Node nor a shell can open a network device in another namespace, or send a descriptor; Perl is
 * on every Debian. Numbers of system calls are those of x86-64.
 *
 *     start ITEM… -- COMMAND…    the items become descriptors 10, 11, …; the command has no network of its own
 *     send ITEM… -- JSON…        the items are named item0, item1, …, or become descriptor sets; then the commands
 *
 * ITEM is `tap NAMESPACE NAME`, `read SET PATH`, `write SET PATH`, `connect PATH` or `listen PATH`.
 */
const HELPER = String.raw`
use strict; use Socket; use POSIX ();
my ($setns, $unshare, $dup2, $sendmsg, $newnet) = (308, 272, 33, 46, 0x40000000);
my ($mode, @rest) = @ARGV;
sub fail { print STDERR "$_[0]\n"; exit 66 }
sub tap {
  my ($namespace, $name) = @_;
  open(my $here, '<', '/proc/self/ns/net') or fail("own namespace: $!");
  if ($namespace ne '') {
    open(my $there, '<', "/run/netns/$namespace") or fail("no network namespace: $!");
    syscall($setns, fileno($there), $newnet) == 0 or fail("network namespace: $!");
  }
  socket(my $any, AF_INET, SOCK_DGRAM, 0) or fail("socket: $!");
  ioctl($any, 0x8933, my $index = pack('a16 x24', $name)) or fail("no network device: $!");
  open(my $tun, '+<', '/dev/net/tun') or fail("tun: $!");
  ioctl($tun, 0x400454ca, my $request = pack('a16 S x22', $name, 0x5002)) or fail("network device: $!");
  syscall($setns, fileno($here), $newnet) == 0 or fail("back: $!");
  return $tun;
}
sub endpoint {
  my ($path, $listens) = @_;
  socket(my $s, PF_UNIX, SOCK_STREAM, 0) or fail("socket: $!");
  if ($listens) { unlink $path; bind($s, pack_sockaddr_un($path)) && listen($s, 8) or fail("listen: $!") }
  else { connect($s, pack_sockaddr_un($path)) or fail("connect: $!") }
  return $s;
}
my (@items, @sets);
while (@rest && (my $kind = shift @rest) ne '--') {
  if ($kind eq 'tap') { push @items, tap(splice(@rest, 0, 2)); push @sets, undef }
  elsif ($kind eq 'read' || $kind eq 'write') {
    my ($set, $path) = splice(@rest, 0, 2);
    sysopen(my $file, $path, $kind eq 'read' ? POSIX::O_RDONLY() : POSIX::O_RDWR()) or fail("open: $!");
    push @items, $file; push @sets, $set;
  }
  else { push @items, endpoint(shift @rest, $kind eq 'listen'); push @sets, undef }
}
if ($mode eq 'start') {
  syscall($dup2, fileno($items[$_]), 10 + $_) >= 0 or fail("dup2: $!") for 0 .. $#items;
  syscall($unshare, $newnet) == 0 or fail("unshare: $!");
  exec { $rest[0] } @rest or fail("exec: $!");
}
my $monitor = endpoint('${FILES.descriptors}', 0);
my $buffer = '';
sub line {
  while ($buffer !~ /\n/) { sysread($monitor, $buffer, 65536, length $buffer) or fail('the control socket was closed') }
  $buffer =~ s/^(.*?)\n//s;
  return $1;
}
sub ask {
  my ($text, $item) = @_;
  my $vector = pack('P Q', $text, length $text);
  my $control = defined $item ? pack('Q l l l x4', 20, 1, 1, fileno($item)) : '';
  my $message = pack('Q L x4 P Q P Q l x4', 0, 0, $vector, 1, $control, length $control, 0);
  syscall($sendmsg, fileno($monitor), $message, 0) == length $text or fail("sendmsg: $!");
  for (;;) {
    my $answer = line();
    next if $answer =~ /"event":/;
    if ($answer =~ /"error":/) { print STDERR "$answer\n"; exit 67 }
    return $answer;
  }
}
line();
ask(qq({"execute":"qmp_capabilities"}\n));
for my $i (0 .. $#items) {
  my $command = defined $sets[$i] ? qq("add-fd","arguments":{"fdset-id":$sets[$i]}) : qq("getfd","arguments":{"fdname":"item$i"});
  ask(qq({"execute":$command}\n), $items[$i]);
}
ask("$_\n") for @rest;
`;

export type Item =
  | { readonly kind: 'tap'; readonly netns: string | null; readonly tap: string }
  /** A file for a descriptor set: QEMU opens it as `/dev/fdset/<set>`. */
  | { readonly kind: 'read' | 'write'; readonly set: number; readonly path: string }
  | { readonly kind: 'connect' | 'listen'; readonly path: string };

const words = (items: readonly Item[]): string[] =>
  items.flatMap((item) => {
    if (item.kind === 'tap') return [item.kind, item.netns ?? '', item.tap];
    if (item.kind === 'read' || item.kind === 'write') return [item.kind, String(item.set), item.path];
    return [item.kind, item.path];
  });

export const tapsOf = (nics: readonly Nic[]): Item[] => nics.map(({ netns, tap }) => ({ kind: 'tap', netns, tap }));

/** The command that starts a command with the items open as descriptors 10, 11, … */
export const starting = (items: readonly Item[], command: readonly string[]): string[] => [
  'perl',
  '-e',
  HELPER,
  'start',
  ...words(items),
  '--',
  ...command,
];

/** Milliseconds; an image on a network may take some of them to be opened. */
const PATIENCE = 30_000;

export interface QmpCommand {
  readonly execute: string;
  readonly arguments?: Readonly<Record<string, unknown>>;
}

/**
 * Gives the guest of a folder descriptors, then the commands that use them: names are known on that connection only.
 * @throws HypervisorError `fault` with the helper's or QEMU's own words
 */
export const giveDescriptors = async (
  folder: string,
  items: readonly Item[],
  commands: readonly QmpCommand[] = [],
): Promise<void> => {
  const lines = commands.map((command) => JSON.stringify(command));
  await run('perl', ['-e', HELPER, 'send', ...words(items), '--', ...lines], { cwd: folder, timeout: PATIENCE }).catch(
    (error: HypervisorError) => {
      if (error.code !== 'fault') throw error;
      throw new HypervisorError('fault', 'the guest could not be given what it asked for', error.native, {
        cause: error,
      });
    },
  );
};
