#!/bin/sh
case $1 in bound | renew) ;; *) exit 0 ;; esac
ip addr flush dev $interface
ip addr add $ip/${mask:-24} dev $interface
[ -n "$mtu" ] && ip link set $interface mtu $mtu
if [ -n "$staticroutes" ]; then
  # Option 121 takes the place of the router option (RFC 3442).
  set -- $staticroutes
  while [ -n "$1" ]; do
    ip route replace $1 via $2 dev $interface 2>/dev/null || ip route replace $1 dev $interface
    shift 2
  done
elif [ -n "$router" ]; then
  ip route replace default via ${router%% *} dev $interface
fi
: >/etc/resolv.conf
for server in $dns; do echo nameserver $server >>/etc/resolv.conf; done
echo "ci-info: $interface $ip/$mask router=$router routes=$staticroutes dns=$dns mtu=$mtu" >/dev/console
