#!/bin/bash
# A bare Debian 12 with nothing but its base, Node and npm, in namespaces of its own: what a newcomer has in front of them.
#
#   bare-machine.sh make FOLDER                    one in FOLDER/root; mirrors, certificates, Node and npm as here
#   bare-machine.sh boot FOLDER                    starts it: own processes, mounts, network (slirp4netns) and /run
#   bare-machine.sh run FOLDER [-u USER] COMMAND…  runs a command in it
#   bare-machine.sh halt FOLDER                    cuts its power: every process ends, /run and /tmp are emptied
#   bare-machine.sh trial FOLDER [COMMIT]          the whole first day of a newcomer, with times, as root and with sudo
#
# Needs root, mmdebstrap, slirp4netns and util-linux. Nothing of this machine is changed. About 2 GiB each in FOLDER.
set -euo pipefail
verb=${1:-help} here=$(dirname "$(realpath "$0")")
[ $# -ge 2 ] || { sed -n '2,10s/^# \?//p' "$0"; exit 2; }
folder=$(realpath -m "$2")
shift 2
root=$folder/root
repository=$(realpath "$here/../..")

# How this machine reaches its mirrors has to be known in there too, and nowhere else.
carry_configuration() {
  local name npmrc
  apt-config dump | grep -E '^Acquire::' >"$root/etc/apt/apt.conf.d/90machine" || true
  mkdir -p "$root/usr/local/share/ca-certificates"
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  npmrc=$(npm config get userconfig)
  if [ -f "$npmrc" ]; then cp "$npmrc" "$root/etc/npmrc-of-the-machine"; fi
  for name in /etc/pip.conf "$HOME/.config/pip/pip.conf" "$HOME/.pip/pip.conf"; do
    if [ -f "$name" ]; then cat "$name" >>"$root/etc/pip.conf"; fi
  done
  {
    printf 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n'
    printf 'NPM_CONFIG_GLOBALCONFIG=/etc/npmrc-of-the-machine\n'
    env | grep -E '^(https?_proxy|HTTPS?_PROXY|no_proxy|NO_PROXY|NODE_EXTRA_CA_CERTS|SSL_CERT_FILE|PIP_[A-Z_]+|NPM_CONFIG_[A-Z_]+)=' || true
  } >"$folder/environment"
}

copy_node() {
  local node npm
  node=$(realpath "$(command -v node)") npm=$(realpath "$(dirname "$(realpath "$(command -v npm)")")/..")
  install -m755 "$node" "$root/usr/bin/node"
  mkdir -p "$root/usr/lib/node_modules"
  cp -r "$npm" "$root/usr/lib/node_modules/npm"
  ln -sf ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/bin/npm"
  ln -sf ../lib/node_modules/npm/bin/npx-cli.js "$root/usr/bin/npx"
}

make() {
  [ ! -e "$root" ] || { echo "$root is there already"; exit 1; }
  mkdir -p "$folder"
  local sources=(/etc/apt/sources.list.d/debian.sources)
  [ -f "${sources[0]}" ] || sources=(/etc/apt/sources.list)
  mmdebstrap --quiet --variant=minbase --include=ca-certificates bookworm "$root" "${sources[@]}"
  copy_node
  carry_configuration
  echo 'bare' >"$root/etc/hostname"
  printf '127.0.0.1 localhost bare\n::1 localhost\n' >"$root/etc/hosts"
}

# Runs as the first process of the new namespaces: mounts, then reaps what loses its parent.
first_process='
  set -e
  root=$1
  mount --make-rprivate /
  mount --bind "$root" "$root"
  mount -t proc proc "$root/proc"
  mount -t sysfs -o ro sysfs "$root/sys"
  mount -t tmpfs -o mode=755 tmpfs "$root/dev"
  for name in null zero full random urandom tty; do touch "$root/dev/$name"; mount --bind "/dev/$name" "$root/dev/$name"; done
  for name in net/tun kvm; do
    [ -e "/dev/$name" ] || continue
    mkdir -p "$(dirname "$root/dev/$name")"; touch "$root/dev/$name"; mount --bind "/dev/$name" "$root/dev/$name"
  done
  mkdir "$root/dev/pts" "$root/dev/shm"
  mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
  ln -s pts/ptmx "$root/dev/ptmx"; ln -s /proc/self/fd "$root/dev/fd"
  mount -t tmpfs tmpfs "$root/dev/shm"
  mount -t tmpfs -o mode=755 tmpfs "$root/run"
  mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
  hostname bare
  ip link set lo up
  mkdir -p "$root/mnt/outside"
  cd "$root"
  pivot_root . mnt/outside
  umount -l /mnt/outside
  touch /run/booted
  while :; do sleep 3600 & wait $! || true; done'

# In a session of its own, with no file of the caller's: a lock that is held meanwhile must not be held for ever.
apart() {
  local fd
  for fd in /proc/"$BASHPID"/fd/*; do
    fd=${fd##*/}
    if [ "$fd" -gt 2 ]; then eval "exec $fd>&-"; fi
  done
  exec setsid "$@"
}

boot() {
  ! running || { echo 'it runs already'; exit 1; }
  apart unshare --mount --pid --net --uts --ipc --fork bash -c "$first_process" bash "$root" </dev/null >"$folder/boot.log" 2>&1 &
  local outer=$! pid=
  for _ in $(seq 100); do
    pid=$(cat "/proc/$outer/task/$outer/children" 2>/dev/null | tr -d ' ') || true
    [ -n "$pid" ] && booted "$pid" && break
    kill -0 $outer 2>/dev/null || { cat "$folder/boot.log"; exit 1; }
    sleep 0.1
  done
  echo "$pid" >"$folder/pid"
  # Its own network with a way out through a process of ours: no address, rule or route of this machine changes.
  apart slirp4netns --configure --mtu=1500 --disable-host-loopback "$pid" tap0 </dev/null >"$folder/network.log" 2>&1 &
  echo $! >"$folder/network.pid"
  for _ in $(seq 100); do
    nsenter -t "$pid" -n ip route | grep -q default && break
    sleep 0.1
  done
  rm -f "$root/etc/resolv.conf"
  echo 'nameserver 10.0.2.3' >"$root/etc/resolv.conf"
}

booted() { [ "$(readlink "/proc/$1/root")" = / ] && [ -e "/proc/$1/root/run/booted" ] && [ ! -e "/proc/$1/root/$root" ]; }
running() { [ -f "$folder/pid" ] && booted "$(cat "$folder/pid")"; }

# A login like that of a person: their own environment and nothing of ours.
run() {
  running || { echo 'it does not run: boot it first' >&2; exit 1; }
  local user=root home=/root
  if [ "$1" = -u ]; then user=$2 home=/home/$2; shift 2; fi
  local environment
  mapfile -t environment <"$folder/environment"
  nsenter -t "$(cat "$folder/pid")" -m -p -n -u -i -- env -i "${environment[@]}" \
    HOME=$home USER="$user" LOGNAME="$user" TERM="${TERM:-dumb}" LANG=C.UTF-8 \
    setpriv --reuid="$user" --regid="$user" --init-groups bash -c 'cd "$HOME" && exec "$@"' bash "$@"
}

halt() {
  running || return 0
  kill "$(cat "$folder/network.pid")" || true
  kill -9 "$(cat "$folder/pid")"
  while [ -e "/proc/$(cat "$folder/pid")" ]; do sleep 0.1; done
  rm -f "$folder/pid"
}

clone() { # USER TARGET COMMIT
  local target=$root$2
  rm -rf "$target"
  mkdir -p "$target"
  git -C "$repository" archive "$3" | tar -x -C "$target"
  run bash -c "chown -R '$1:$1' '$2'"
}

report() { # WHAT BAR COMMAND… : how long a command takes, and whether that is within so many seconds
  local what=$1 bar=$2 began=$EPOCHREALTIME status=0 took
  shift 2
  "$@" >"$folder/last.log" 2>&1 || status=$?
  took=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
  printf '%-46s %7s s  (%s)  %s\n' "$what" "$took" "under $bar s" "$([ $status = 0 ] && awk -v t="$took" -v b="$bar" 'BEGIN { print t < b ? "ok" : "TOO SLOW" }' || echo "FAILED with $status")"
  if [ $status != 0 ]; then tail -n 20 "$folder/last.log"; failed=1; fi
}

first_day() { # USER TARGET
  local as=(run -u "$1") in="cd '$2' &&"
  [ "$1" != root ] || as=(run)
  report "$1: first npm start" 240 "${as[@]}" bash -c "$in npm start -- --detach"
  report "$1: npm run demo" 90 "${as[@]}" bash -c "$in npm run demo"
  report "$1: npm run demo, again" 90 "${as[@]}" bash -c "$in npm run demo"
  report "$1: npm run status" 5 "${as[@]}" bash -c "$in npm run --silent status -- --json"
  report "$1: npm stop" 30 "${as[@]}" bash -c "$in npm stop"
  report "$1: second npm start" 15 "${as[@]}" bash -c "$in npm start -- --detach"
  report "$1: npm stop -- --guests" 60 "${as[@]}" bash -c "$in npm stop -- --guests"
  report "$1: npm test -- --fast" 400 "${as[@]}" bash -c "$in npm test -- --fast"
}

trial() {
  local commit=${1:-HEAD}
  failed=0
  [ -e "$root" ] || make
  running || boot
  clone root /root/omnivisor "$commit"
  first_day root /root/omnivisor
  # A second newcomer, without root but with sudo, in a home that nobody else can look into.
  run bash -c 'id newcomer 2>/dev/null || { apt-get update -q && apt-get install -y -q --no-install-recommends sudo &&
    useradd --create-home --shell /bin/bash newcomer && chmod 700 /home/newcomer &&
    echo "newcomer ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/newcomer; }' >"$folder/last.log" 2>&1
  clone newcomer /home/newcomer/omnivisor "$commit"
  first_day newcomer /home/newcomer/omnivisor
  halt
  return $failed
}

case $verb in
  make | boot | run | halt | trial) $verb "$@" ;;
  *) sed -n '2,10s/^# \?//p' "$0"; exit 2 ;;
esac
