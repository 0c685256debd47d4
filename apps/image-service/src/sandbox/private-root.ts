/**
 * For `sh -c`, in namespaces of its own: a root in which there are programs and libraries, three devices, the tool's open
 * files, and nothing else. Arguments: a folder that the tool sees too, or nothing; then the tool and its arguments.
 *
 * Mounting needs user 0 of the namespace, which is the user outside that the tool is to run as. It is still 0 when the
 * tool begins, without any capability; in a root that was changed it can make no other namespace to get one in. The root
 * lies over /sys, which is there on every machine. There is no /proc: of it the tool sees its own descriptors alone, not
 * those of others that run as the same user.
 */
export const PRIVATE_ROOT = `
set -e
root=/sys
mount -t tmpfs -o mode=755,size=64k tmpfs $root
mkdir $root/usr $root/etc $root/tmp $root/dev $root/dev/fd
mount --rbind /usr $root/usr
for dir in bin sbin lib lib32 lib64 libx32; do
  if [ -L /$dir ]; then ln -s "$(readlink /$dir)" $root/$dir
  elif [ -d /$dir ]; then mkdir $root/$dir; mount --rbind /$dir $root/$dir; fi
done
for file in dev/null dev/zero dev/urandom etc/ld.so.cache; do
  if [ -e /$file ]; then : > $root/$file; mount --bind /$file $root/$file; fi
done
mount --bind /proc/$$/fd $root/dev/fd
if [ -n "$1" ]; then mkdir -p "$root$1"; mount --bind "$1" "$root$1"; fi
shift
exec chroot $root "$@"
`;
