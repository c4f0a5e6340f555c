#!/usr/bin/env bash
# Build the driver of software iWARP for the guest's kernel: Debian's kernel has none. From Debian's kernel
# sources and headers, downloaded with apt (150 MB), and the compiler of this machine.
#
#   siw.sh        prints where siw.ko is; does nothing when it is current
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
image=$("$here/mkimage.sh")
kernel=$(cat "$image/kver")
series=$(cut -d. -f1-2 <<<"$kernel")
driver=drivers/infiniband/sw/siw

if [[ $(cat "$image/siw.stamp" 2>/dev/null) != "$kernel" ]]; then
  work=$(mktemp -d "${TMPDIR:-/tmp}/lunforge-siw.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  chmod 777 "$work"
  cd "$work"
  apt-get download -q "linux-headers-$kernel" "linux-headers-${kernel%-*}-common" "linux-kbuild-$series" \
    "linux-source-$series" >&2
  for package in linux-headers-* linux-kbuild-*; do dpkg-deb -x "$package" root; done
  dpkg-deb --fsys-tarfile linux-source-*.deb | tar xO "./usr/src/linux-source-$series.tar.xz" |
    tar xJ --wildcards --strip-components=1 "linux-source-$series/$driver/*"
  headers=root/usr/src/linux-headers-$kernel
  # Written for a place that it is not installed to.
  sed -i "s#include /usr#include $work/root/usr#" "$headers/Makefile"
  # The rule of the driver's own makefile depends on how the kernel is configured.
  sources=("$driver"/*.c)
  objects=("${sources[@]##*/}")
  printf 'obj-m := siw.o\nsiw-y := %s\n' "${objects[*]/%.c/.o}" >"$driver/Makefile"
  make -C "$headers" M="$work/$driver" modules >&2
  strip -g -o "$image/siw.ko" "$driver/siw.ko"
  echo "$kernel" >"$image/siw.stamp"
fi
echo "$image/siw.ko"
