#!/usr/bin/env bash
# The kernel's own initiator against our binaries, in guest machines: every script
# of tests/, with the binaries shared in.
#
#   run.sh [-n NODES] [-j JOBS] [-o DIR] [TEST...]
#
#   -n NODES   target on the first, initiator on the last guest of iscsi.sh  (default 1); a script whose head says
#              "vm-run.sh -n N" has so many at least
#   -j JOBS    so many tests at a time, each told of when it has ended  (default 1); one whose head says that
#              it is to run alone has the machine for itself
#   -o DIR     keep consoles, fio results, the target's stderr here
#
#   LUNFORGE, TWO_PORTS    the binary; the example two_ports  (default: beside the binary)
#   LUNFORGE_GUEST_DIR     where the image is kept
#   ROUNDS                 of srp-cases.sh: more of it
#
# Needs the Debian packages of mkimage.sh and vm-run.sh: mmdebstrap e2fsprogs kmod
# busybox-static cpio qemu-system-x86 genisoimage.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib.sh"

nodes=1 jobs=1 out=$work/out
while getopts n:j:o: o; do
  case $o in
    n) nodes=$OPTARG ;; j) jobs=$OPTARG ;; o) out=$OPTARG ;; *) usage ;;
  esac
done
shift $((OPTIND - 1))
(($#)) || set -- "$here"/tests/*.sh

TWO_PORTS=${TWO_PORTS:-$(dirname "$LUNFORGE")/examples/two_ports}
need_binary
[[ -x $TWO_PORTS ]] || die "no binary $TWO_PORTS: cargo build --release --package lunforge --example two_ports"
need_commands mmdebstrap mke2fs depmod busybox cpio qemu-system-x86_64 genisoimage
mkdir "$work/share"
install "$LUNFORGE" "$work/share/lunforge"
install "$TWO_PORTS" "$here/two-ports.sh" "$here/srp-lib.sh" "$here"/srp-*.py "$(dirname "$LUNFORGE")/scstadmin" "$work/share"
# Of srp-device.sh alone.
infiniband=$(dirname "$TWO_PORTS")/infiniband
[[ ! -x $infiniband ]] || install "$infiniband" "$work/share"
cp -r "$here/seeds" "$work/share"
# Two discs of what is at hand, and another file on each.
for disc in disc-a disc-b; do
  mkdir "$work/share/$disc"
  cp -r "$here/tests" "$work/share/$disc"
  echo "$disc" >"$work/share/$disc/which"
  genisoimage -quiet -R -V "$disc" -o "$work/share/$disc.iso" "$work/share/$disc"
done
# iWARP needs a driver that has to be built.
[[ " $* " != */srp-iwarp.sh\ * ]] || install -m 644 "$("$here/siw.sh")" "$work/share"

# one TEST: becomes the run of a test in guests of its own.
one() {
  local least
  least=$(sed -n 's/^#   vm-run\.sh -n \([0-9]*\) .*/\1/p' "$1")
  exec "$here/vm-run.sh" -n "$((nodes < ${least:-1} ? least : nodes))" -i 2 -m 1024 -t 600 -s "$work/share" \
    -o "$out/$(basename "$1" .sh)" "$1" ${ROUNDS:+"ROUNDS=$ROUNDS"}
}

declare -A running=()
trap 'kill "${!running[@]}" 2>/dev/null || true; wait; rm -rf "$work"' EXIT

# ended: waits for one of those that run, shows its console; the status is the test's.
ended() {
  local pid status=0
  wait -n -p pid "${!running[@]}" || status=$?
  echo "== ${running[$pid]}"
  cat "$work/${running[$pid]}.console"
  unset "running[$pid]"
  return "$status"
}

# The image is made once.
"$here/mkimage.sh" >/dev/null
alone=()
for test in "$@"; do
  if ((jobs == 1)) || grep -q '^# .*\balone\b' "$test"; then
    alone+=("$test")
    continue
  fi
  ((${#running[@]} < jobs)) || ended
  name=$(basename "$test" .sh)
  (one "$test") >"$work/$name.console" 2>&1 &
  running[$!]=$name
done
while ((${#running[@]})); do ended; done
for test in "${alone[@]}"; do (one "$test"); done
