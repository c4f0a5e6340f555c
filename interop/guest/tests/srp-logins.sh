# Logins and logouts by the hundred beside a session with verified I/O, logins that are cut off or are none, and what the
# target has left of it afterwards: nothing.
#
#   vm-run.sh -m 1024 -s FOLDER tests/srp-logins.sh [LOGINS=NUMBER] [IOPS=NUMBER]     FOLDER: the binary lunforge, srp-lib.sh, srp-logins.py
#
# LOGINS: of them five sixths by a program, a sixtieth by the kernel, the rest is trouble. Thousands of them need another
# limit of vm-run.sh (-t), a second for three. IOPS: of the session beside.
# shellcheck shell=bash

[ "$NODE" = 1 ] || exit 0 # one machine is enough

# shellcheck source=../srp-lib.sh
. /share/srp-lib.sh

LOGINS=${LOGINS:-300} IOPS=${IOPS:-10}

resources() { # of both devices, without what the initiator's drivers have
  local kind
  for kind in pd cq qp mr cm_id; do
    printf '%s %s, ' "$kind" "$(rdma resource show $kind | grep -c "pid $target \|comm lun-\|comm lunforge")"
  done
}

status() { awk -v field="$1:" '$1 == field { print $2 }' "/proc/$target/status"; }

# holds: what the target has, but for memory.
holds() {
  local fds=(/proc/"$target"/fd/*)
  printf 'fds %s, threads %s, ' "${#fds[@]}" "$(status Threads)"
  resources
  printf 'sessions %s, buffers %s\n' "$(metric lunforge_target_sessions)" "$(metric lunforge_shard_buffer_bytes)"
}

begin() {
  step "a session with verified I/O"
  soft_roce
  LOG=warn serve "0 1" /tmp/disk.img --size 64M --limit srp-sessions-per-target=64
  initiator ch_count=1
  log_in 1
  keeps=$host
  disk=$(disk_behind "$keeps")
  udevadm settle
}

load() {
  fio --name=beside --filename="$disk" --size=16M --bs=16k --iodepth=2 --ioengine=libaio --direct=1 --eta=never \
    --rw=randwrite --time_based --runtime=2000 --rate_iops="$IOPS" --verify=crc32c --verify_backlog=32 --verify_fatal=1 \
    --output=/out/fio-beside &
  io=$!
}

# by_kernel COUNT
by_kernel() {
  local n from=$SECONDS host
  for ((n = 0; n < $1; n++)); do
    log_in 0
    log_out "$host"
  done
  echo "kernel: $1 in $((SECONDS - from)) s"
}

round() { # LOGINS
  others login $(($1 * 5 / 6))
  all accepted
  others twice $(($1 / 30))
  all 'terminated another'
  others many $(($1 / 60))
  all accepted
  others noise $(($1 / 30))
  all 'reason [0-9a-f]{8}'
  others strange $(($1 / 30))
  all 'reason [0-9a-f]{8}'
  others killed $(($1 / 30))
  (($1 < 100)) || grep -q 'killed: ' /tmp/ends || fail "none was cut off: $(cat /tmp/ends)"
  others left $(($1 / 60))
  all left
}

# settled: what the target holds when it has held it for five seconds; what a lost connection had goes a moment later.
settled() {
  local before='' now
  until now=$(holds) && [ "$now" = "$before" ]; do
    before=$now
    sleep 5
  done
  echo "$now"
}

# no_more BEFORE NOW: of nothing there is more. Memory regions stay with memory for data, which there may be more of: a
# third of one for each login would be seen.
no_more() {
  awk -v before="$1" -v now="$2" -v logins="$LOGINS" 'BEGIN {
    n = split(before, was, /[ ,]+/)
    split(now, is, /[ ,]+/)
    for (i = 2; i <= n; i += 2) if (is[i] > was[i] + (was[i - 1] == "mr" ? logins / 3 : 0)) exit 1
  }'
}

begin
step "warm-up"
holds
round 60
until_ok 90 eval '[ "$(metric lunforge_target_sessions)" = 1 ]' || fail "sessions are left: $(scrape | grep sessions)"
before=$(settled) memory=$(status VmRSS)
load
step "$LOGINS logins: the target has $before, $memory KiB"
by_kernel $((LOGINS / 60))
round "$LOGINS"
kill -INT $io
wait $io
grep -q 'err= 0' /out/fio-beside || fail "the session beside lost I/O: $(cat /out/fio-beside)"
grep -E 'IOPS|err=' /out/fio-beside
step "what is left"
until_ok 90 eval 'no_more "$before" "$(holds)"' || fail "something is left: $(holds), and there was $before"
holds
now=$(status VmRSS)
echo "memory: $memory KiB before, $now KiB now"
# The heap takes a mebibyte or two in the first hundreds; then a kibibyte for each login would be seen.
((now < memory + 2048 + LOGINS)) || fail "memory is left behind"
log_out "$keeps"
stop_target
step "done"
