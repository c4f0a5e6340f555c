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
