# What cloud-init does, as far as a busybox can: config drive first, then the metadata service.
metadata=/run/metadata
service=http://169.254.169.254/openstack/latest

# The first string member of that name in a JSON text.
member() {
  sed 's/[{}]/\n/g;s/", *"/"\n"/g;s/, *"/\n"/g' | sed -n "s/^ *\"$1\": *\"\(.*\)\"[^\"]*\$/\1/p" | head -1
}

from_config_drive() {
  drive=$(findfs LABEL=config-2 2>/dev/null) || return 1
  { mount -t iso9660 -o ro $drive /mnt || mount -t vfat -o ro $drive /mnt; } 2>/dev/null || return 1
  cp -r /mnt/openstack/latest $metadata
  umount /mnt
}

# Debian's static busybox crashes at `wget -T`, hence timeout.
fetch() { timeout 5 wget -q -O $metadata/$1 $service/$1 2>/dev/null; }

from_service() {
  mkdir -p $metadata
  for try in 1 2 3 4 5 6; do
    if fetch meta_data.json; then
      fetch user_data || rm -f $metadata/user_data
      return 0
    fi
    sleep 1
  done
  return 1
}

# Sets host name and keys; `first_boot` is set when this instance was never seen by this disk.
apply_metadata() {
  [ -s $metadata/meta_data.json ] || return 0
  name=$(member hostname <$metadata/meta_data.json)
  [ -n "$name" ] && hostname ${name%%.*} && hostname >/etc/hostname
  sed 's/\\n/\n/g;s/"/\n/g' $metadata/meta_data.json |
    grep -E '^(ssh-(rsa|ed25519)|ecdsa-|sk-)' | sort -u >/root/.ssh/authorized_keys
  instance=$(member uuid <$metadata/meta_data.json)
  [ "$instance" = "$(cat /var/lib/instance-id 2>/dev/null)" ] && return 0
  first_boot=yes
  rm -rf /etc/dropbear
  echo $instance >/var/lib/instance-id
}
