# Sourced before the script in every guest. NODE and NODES are set; card k of
# node n is 10.77.k.n; /share is the host's folder (read only), /out is shared by
# all nodes and the host.
# shellcheck shell=bash

step() { printf -- '--- [%s] %s\n' "$(cut -d' ' -f1 /proc/uptime)" "$*"; }
fail() { echo "FAIL: $*"; : >/out/failed; exit 1; }
need() { "$@" || fail "$* (status $?)"; }

# until_ok SECONDS COMMAND...: repeat it until it succeeds.
until_ok() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || return 1
    sleep 0.3
  done
}

# signal NAME / await NAME [SECONDS]: one node tells the others.
signal() { : >"/out/signal.$1"; }
await() {
  until_ok "${2:-120}" eval "[ -e /out/signal.$1 ] || [ -e /out/failed ]" || fail "waited for $1"
  [ ! -e /out/failed ] || fail "waited for $1: another node failed"
}

# generic DISK: the same past the block layer. Closing a block device that was open for
# writing makes the kernel look at it anew, and in standby it sees an empty one.
generic() { echo /dev/"$(ls "/sys/block/${1#/dev/}/device/scsi_generic")"; }

# says PATTERN COMMAND...: it succeeds, and its output has the (extended) pattern.
says() {
  local pattern=$1 said
  shift
  said=$("$@" 2>&1) || fail "$* ended with $?: $said"
  printf '$ %s\n%s\n' "$*" "$said" >>/out/tools
  grep -Eiq -e "$pattern" <<<"$said" || fail "$*: no '$pattern' in: $said"
}

# ends STATUS COMMAND...: it ends with this status. Those of sg3_utils, see its
# manual page: 2 not ready, 5 illegal request, 6 unit attention, 7 data protect,
# 9 no such command, 14 miscompare, 24 reservation conflict.
ends() {
  local wanted=$1 status=0 said
  shift
  said=$("$@" 2>&1) || status=$?
  printf '$ %s\n%s\n(status %s)\n' "$*" "$said" "$status" >>/out/tools
  [ "$status" -eq "$wanted" ] || fail "$* ended with $status instead of $wanted: $said"
}

works() { ends 0 "$@"; }

# refused PATTERN COMMAND...: it fails, and says that.
refused() {
  local pattern=$1 said
  shift
  ! said=$("$@" 2>&1) || fail "$* should have been refused"
  printf '$ %s\n%s\n' "$*" "$said" >>/out/tools
  grep -Eiq -e "$pattern" <<<"$said" || fail "$*: no '$pattern' in: $said"
}

# attention PATTERN DEVICE: it reports this unit attention, and then no more.
attention() {
  local said
  said=$(sg_turs --verbose "$2" 2>&1) && fail "$2: no unit attention, expected $1"
  grep -Eiq -e "$1" <<<"$said" || fail "$2: not the unit attention $1: $said"
  calm "$2"
}

# calm DEVICE...: take the unit attentions that wait.
calm() {
  local disk
  for disk; do until_ok 5 sg_turs "$disk" || fail "$disk is not ready: $(sg_turs "$disk" 2>&1)"; done
}
