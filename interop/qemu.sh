#!/usr/bin/env bash
# QEMU's own initiator against our binary: an image goes over iscsi:// and comes
# back unchanged, reads and writes run in parallel, discarded blocks read as zero.
#
#   qemu.sh       without and with CHAP; exit status 0 when all is as it should be
#
# Needs qemu-img and qemu-io with the iscsi driver: packages qemu-utils and
# qemu-block-extra of one version.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

size=$((96 << 20)) user=lunforge secret=0123456789abcdef

need_driver() {
  need_commands qemu-img qemu-io sha256sum
  local complaint
  complaint=$(qemu-img info iscsi://bad 2>&1) || true
  # Only a driver that is there can complain about the form of the URL.
  [[ $complaint == *'Failed to parse URL'* ]] ||
    die "qemu-img has no iscsi driver: install qemu-utils and qemu-block-extra of one version"
}

checksum() { sha256sum <"$1" | cut -d' ' -f1; }

# Data, a hole, data: so that convert has something to leave out.
make_source() {
  dd if=/dev/urandom of="$work/source.img" bs=1M count=40 status=none
  truncate -s 64M "$work/source.img"
  dd if=/dev/urandom of="$work/source.img" bs=1M seek=64 count=32 conv=notrunc status=none
}

round_trip() {
  local url=$1
  qemu-img convert -n -f raw -O raw -W -m 8 "$work/source.img" "$url"
  qemu-img compare -f raw -F raw "$work/source.img" "$url"
  qemu-img convert -f raw -O raw "$url" "$work/back.img"
  [[ $(checksum "$work/source.img") == $(checksum "$work/back.img") ]] || die "the image came back changed"
  qemu-img info -f raw --output=json "$url" | grep -q "\"virtual-size\": $size" || die "wrong size at $url"
}

parallel_io() {
  local url=$1
  qemu-img bench -f raw -t none -c 4000 -d 32 -s 4096 "$url" | tail -1
  qemu-img bench -f raw -t none -w --flush-interval=64 -c 2000 -d 32 -s 8192 -S 12288 "$url" | tail -1
}

discard_and_zero() {
  local url=$1
  qemu-io -f raw -d unmap "$url" -c 'write -P 0xa5 0 2M' -c 'discard 0 1M' -c 'write -z 1M 512k' \
    -c 'read -P 0 0 1536k' -c 'read -P 0xa5 1536k 512k' -c flush >"$work/qemu-io.out"
  ! grep -Ei 'fail|error' "$work/qemu-io.out" || die "discard or write of zeros went wrong"
}

# try NAME URL-PREFIX EXPORT-ARGUMENT...
try() {
  local name=$1 login=$2 url
  shift 2
  echo "-- $name"
  rm -f "$work/disk.img"
  start_target "$work/target.log" "$work/disk.img" --size "$size" --portal "127.0.0.1:$(free_port)" "$@"
  url=${urls[0]/:\/\//:\/\/$login}
  round_trip "$url"
  parallel_io "$url"
  discard_and_zero "$url"
  stop_target
  cmp -n $((1 << 20)) "$work/disk.img" /dev/zero || die "the backing file does not hold what was written"
}

refuses_wrong_secret() {
  local url
  start_target "$work/target.log" "$work/disk.img" --portal "127.0.0.1:$(free_port)" --chap "$work/secret"
  url=${urls[0]}
  ! qemu-img info -f raw "$url" >"$work/refused" 2>&1 || die "a login without CHAP was let in"
  ! qemu-img info -f raw "${url/:\/\//:\/\/$user%wrong-secret-123@}" >>"$work/refused" 2>&1 ||
    die "a wrong CHAP secret was let in"
  stop_target
  echo "-- logins without the secret are refused"
}

need_binary
need_driver
(umask 077 && printf '%s %s\n' "$user" "$secret" >"$work/secret")
make_source
try "plain" "" --thin
try "CHAP" "$user%$secret@" --thin --chap "$work/secret"
refuses_wrong_secret
echo "qemu: all as expected"
