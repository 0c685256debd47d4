/**
 * All that is ever run in dom0, as constants for a POSIX shell. Each gets the state folder as its first argument; what is
 * changes one guest gets that guest's id as the second and holds the guest's lock, so that a change goes on to its end, and
 * is waited for, also when the agent that asked for it is gone. It gets the seconds that it may wait for the lock as the
 * third: what has it only when nobody listens any more does nothing, as it could undo what came after. So its output begins
 * with an empty line.
 */

/** What a script ends with when dom0 cannot guard a port. */
export const UNGUARDED = 78;
/** And when what a guest that has gone has left cannot be cleared away yet. */
export const LEAVING = 79;

const PATHS = 'PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C; export PATH LC_ALL';
const START = `${PATHS}\nset -eu\numask 077\nlogs=\${XEN_LOG_DIR:-/var/log/xen}\nroot=$1; shift
trap 'exit 143' TERM`;

/**
 * A name and an address alone identify nothing: a domain is the guest's when it has the guest's name and UUID, both the
 * server's id, or what the file "adopted" says of a domain that somebody else has made. That there is none is not believed
 * of a toolstack that fails, nor while the hypervisor has one with the UUID that is not dying.
 */
const FUNCTIONS = `
xl() { command xl "$@" 9>&-; }
known_by() {
  uuid=$id name=$id
  [ ! -e "$root/guests/$id/adopted" ] || read -r uuid name <"$root/guests/$id/adopted"
}
named() { domid=$(xl domid "$1" 2>/dev/null) && [ "$(xenstore-read "/local/domain/$domid/vm" 2>/dev/null)" = "/vm/$uuid" ]; }
ours() {
  for try in 1 2 3; do
    if named "$name"; then return; fi
    # What xl calls it while it hands it over.
    if [ -e "$root/guests/$id/sending" ] && named "$name--migratedaway"; then return; fi
    listed=$(xl list -v) || { echo 'xl does not say which domains there are' >&2; exit 1; }
    printf '%s\\n' "$listed" | grep -q -- "[rbpscw?-]\\{5\\}- .* $uuid" || return 1
  done
  echo 'xl does not say which domain is the guest' >&2
  exit 1
}
keep() { printf '%s\\n' "$2" >"$g/$1.new" && sync "$g/$1.new" && mv "$g/$1.new" "$g/$1" && sync "$g"; }
`;

/** A guest that is here to come or has gone is not changed, also by a call that had to wait until it had. */
const SETTLED = `
for mark in incoming arrived leaving moved; do
  [ ! -e "$g/$mark" ] || { echo 'the guest is on its way to or from another host' >&2; exit 1; }
done
`;

/** The folder of its disks is \`disks\` in its own, where that leads to storage that other hosts have too. */
const guestScript = (body: string, before = SETTLED): string => `${START}
id=$1; wait=$2; shift 2
g=$root/guests/$id
${FUNCTIONS}
mkdir -p "$root/locks" "$root/guests" "$root/images"
while
  exec 9>>"$root/locks/$id"
  flock -w "$wait" 9 || exit 75
  [ ! "$root/locks/$id" -ef /dev/fd/9 ]
do :; done
echo
known_by
d=$g; [ ! -L "$g/disks" ] || d=$g/disks
trap : TERM
${before}${body}`;

/** Also of a guest on its way. */
const movingScript = (body: string): string => guestScript(body, '');

/** What only looks at one guest waits for no change of it. */
const lookScript = (body: string): string => `${START}
id=$1; shift
${FUNCTIONS}
known_by
${body}`;

/** Frames of bridges pass the stateful tables. */
const BRIDGED = `
bridging=\${XEN_BRIDGING:-/proc/sys/net/bridge}
bridged() {
  [ -e "$bridging" ] || modprobe br_netfilter || return
  echo 1 >"$bridging/bridge-nf-call-iptables" && echo 1 >"$bridging/bridge-nf-call-ip6tables"
}
`;

/**
 * What may pass a guest's ports. "guard.nft" is there as long as its tables may be. They name the devices that xl is told
 * to make, so they stand before there are any; a script of dom0 that gave them other names would leave them unguarded.
 * Scripts with a filter get it as their input, $1 its bytes, $2 address/device of each interface that it guards.
 */
const GUARD = `${BRIDGED}
interfaces=\${XEN_INTERFACES:-/sys/class/net}
backends=\${XEN_BACKENDS:-/sys/bus/xen-backend/devices}
take_filter() {
  filter=$(cat)
  [ \${#filter} = "$1" ] || { echo 'the filter did not all come' >&2; exit 1; }
}
unguard() {
  [ -e "$g/guard.nft" ] || return 0
  table=omnivisor_$(printf %s "$id" | tr - _)
  for family in bridge inet; do printf 'add table %s %s\\ndelete table %s %s\\n' $family "$table" $family "$table"; done | nft -f -
  rm -f "$g/guard.nft"
}
guard() {
  if [ -z "$filter" ]; then unguard; return; fi
  had=; [ ! -e "$g/guard.nft" ] || had=1
  keep guard.nft "$filter" || return 1
  if bridged && nft -f "$g/guard.nft"; then return; fi
  [ -n "$had" ] || rm -f "$g/guard.nft"
  return ${UNGUARDED}
}
carried() {
  for nic in $1; do
    [ -e "$interfaces/\${nic#*/}/brport" ] || { echo "dom0 has not given \${nic#*/} its name" >&2; return ${UNGUARDED}; }
  done
}
plugged() {
  listed=$(xl network-list "$domid")
  for nic in $1; do case $listed in *"\${nic%/*}"*) echo "$nic";; esac; done
}
# By what Xen says, whatever the device is called.
set_link() {
  listed=$(xl network-list "$domid")
  handle=$(printf '%s\\n' "$listed" | sed -n "s/^[0-9]* *[0-9]* *\${1%/*} *\\([0-9]*\\) .*/\\1/p")
  [ -n "$handle" ] || return 0
  for device in "$backends/vif-$domid-$handle"/net/*; do ip link set dev "\${device##*/}" "$2"; done
}
starts_again() { [ -e "$g/monitor" ] && ! flock -n "$g/monitor" true; }
`;

/** Leaves nothing of its domain, and waits for the process that watches it. */
const STOP = `${GUARD}
end() {
  n=0
  while ours; do
    xl destroy "$domid" >/dev/null 2>&1 || true
    n=$((n + 1)); [ $n -lt 60 ] || { echo 'the domain does not go' >&2; exit 1; }
  done
}
stop() {
  end
  [ ! -e "$g/monitor" ] || flock -w 60 "$g/monitor" true
  unguard
}
`;

/**
 * Starts a domain. The process of xl that watches it holds the lock of "monitor": so it can be told that a guest which
 * has no domain for a moment is about to start again.
 */
const CREATE = `
create() (
  exec 8>>"$g/monitor"
  flock -w 60 8
  xl "$@" 2>"$g/xl.error" >&2 || { status=$?; cat "$g/xl.error" >&2; exit $((status > 128 ? status : 1)); }
)
begin() {
  nics=$1 how=$2; shift 2
  if [ -z "$nics" ]; then create "$how" "$@"; return; fi
  create "$how" -p "$@" && carried "$nics" && xl unpause "$(xl domid "$name")"
}
`;

/**
 * Definitions, one a line after its id, empty when it cannot be read; marks of those on their way, each with the id; ids of
 * those with a memory; ids of those without a domain whose watcher is there; a line `domains`, and the host's domains.
 */
export const LIST = `${START}
for g in "$root"/guests/*; do
  [ -e "$g" ] || continue
  if { IFS= read -r line <"$g/guest.json"; } 2>/dev/null; then printf 'guest %s %s\\n' "\${g##*/}" "$line"
  elif [ -e "$g" ]; then printf 'guest %s \\n' "\${g##*/}"; fi
done
domains=$(timeout 60 xl list -v)
for g in "$root"/guests/*; do
  id=\${g##*/}
  for mark in incoming arrived accepting sending leaving moved; do [ ! -e "$g/$mark" ] || echo "$mark $id"; done
  [ ! -e "$g/memory.save" ] || echo "suspended $id"
  case $domains in *"$id"*) continue;; esac
  [ ! -e "$g/monitor" ] || flock -n "$g/monitor" true || echo "restarting $id"
done
echo domains
printf '%s\\n' "$domains"`;

export const INFO = `${START}\ntimeout 60 xl info`;

/**
 * Also brings back what filters guests, when somebody has swept the tables away or has set the kernel to pass frames by
 * them, as services of a host do when they are started again. A host on which that fails is not well. $1: seconds for xl.
 */
export const CHECK = `${START}${BRIDGED}
timeout "$1" xl list 0 >/dev/null
tables=
for file in "$root"/guests/*/guard.nft; do
  [ -e "$file" ] || continue
  id=\${file%/*} id=\${id##*/}
  [ -n "$tables" ] || { bridged; tables=$(nft list tables); }
  for family in bridge inet; do
    case $tables in *"$family omnivisor_$(printf %s "$id" | tr - _)"*) continue;; esac
    flock -n -E 75 "$root/locks/$id" sh -c '[ ! -e "$1" ] || nft -f "$1"' - "$file" || [ $? = 75 ]
  done
done`;

/** Says \`guards\` when dom0 can filter what passes ports: the input is a filter for nft, tried where nothing else is. */
export const CAN_GUARD = `${START}
[ -e "\${XEN_BRIDGING:-/proc/sys/net/bridge}" ] || modprobe -qn br_netfilter || exit 0
unshare -n nft -f - 2>/dev/null && echo guards || true`;

/** Facts of the host beside Xen's: flags and name of its CPU, its disk, bridges, and whether consoles are logged. $1: where the disks of guests are, when it is elsewhere. */
export const FACTS = `${START}
mkdir -p "$root"
sed -n 's/^flags[[:space:]]*: /flags /p;s/^model name[[:space:]]*: /model /p' /proc/cpuinfo | sort -u
df -Pk "\${1:-$root}" | sed -n '2s/^[^ ]* *\\([0-9]*\\) *[0-9]* *\\([0-9]*\\).*/disk \\1 \\2/p'
for b in "\${XEN_INTERFACES:-/sys/class/net}"/*/bridge; do [ ! -e "$b" ] || { b=\${b%/bridge}; echo "bridge \${b##*/}"; }; done
for p in /proc/[0-9]*; do
  { read -r name <"$p/comm"; } 2>/dev/null && [ "$name" = xenconsoled ] || continue
  case $(tr '\\0' ' ' <"$p/cmdline") in *--log=guest*|*--log=all*) echo 'console log';; esac
done`;

/**
 * Makes the folder of a new guest: $1 its definition, $2 the folder of its disks, where other hosts have that too. Says
 * \`taken\` when something else stands in its place.
 */
export const BEGIN = guestScript(`
if [ -e "$g" ] || xl domid "$id" >/dev/null 2>&1; then echo taken; exit; fi
if [ -n "$2" ]; then
  [ ! -e "$root/storage" ] || [ "$(cat "$root/storage")" = "$(cat "\${2%/*}/.omnivisor-storage" 2>/dev/null)" ] ||
    { echo 'the shared folder is not the storage that it was' >&2; exit 1; }
  # Nothing leads there before it is ours. An empty one was left by what was cut off here.
  rmdir "$2" 2>/dev/null || true
  mkdir "$2" || { [ ! -e "$2" ] || { echo taken; exit; }; exit 1; }
  trap 'rmdir "$2"' EXIT
fi
new=$root/guests/.new-$id
rm -rf "$new"; mkdir "$new"
printf '%s\\n' "$1" >"$new/guest.json"
[ -z "$2" ] || ln -s "$2" "$new/disks"
mv "$new" "$g"
trap - EXIT`);

/** Lines \`taken\` with the UUID of each domain that is a guest's of any cloud; a line \`domains\`, and the settings of all. */
export const CANDIDATES = `${START}
mkdir -p "$root/guests"
for g in "$root"/guests/*; do
  [ -e "$g" ] || continue
  echo "taken \${g##*/}"
  [ ! -e "$g/adopted" ] || { read -r uuid _ <"$g/adopted"; echo "taken $uuid"; }
done
domains=$(timeout 60 xl list -v)
configs=$(timeout 60 xl list -l)
printf 'domains\\n%s\\nsettings\\n%s\\n' "$domains" "$configs"`;

/** Bytes of each disk, one a line; 0 of one that cannot be read. */
export const SIZES = `${START}
for disk; do
  if [ -b "$disk" ]; then blockdev --getsize64 "$disk"; else stat -L -c %s "$disk"; fi 2>/dev/null || echo 0
done`;

/**
 * Makes the folder of a guest that runs already: $1 its definition, $2 UUID and $3 name of its domain, then names in the
 * folder and the files of the host that they stand for. Says \`taken\` when something stands in its place, \`gone\` when
 * there is no such domain, or another guest has it.
 */
export const ADOPT = guestScript(`
exec 8>>"$root/locks/adopting"
flock -w "$wait" 8 || exit 75
if [ -e "$g" ]; then echo taken; exit; fi
domid=$(xl domid "$3" 2>/dev/null) && [ "$(xenstore-read "/local/domain/$domid/vm" 2>/dev/null)" = "/vm/$2" ] || { echo gone; exit; }
for other in "$root"/guests/*/adopted; do
  [ -e "$other" ] || continue
  read -r uuid _ <"$other"
  [ "$uuid" != "$2" ] || { echo gone; exit; }
done
new=$root/guests/.new-$id
rm -rf "$new"; mkdir "$new"
printf '%s\\n' "$1" >"$new/guest.json"
printf '%s %s\\n' "$2" "$3" >"$new/adopted"
shift 3
while [ $# -gt 0 ]; do ln -s "$2" "$new/$1"; shift 2; done
mv "$new" "$g"`);

/** Forgets a guest that runs on: $1 its interfaces that were cut off, which are held by their filter until all is as it was. */
export const RELEASE = guestScript(`${GUARD}
ours || exit 1
[ -e "$g/adopted" ]
for nic in $1; do set_link "$nic" up; done
unguard
mv "$g" "$root/guests/.new-$id"
rm -rf "$root/guests/.new-$id" "$root/locks/$id"`);

/**
 * Takes the bytes of an image from its input: $1 SHA-256, $2 size, $3 a name of its own, $4 what unpacks them. Those
 * that nobody has used for a day go.
 */
export const TAKE_IMAGE = `${START}
mkdir -p "$root/images"
find "$root/images" -type f -mmin +1440 -exec rm -f {} +
new=$root/images/$3
trap 'rm -f "$new"' EXIT
$4 | dd of="$new" bs=1M iflag=fullblock conv=sparse status=none
truncate -s "$2" "$new"
if [ "$(sha256sum <"$new" | cut -d' ' -f1)" != "$1" ]; then echo 'the bytes are not those of the image' >&2; exit 1; fi
mv "$new" "$root/images/$1"`;

/** The bytes of a disk that is in a guest's folder by now are no image: $1 SHA-256. */
export const FORGET_IMAGE = `${START}
rm -f "$root/images/$1"`;

/** A disk from an image: $1 the new file, $2 SHA-256 of the image, $3 bytes; 0: as the image. \`missing\` when it is not there. */
export const DISK_FROM = guestScript(`
[ -e "$root/images/$2" ] || { echo missing; exit; }
touch -c "$root/images/$2"
if ! cp --reflink=auto --sparse=always "$root/images/$2" "$d/$1.new"; then
  rm -f "$d/$1.new"
  [ ! -e "$root/images/$2" ] || exit 1
  echo missing; exit
fi
size=$(stat -c %s "$d/$1.new")
if [ "$3" -gt 0 ] && [ "$size" -gt "$3" ]; then
  rm -f "$d/$1.new"; echo 'the image is larger than the disk' >&2; exit 1
fi
[ "$3" -eq 0 ] || truncate -s "$3" "$d/$1.new"
mv "$d/$1.new" "$d/$1"`);

/** A copy of a disk as another file: $1 from, $2 to, $3 bytes; 0: as many. */
export const COPY_DISK = guestScript(`
cp --reflink=auto --sparse=always "$d/$1" "$d/$2.new"
[ "$3" -eq 0 ] || truncate -s "$3" "$d/$2.new"
mv "$d/$2.new" "$d/$2"`);

/** $1 file, $2 bytes, $3 \`swap\` or \`ephemeral\`. */
export const FORMAT_DISK = guestScript(`
truncate -s "$2" "$d/$1.new"
if [ "$3" = swap ]; then mkswap -q "$d/$1.new" >/dev/null; else mke2fs -q -F -t ext4 -L ephemeral0 "$d/$1.new"; fi
mv "$d/$1.new" "$d/$1"`);

/** A file from its input: $1 name, $2 size. */
export const WRITE_FILE = guestScript(`
cat >"$d/$1.new"
[ "$(stat -c %s "$d/$1.new")" = "$2" ] || { rm -f "$d/$1.new"; echo 'the bytes did not all come' >&2; exit 1; }
mv "$d/$1.new" "$d/$1"`);

/** Bytes of a disk: $1 its file. */
export const SIZE_OF = guestScript(`
if [ -b "$d/$1" ]; then blockdev --getsize64 "$d/$1"; else stat -L -c %s "$d/$1"; fi`);

/** Keeps a definition: $1; the files named after it stay, other disks of the folder go. */
export const KEEP = guestScript(`
keep guest.json "$1"; shift
for file in "$d"/*.raw "$d"/*.iso "$d"/*.kernel "$d"/*.ramdisk "$d"/*.new; do
  [ -e "$file" ] || continue
  for needed; do [ "$file" != "$d/$needed" ] || continue 2; done
  rm -f "$file"
done`);

/** Switches it on: $3 its domain for xl, $4 its definition from then on, or empty. One that crashed, or ended, makes way. */
export const START_GUEST = guestScript(`${STOP}${CREATE}
take_filter "$1"
stop
rm -f "$g/memory.save" "$g/memory.resuming" "$g/sending"
keep xl.cfg "$3"
guard
begin "$2" create "$g/xl.cfg" || { status=$?; stop; exit $status; }
[ -z "$4" ] || keep guest.json "$4"`);

/** Cuts its power, and gives up a memory that was saved. */
export const STOP_GUEST = guestScript(`${STOP}
stop
rm -f "$g/memory.save" "$g/memory.resuming" "$g/sending"`);

/**
 * Asks the guest to shut down; one that has no ears for it yet says so in its own time. One without drivers of Xen has its
 * power button pressed.
 */
export const ASK_TO_SHUT_DOWN = guestScript(`ours && xl shutdown -F "$domid" >/dev/null 2>&1 || true`);

/** $1 \`pause\` or \`unpause\`. */
export const SET_RUNNING = guestScript(`ours; xl "$1" "$domid"`);

/** The file is there before the domain is gone, so that at no moment it looks as if it were off. */
export const SUSPEND = guestScript(`
ours
if ! xl save "$domid" "$g/memory.save" >/dev/null 2>"$g/xl.error"; then
  cat "$g/xl.error" >&2
  if ours; then rm -f "$g/memory.save"; xl unpause "$domid" >/dev/null 2>&1 || true; fi
  exit 1
fi
flock -w 60 "$g/monitor" true`);

/** $3 its domain for xl. A memory is used once: what ran on from it must not be started from it again. */
export const RESUME = guestScript(`${STOP}${CREATE}
[ -e "$g/memory.save" ]
take_filter "$1"
keep xl.cfg "$3"
guard
mv "$g/memory.save" "$g/memory.resuming"
begin "$2" restore "$g/xl.cfg" "$g/memory.resuming" || { status=$?; stop; mv "$g/memory.resuming" "$g/memory.save"; exit $status; }
rm -f "$g/memory.resuming"`);

/** Removes domain and folder, and what Xen has written of it; and its disks, unless another host has them too. */
export const REMOVE = movingScript(`${STOP}
stop
kept=
for mark in incoming arrived leaving moved; do [ ! -e "$g/$mark" ] || kept=1; done
[ -n "$kept" ] || [ ! -L "$g/disks" ] || rm -rf "$(readlink "$g/disks")"
rm -rf "$root/guests/.new-$id"
[ ! -e "$g" ] || mv "$g" "$root/guests/.new-$id"
rm -rf "$root/guests/.new-$id"
rm -f "$logs/console/guest-$name.log"* "$logs/xl-$name.log"*
rm -f "$root/locks/$id"`);

/** Runs \`xl\` about the guest's domain: $1 the command, the rest its other arguments. */
export const DOMAIN_COMMAND = guestScript(`ours; command=$1; shift; xl "$command" "$domid" "$@"`);

/** What may pass its ports from now on; then one that was cut off is let go: $3. A guest that is off gets it with its start. */
export const GUARD_PORTS = guestScript(`${GUARD}
take_filter "$1"
if ours; then
  nics=$(plugged "$2")
  carried "$nics"
  guard
  [ -z "\${3-}" ] || set_link "$3" up
elif starts_again; then guard
else unguard; fi`);

/**
 * Lets nothing pass an interface: $2. The filter is for when the guest resets itself, which brings the link up again; a dom0
 * that has none has the link alone. Neither keeps the other back.
 */
export const CUT_OFF = guestScript(`${GUARD}
take_filter "$1"
if ours; then
  status=0
  guard || status=$?
  set_link "$2" down
  [ $status = 0 ] || [ $status = ${UNGUARDED} ]
elif starts_again; then guard
else unguard; fi`);

/** Plugs an interface in, with the filter that it comes under: $3 its address/device, the rest as xl takes it. */
export const ATTACH_NIC = guestScript(`${GUARD}
take_filter "$1"
ours
guard
nics=$2 nic=$3; shift 3
xl network-attach "$domid" "$@"
nics=$(plugged "$nics")
carried "$nics" && carried "$nic" || { status=$?; xl network-detach "$domid" "\${nic%/*}" || set_link "$nic" down; exit $status; }`);

/** Whether a path is a disk: its kind and bytes. */
export const DISK_AT = `${START}
if [ -b "$1" ]; then echo "block $(blockdev --getsize64 "$1")"
elif [ -f "$1" ]; then echo "file $(stat -c %s "$1")"; fi`;

/** Makes a file, and what the guest sees of it, longer: $1 path, $2 bytes. */
export const GROW = `${START}
[ ! -f "$1" ] || truncate -s "$2" "$1"
for device in $(losetup -n -O NAME -j "$1" 2>/dev/null); do losetup -c "$device"; done`;

/**
 * Writes the size and then the bytes of a disk at one moment: $1 file, $2 name of a copy, which is gone before it is
 * read, $3 what packs them. The guest stands still while it is made, which is short where the file system shares blocks.
 */
export const EXPORT = guestScript(`
copy=$d/$2 copying= paused=
finish() {
  [ -z "$copying" ] || { kill "$copying"; wait "$copying"; } 2>/dev/null || true
  rm -f "$copy"
  [ -z "$paused" ] || xl unpause "$domid"
}
trap finish EXIT
trap 'exit 143' TERM
if ours; then
  case $(xl list "$domid" | sed -n '2s/.* \\([rbpscd-]\\{6\\}\\) .*/\\1/p') in
    ??p*) ;;
    *) paused=1; xl pause "$domid";;
  esac
fi
cp --reflink=auto --sparse=always "$d/$1" "$copy" &
copying=$!
wait "$copying"
copying=
exec 3<"$copy"
finish
trap - EXIT
exec 9>&-
stat -L -c %s /dev/fd/3
exec $3 <&3`);

/** The newest bytes of the guest's console: $1. */
export const CONSOLE_LOG = lookScript(`tail -c "$1" "$logs/console/guest-$name.log" 2>/dev/null || true`);

/** Joins input and output to a guest's console: $1 the type of its port. Ends with either. */
export const CONSOLE = lookScript(`
ours
case $1 in hvm) tty=serial/0/tty;; *) tty=console/tty;; esac
tty=$(xenstore-read "/local/domain/$domid/$tty")
case $tty in /dev/pts/*) ;; *) exit 1;; esac
stty -F "$tty" raw -echo
exec 3<&0
cat "$tty" 2>/dev/null &
reader=$!
{ cat <&3 >"$tty" 2>/dev/null; kill "$reader" 2>/dev/null; } &
writer=$!
wait "$reader" 2>/dev/null || true
kill "$writer" 2>/dev/null || true`);

/** A line for each domain that comes, goes or ends. */
export const WATCH = `${PATHS}; exec xenstore-watch @introduceDomain @releaseDomain`;

/** Counters: $1 \`name number\` of each virtual disk, one a line; the interfaces and CPUs of its domain. */
export const STATISTICS = lookScript(`
ours
echo vcpus; xl vcpu-list "$domid"
echo interfaces; xl network-list "$domid"
echo counters
for number in $1; do
  s=/sys/bus/xen-backend/devices/vbd-$domid-$number/statistics
  [ ! -d "$s" ] || { read -r a <"$s/rd_req"; read -r b <"$s/wr_req"; read -r c <"$s/rd_sect"; read -r d <"$s/wr_sect"
    echo "disk $number $a $b $c $d"; }
done
for n in /sys/bus/xen-backend/devices/vif-"$domid"-*/net/*; do
  [ -d "$n" ] || continue
  handle=\${n%/net/*}
  set --
  for counter in rx_bytes rx_packets rx_errors rx_dropped tx_bytes tx_packets tx_errors tx_dropped; do
    read -r value <"$n/statistics/$counter"; set -- "$@" "$value"
  done
  echo "nic \${handle##*-} $*"
done`);

/**
 * Runs a throw-away domain: $1 its name, $2 its configuration but for the kernel, which is the input, $3 what its
 * configuration calls that, $4 the seconds that it may take. What earlier probes left goes. Says how the domain has ended.
 */
export const PROBE = `${START}
mkdir -p "$root"
for old in $(xl list | sed -n 's/^\\(omnivisor-probe-[0-9a-f-]*\\) .*/\\1/p'); do xl destroy "$old" || true; done
trap 'xl destroy "$1" >/dev/null 2>&1 || true
rm -f "$root/$1.kernel" "$root/$1.cfg" $logs/console/guest-"$1".log $logs/xl-"$1".log $logs/qemu-dm-"$1".log' EXIT
cat >"$root/$1.kernel"
printf '%s%s = "%s"\\n' "$2" "$3" "$root/$1.kernel" >"$root/$1.cfg"
said=$(timeout "$4" xl create -F "$root/$1.cfg" 2>&1) || { status=$?; printf '%s\\n' "$said" >&2; exit $status; }
printf '%s\\n' "$said"`;

/**
 * A name that all hosts have for storage that they have: $1 its folder, $2 the name, when it is the first. This host keeps it in
 * "storage"; nothing is said when the folder has another by now, or none, as the bare one has below what is not mounted.
 */
export const STORAGE = `${START}
file=$1/.omnivisor-storage known=$root/storage
mkdir -p "$root"
if [ -e "$known" ]; then
  [ ! -e "$file" ] || [ "$(cat "$file")" != "$(cat "$known")" ] || cat "$known"
  exit
fi
if [ ! -e "$file" ]; then
  echo "$2" >"$file.$2"
  ln "$file.$2" "$file" 2>/dev/null || true
  rm "$file.$2"
fi
cat "$file" >"$known.$2"
mv "$known.$2" "$known"
cat "$known"`;

/*
 * How a guest comes to another host. Marks in its folder say how far it is, each whole or not at all:
 *
 * there  incoming  it is expected, or on its way
 *        arrived   its memory is all here, and it stands still
 *        accepting it is to run, or runs
 * here   sending   it is on its way, or stands still to be
 *        leaving   it is there, and will not run here again; what is left of it is being cleared away
 *        moved     nothing here touches its disks any more
 *
 * What one host has told the other it knows also after a loss of power: marks are written out before.
 */

/** $1 becomes $2. */
const PASS = `
pass() { mv "$g/$1" "$g/$2"; sync "$g/$2" "$g"; }
`;

/** What is not there yet: $1 and $2 as for GUARD, $3 definition, $4 folder of its disks, $5 its domain for xl, then its files. Says \`taken\` or \`missing\`. */
export const EXPECT = movingScript(`${STOP}
take_filter "$1"
json=$3 disks=$4 config=$5; shift 5
if [ -e "$g/incoming" ]; then stop; mv "$g" "$root/guests/.new-$id"
elif [ -e "$g" ] || xl domid "$id" >/dev/null 2>&1; then echo taken; exit; fi
new=$root/guests/.new-$id
rm -rf "$new"
[ -d "$disks" ] && [ ! -L "$disks" ] || { echo missing; exit; }
for file; do [ -f "$disks/$file" ] && [ ! -L "$disks/$file" ] || { echo missing; exit; }; done
mkdir "$new"
printf '%s\\n' "$json" >"$new/guest.json"
printf '%s\\n' "$config" >"$new/xl.cfg"
: >"$new/incoming"
ln -s "$disks" "$new/disks"
sync "$new/guest.json" "$new/xl.cfg" "$new/incoming" "$new"
mv "$new" "$g"
sync "$root/guests"
guard`);

/**
 * Takes its memory from the input, and says \`arrived\`, or \`failed\` and why. $1 as $2 of GUARD. What comes is not trusted
 * in what the guest is: that is in xl.cfg. Then it waits for the end of the input.
 */
export const RECEIVE = movingScript(`${STOP}${CREATE}${PASS}
[ -e "$g/incoming" ] || { echo 'failed: it is not expected'; exit 1; }
end
exec 6<&0 </dev/null
cat <&6 | {
  exec 6<&-
  if create restore -p "$g/xl.cfg" /dev/stdin 2>/dev/null && carried "$1" 2>"$g/xl.error"; then
    pass incoming arrived
    echo arrived
  else
    echo "failed: $(tail -n 1 "$g/xl.error")"
    end
  fi
}`);

/** Bytes of disks that this host has kept are not those that are there since the other has written. */
const FRESH = `
fresh() {
  for vbd in /sys/bus/xen-backend/devices/vbd-"$domid"-*; do
    [ -e "$vbd/physical_device" ] || continue
    IFS=: read -r major minor <"$vbd/physical_device"
    block=/sys/dev/block/$((0x$major)):$((0x$minor))
    blockdev --flushbufs "/dev/$(basename "$(readlink "$block")")"
    [ ! -e "$block/loop/backing_file" ] || dd if="$(cat "$block/loop/backing_file")" iflag=nocache count=0 status=none
  done
}
`;

/** It is this host's from now on. */
export const ACCEPT = movingScript(`${FRESH}${PASS}
[ ! -e "$g/incoming" ] || { echo 'its memory is not here' >&2; exit 1; }
[ ! -e "$g/arrived" ] || pass arrived accepting
if [ -e "$g/accepting" ]; then
  if ours; then
    case $(xl list "$domid" | sed -n '2s/.* \\([rbpscd-]\\{6\\}\\) .*/\\1/p') in
      ??p*) fresh; xl unpause "$domid";;
    esac
  fi
  rm "$g/accepting"
  sync "$g"
fi`);

/** Says \`here\` when there is more than a guest that is expected. */
export const CANCEL = movingScript(`${STOP}
[ -e "$g" ] || { rm -f "$root/locks/$id"; exit; }
[ -e "$g/incoming" ] || { echo here; exit; }
stop
rm -rf "$root/guests/.new-$id"
mv "$g" "$root/guests/.new-$id"
rm -rf "$root/guests/.new-$id"
rm -f "$logs/console/guest-$name.log"* "$logs/xl-$name.log"* "$root/locks/$id"`);

/** Files and devices that the guest writes to are the arguments of what uses this. */
const LEAVE = `${PASS}
leave() {
  trap '[ $? = 0 ] || exit ${LEAVING}' EXIT
  sync "$g/leaving" "$g"
  stop
  [ $# = 0 ] || sync "$@"
  pass leaving moved
  rm -f "$g/sending"
}
stay() {
  if ours; then
    case $(xl list "$domid" | sed -n '2s/.* \\([rbpscd-]\\{6\\}\\) .*/\\1/p') in
      ???s*) resume;;
      ??p*) xl unpause "$domid";;
    esac
  fi
  rm -f "$g/sending"
}
# xl 4.17 has no other way to let a suspended domain go on.
resume() { xl save -c "$domid" /dev/null >/dev/null 2>"$g/resume.error" || { cat "$g/resume.error" >&2; exit 1; }; }
`;

/**
 * Writes its memory, and ends when the other side has said that it is there, and nothing of it is here. $1 \`live\`: it runs on
 * meanwhile, where Xen can see what it changes; else \`still\`. xl speaks with its like at the other end; here with what
 * writes down first that there is no way back. That the other side has gone is told by the end of the input: what is written
 * there may be waited with for ever.
 */
export const SEND = movingScript(`${STOP}${LEAVE}
how=$1; shift
for mark in incoming arrived moved; do [ ! -e "$g/$mark" ] || { echo 'the guest is not here' >&2; exit 1; }; done
if [ -e "$g/leaving" ]; then leave "$@"; exit; fi
[ ! -e "$g/sending" ] || stay
: >"$g/sending"
ours || { rm "$g/sending"; echo 'the guest does not run' >&2; exit 1; }
exec 6<&0 7>&1 </dev/null >/dev/null
trap '' PIPE
if [ "$how" = live ]; then
  export g
  xl migrate -s '' "$domid" '
    printf "xl migration receiver ready, send binary domain data.\\n"
    exec 5<&0 </dev/null
    cat <&5 >&7 6<&- &
    exec 5<&- 7>&-
    IFS= read -r answer <&6
    [ "$answer" = arrived ] || { kill $! || true; printf "%s\\n" "$answer" >&2; exit 1; }
    : >"$g/leaving" && sync "$g/leaving" "$g" || exit 1
    printf "domain received, ready to unpause\\0my copy unpause results are as follows\\0\\0"' 2>"$g/xl.error" || true
else
  rm -f "$g/carrier" "$g/answer"
  {
    IFS= read -r answer <&6 || true
    printf '%s\\n' "$answer" >"$g/answer"
    [ "$answer" = arrived ] || {
      until [ -s "$g/carrier" ]; do sleep 0.1; done
      kill "$(cat "$g/carrier")" 2>/dev/null || true
    }
  } 7>&- 9>&- &
  listener=$!
  status=$({ { xl save -p "$domid" /dev/fd/3 3>&1 >/dev/null 2>"$g/xl.error" 4>&- || echo $? >&4; } | sh -c 'echo $$ >"$0/carrier"; exec cat >&7' "$g"; } 4>&1 6<&- 9>&-) || status=$?
  [ -z "$status" ] || kill $listener 2>/dev/null || true
  wait $listener || true
  answer=$(cat "$g/answer" 2>/dev/null) || true
  if [ -z "$status" ] && [ "$answer" = arrived ]; then : >"$g/leaving"
  elif [ -n "$answer" ]; then echo "$answer" >>"$g/xl.error"; fi
fi
exec 6<&- 7>&-
if [ -e "$g/leaving" ]; then leave "$@"; exit; fi
stay
cat "$g/xl.error" >&2
exit 1`);

/** Ends what was cut off; says \`moved\` when the guest has another host. */
export const RECOVER = movingScript(`${STOP}${LEAVE}
if [ -e "$g/leaving" ]; then leave "$@"; fi
if [ -e "$g/moved" ]; then sync "$g/moved" "$g"; echo moved; exit; fi
[ ! -e "$g/sending" ] || stay`);
