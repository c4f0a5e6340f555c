#!/usr/bin/env bash
# N54, the order of writes, flushes and FUA at the device: a guest's targets work on
# devices under dm-log-writes (as blockio, and as a file on ext4), and its initiator
# marks in their logs what was acknowledged as durable. Out here each log is replayed:
# at every flush, every FUA write and every mark what the device had made stable by
# then must hold what was acknowledged by then. The units with nv_cache must fail.
#
#   log.sh [-t SECONDS] [-p POINTS] [-o DIR] [-s SEED]
#
#   -t SECONDS  of load  (default 8)
#   -p POINTS   of a log of ext4 that are looked at, evenly spread, as each takes a
#               replay of the journal; of the other logs it is all  (default 60)
#   -o DIR      keep consoles, records, the logs' verdicts here
#   -s SEED     of the load  (default: random)
#
#   LUNFORGE, BENCH, LUNFORGE_GUEST_DIR   as in cuts.sh
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib.sh"
. "$here/log-units.sh"

load=8 points=60 out=$work/out seed=$RANDOM
while getopts t:p:o:s: o; do
  case $o in
    t) load=$OPTARG ;; p) points=$OPTARG ;; o) out=$OPTARG ;; s) seed=$OPTARG ;; *) usage ;;
  esac
done
BENCH=${BENCH:-$(dirname "$LUNFORGE")/lunforge-bench}
device_bytes=$((12 << 20)) log_bytes=$((1 << 30))

# The host outlives the guest here: no cache has to be lost, and none is waited for.
run_guest() {
  local unit part bytes options=(-a -device -a "virtio-scsi-pci,id=scsi")
  for unit in "${units[@]}"; do
    for part in "$unit" "$unit-log"; do
      bytes=$device_bytes
      [[ $part != *-log ]] || bytes=$log_bytes
      truncate -s "$bytes" "$work/$part"
      options+=(
        -a -drive -a "if=none,id=$part,format=raw,cache=unsafe,file=$work/$part"
        -a -device -a "scsi-hd,bus=scsi.0,drive=$part,serial=$part,dpofua=on"
      )
    done
  done
  "$here/../guest/vm-run.sh" -i 0 -m 512 -t 280 -s "$work/share" -o "$out" "${options[@]}" \
    "$here/log-guest.sh" "SECONDS_OF_LOAD=$load" "SEED=$seed" || die "the guest failed"
}

# replay UNIT: 0 when every promise was kept, 3 when not.
replay() {
  local options=()
  [[ $1 != ext4-* ]] || options=(--ext4 /disk --scratch "$work/scratch" --points "$points")
  "$BENCH" durable replay "$work/$1-log" --size "$device_bytes" --records "$out/records" --unit "$1" "${options[@]}"
}

need_binary
[[ -x $BENCH ]] || die "no binary $BENCH: cargo build --release"
need_commands mmdebstrap mke2fs e2fsck debugfs depmod busybox cpio qemu-system-x86_64
mkdir -p "$out/records" "$work/share" "$work/scratch"
out=$(realpath "$out")
install "$LUNFORGE" "$work/share/lunforge"
install "$BENCH" "$work/share/lunforge-bench"
install "$here/units.sh" "$here/log-units.sh" "$work/share"
echo "power: $load s of load, seed $seed"
run_guest
wrong=0
for unit in "${units[@]}"; do
  expected=0 status=0
  [[ $unit != *-nv ]] || expected=3
  replay "$unit" | tee "$out/$unit.replayed" || status=$?
  ((status == expected)) || { echo "power: $unit ended with $status instead of $expected"; wrong=1; }
done
((wrong == 0)) || exit 1
echo "power: all as expected"
