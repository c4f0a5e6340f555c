#!/usr/bin/env bash
# N54, the power cut: what a target said was durable is there after its machine lost
# power. A guest serves files on ext4 and xfs and raw disks, each with every way to be
# durable (units.sh); an initiator out here writes to all at once and keeps a record;
# then the guest and the disks' caches are killed, the guest boots again over what the
# disks kept, and every block is compared. Exports whose cache lies (nv_cache) have to
# lose data over the run: else the cuts are no cuts.
#
#   cuts.sh [-n CUTS] [-o DIR] [-s SEED]
#
#   -n CUTS   power cuts  (default 3)
#   -o DIR    keep records, consoles, the targets' messages here
#   -s SEED   of the load, the disks, the moments  (default: random)
#
#   LUNFORGE, BENCH        the binaries  (default: target/release/)
#   LUNFORGE_GUEST_DIR     where the guest's image is kept
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib.sh"
. "$here/units.sh"

cuts=3 out=$work/out seed=$RANDOM
while getopts n:o:s: o; do
  case $o in
    n) cuts=$OPTARG ;; o) out=$OPTARG ;; s) seed=$OPTARG ;; *) usage ;;
  esac
done
BENCH=${BENCH:-$(dirname "$LUNFORGE")/lunforge-bench}
RANDOM=$seed
disks=$work/disks records=$out/records machine=$out/guest
arguments=() targets=()
declare -A port=()
disk_pid='' guest_pid='' writer_pid=''

finish() {
  local pid
  cut
  for pid in $writer_pid $guest_pid; do kill -KILL "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}

# An empty medium per unit; xfs wants 300 MiB.
make_disks() {
  local unit
  mkdir -p "$disks"
  for unit in "${units[@]}"; do
    case $unit in
      ext4-*) truncate -s 32M "$disks/$unit" ;;
      xfs-*) truncate -s 320M "$disks/$unit" ;;
      raw-*) truncate -s "$file_bytes" "$disks/$unit" ;;
    esac
  done
}

# The disks' server, and how the guest has each: some know FUA, some take a flush
# instead, as the kernel then does; the last has no cache, as QEMU then flushes.
describe_machine() {
  local unit name number=0 cache fua forward=
  arguments=(-device "virtio-scsi-pci,id=scsi")
  for unit in "${units[@]}"; do
    cache=on fua=on
    [[ $unit != raw-plain ]] || cache=off
    ((number % 2)) || fua=off
    arguments+=(
      -drive "if=none,id=$unit,format=raw,file.driver=nbd,file.server.type=unix,file.server.path=$work/socket,file.export=$unit"
      -device "scsi-hd,bus=scsi.0,drive=$unit,serial=$unit,write-cache=$cache,dpofua=$fua"
    )
    number=$((number + 1))
  done
  for name in "${exports[@]}"; do
    port[$name]=$(free_port)
    forward+=",hostfwd=tcp:127.0.0.1:${port[$name]}-10.77.0.1:${port_of[$name]}"
  done
  arguments+=(-netdev "user,id=net,net=10.77.0.0/24,host=10.77.0.254,dns=10.77.0.253$forward" -device "virtio-net-pci,netdev=net")
  for unit in "${units[@]}"; do
    name=${export_of[${unit#*-}]}
    targets+=("$unit=${mode_of[${unit#*-}]}@iscsi://127.0.0.1:${port[$name]}/$iqn:$name/$(lun_of "$unit")")
  done
}

# power_on FRESH: until the targets answer.
power_on() {
  local unit i argument exports_of_disks=() options=()
  for unit in "${units[@]}"; do exports_of_disks+=("$unit=$disks/$unit"); done
  rm -f "$work/socket"
  "$BENCH" disk --socket "$work/socket" --seed "$RANDOM" "${exports_of_disks[@]}" 2>>"$out/disks" &
  disk_pid=$!
  disown "$disk_pid" # or its death would be announced
  for ((i = 0; i < 100; i++)); do [[ ! -S $work/socket ]] || break; sleep 0.05; done
  for argument in "${arguments[@]}"; do options+=(-a "$argument"); done
  mkdir -p "$machine"
  rm -f "$machine"/signal.ready
  "$here/../guest/vm-run.sh" -i 0 -m 512 -t 280 -s "$work/share" -o "$machine" "${options[@]}" \
    "$here/cuts-guest.sh" "FRESH=$1" >"$out/guest.log" 2>&1 </dev/null &
  guest_pid=$!
  until [[ -e $machine/signal.ready ]]; do
    kill -0 "$guest_pid" 2>/dev/null || { tail -20 "$out/guest.log"; die "the guest did not come up"; }
    sleep 0.1
  done
}

# cut: machine and caches are gone at once, the machine first, so that it cannot see
# its disks fail.
cut() {
  local qemu
  qemu=$(cat "$machine/pid.1" 2>/dev/null) || true
  # shellcheck disable=SC2086 # an empty one is none
  kill -KILL $qemu $disk_pid 2>/dev/null || true
  rm -f "$machine/pid.1"
  while kill -0 "${disk_pid:-x}" 2>/dev/null; do sleep 0.05; done
  [[ -z $guest_pid ]] || wait "$guest_pid" 2>/dev/null || true
  disk_pid='' guest_pid=''
}

acked() { cat "$records/$1".acks 2>/dev/null | grep -c '^ack ' || true; }

# Every unit that promises anything has new acks: then, at any moment.
await_acks() {
  local unit i
  for unit in "${units[@]}"; do
    [[ $unit != *-volatile ]] || continue
    for ((i = 0; i < 600; i++)); do
      (($(acked "$unit") < ${before[$unit]:-0} + 20)) || break
      kill -0 "$writer_pid" 2>/dev/null || die "the writer left before the cut: $(cat "$out/writer")"
      sleep 0.1
    done
  done
  sleep "$((RANDOM % 5)).$((RANDOM % 1000))"
}

write_until_cut() {
  local unit
  declare -A before=()
  for unit in "${units[@]}"; do before[$unit]=$(acked "$unit"); done
  "$BENCH" durable write --records "$records" --seed "$RANDOM" --depth 8 "${targets[@]}" >"$out/writer" 2>&1 &
  writer_pid=$!
  await_acks
  cut
  wait "$writer_pid" || die "the writer: $(cat "$out/writer")"
  writer_pid=
}

# Broken promises do not end the run, so that its end can say how many there were.
verify() {
  local status=0
  "$BENCH" durable verify --records "$records" "${targets[@]}" >"$out/verified.$1" 2>"$out/broken.$1" || status=$?
  case $status in
    0) ;;
    3) broken=$((broken + 1)); cat "$out/broken.$1" ;;
    *) die "the verification: $(cat "$out/broken.$1")" ;;
  esac
}

# Sums of all cuts: acks as they are now, losses of each cut.
summary() {
  awk 'FNR == 1 { next }
    { name[$1] = $2; if ($3 > acked[$1]) acked[$1] = $3; later[$1] += $5; lost[$1] += $6; torn[$1] += $7; if (!($1 in at)) at[$1] = ++n; order[at[$1]] = $1 }
    END { printf "%-16s %-14s %8s %8s %6s %6s\n", "unit", "mode", "acked", "later", "lost", "torn"
      for (i = 1; i <= n; i++) { u = order[i]; printf "%-16s %-14s %8d %8d %6d %6d\n", u, name[u], acked[u], later[u], lost[u], torn[u] } }' \
    "$out"/verified.*
}

toothless() { awk '$2 == "nv-cache" && $5 == 0 { print $1 }' "$out/summary"; }

need_binary
[[ -x $BENCH ]] || die "no binary $BENCH: cargo build --release"
need_commands mmdebstrap mke2fs depmod busybox cpio qemu-system-x86_64
trap finish EXIT
mkdir -p "$out" "$records" "$work/share"
out=$(realpath "$out") records=$out/records machine=$out/guest
rm -f "$records"/* "$out"/verified.*
install "$LUNFORGE" "$work/share/lunforge"
install "$here/units.sh" "$work/share"
make_disks
describe_machine
broken=0
echo "power: $cuts cuts, seed $seed"
for ((number = 1; number <= cuts; number++)); do
  start=$SECONDS
  power_on $((number == 1))
  up=$SECONDS
  ((number == 1)) || verify $((number - 1))
  writing=$SECONDS
  write_until_cut
  echo "-- cut $number: up in $((up - start)) s, verified in $((writing - up)) s, cut after $((SECONDS - writing)) s"
done
power_on 0
verify "$cuts"
summary | tee "$out/summary"
((broken == 0)) || { echo "power: promises were broken at $broken of $cuts cuts"; exit 1; }
[[ -z $(toothless) ]] || { echo "power: a cache that lies lost nothing ($(toothless | paste -sd' ')): these were no power cuts"; exit 1; }
echo "power: all as expected"
