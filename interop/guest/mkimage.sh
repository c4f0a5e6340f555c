#!/usr/bin/env bash
# Build the guest machine that vm-run.sh boots: Debian's kernel and a small
# Debian root file system, everything downloaded with apt. Run as root.
#
#   mkimage.sh        prints where the image is; does nothing when it is current
#
#   LUNFORGE_GUEST_DIR   where it is kept  (default: $XDG_CACHE_HOME/lunforge-guest,
#                        or /var/tmp/lunforge-guest)
#   EXTRA_PACKAGES       more Debian packages for the image, comma separated
#
# Result: vmlinuz  kver  mods/ (unpacked kernel package)  root.img (ext4)
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
dir=${LUNFORGE_GUEST_DIR:-${XDG_CACHE_HOME:-/var/tmp}/lunforge-guest}
suite=bookworm
packages=(
  # system
  mount iproute2 iptables kmod procps psmisc udev util-linux e2fsprogs xfsprogs dmsetup
  # initiator, paths, load
  open-iscsi multipath-tools lsscsi sg3-utils ddpt fio
  # RDMA
  rdma-core ibverbs-providers librdmacm1
  # what fence_scsi is written in
  python3 python3-pexpect python3-pycurl
)
# Kernel subsystems that a machine without hardware never loads.
pruned=(
  sound net/{bluetooth,mac80211,wireless,nfc,can,batman-adv}
  drivers/{gpu,media,staging,iio,hwmon,usb,hid,input,bluetooth,mtd,platform,comedi}
  drivers/{isdn,video,mmc,leds,mfd,power,firewire} drivers/net/{wireless,ethernet,can}
)

# unpack_deb PACKAGE FOLDER: without what it depends on.
unpack_deb() {
  rm -rf deb && mkdir deb && chmod 777 deb
  (cd deb && apt-get download -q "$1")
  dpkg-deb -x deb/*.deb "$2"
  rm -rf deb
}

# The kernel package is unpacked, not installed: no initramfs-tools, no boot loader.
unpack_kernel() {
  local x
  rm -rf mods
  unpack_deb "$1" mods
  ls mods/lib/modules >kver
  cp mods/boot/vmlinuz-"$(cat kver)" vmlinuz
  for x in "${pruned[@]}"; do rm -rf "mods/lib/modules/$(cat kver)/kernel/$x"; done
  depmod -b mods "$(cat kver)"
}

# Out of fence-agents only the agent for reservations: the package wants the
# client libraries of every cloud.
add_fence_scsi() {
  unpack_deb fence-agents agents
  install agents/usr/sbin/fence_scsi root/usr/sbin/
  install -D -m 644 agents/usr/share/fence/fencing.py root/usr/share/fence/fencing.py
  rm -rf agents
}

# From the package sources that this machine itself uses.
make_root() {
  local sources=() file include kib
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources; do
    [[ -s $file ]] && sources+=("$file")
  done
  include=$(IFS=,; echo "${packages[*]}")${EXTRA_PACKAGES:+,$EXTRA_PACKAGES}
  rm -rf root root.img
  mmdebstrap --variant=essential --mode=root --include="$include" \
    --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/i18n/*' \
    "$suite" root "${sources[@]}" >mmdebstrap.log 2>&1 || { tail -20 mmdebstrap.log >&2; return 1; }
  add_fence_scsi
  mkdir -p root/{out,share,mnt} root/lib/modules
  cp -a mods/lib/modules/. root/lib/modules/
  rm -rf root/var/cache/apt/* root/var/lib/apt/lists/*
  echo 0123456789abcdef0123456789abcdef >root/etc/machine-id
  kib=$(du -sk root | cut -f1)
  mke2fs -q -t ext4 -O ^metadata_csum -m 0 -d root root.img $((kib * 115 / 100 + 100000))k
  rm -rf root
}

main() {
  local kernel stamp
  kernel=$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image-/ { print $2; exit }')
  [[ $kernel ]] || { echo "mkimage: apt knows no kernel; run apt-get update" >&2; exit 1; }
  stamp="$kernel ${EXTRA_PACKAGES:-} $(sha256sum <"$here/mkimage.sh")"
  mkdir -p "$dir" && cd "$dir"
  if [[ $(cat stamp 2>/dev/null) != "$stamp" ]]; then
    rm -f stamp
    unpack_kernel "$kernel" >&2
    make_root >&2
    echo "$stamp" >stamp
    echo "mkimage: $(du -m root.img | cut -f1) MiB, kernel $(cat kver), $SECONDS s" >&2
  fi
  echo "$dir"
}

main "$@"
