# A block device that never answers (a suspended device-mapper target) under one LUN, in the middle of I/O, and the
# kernel's initiator: resets, a lost connection, logout, the end of the program. What the target's log says counts; the
# times of the initiator's tools are those of an emulated machine and are only shown. To run alone: it bounds times.
#
#   vm-run.sh -m 1024 -s FOLDER-WITH-THE-BINARY tests/dead-store.sh [BOUND=SECONDS]
# shellcheck shell=bash

IQN=iqn.2026-11.org.lunforge:dead
PORTAL=10.77.0.1
# The target has a second; an emulated machine that shares its processors gets three times as much.
BOUND=${BOUND:-3.0}

[ "$NODE" = 1 ] || exit 0

now() { date +%s.%N; }
took() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", b - a }'; }
less() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a < b) }'; }

# since TIME PATTERN: when the target logged it, at TIME or later.
since() {
  local at
  at=$(date -u -d "@$1" +%Y-%m-%dT%H:%M:%S.%6N)
  awk -v at="$at" -v p="$2" '$1 >= at && $0 ~ p { print $1; exit }' /out/target.err
}

# between TIME BEGIN END: seconds from the target's one line to the other.
between() {
  local a b
  until_ok 30 eval "[ -n \"\$(since $1 '$3')\" ]" || fail "the target never said '$3'"
  a=$(since "$1" "$2") b=$(since "$1" "$3")
  [ -n "$a" ] || fail "the target never said '$2'"
  took "$(date -d "$a" +%s.%N)" "$(date -d "$b" +%s.%N)"
}

bounded() { # WHAT SECONDS
  echo "MEASURED $1: $2 s" | tee -a /out/measured
  less "$2" $BOUND || fail "$1 took $2 s"
}

make_devices() {
  step "devices"
  modprobe -a loop dm_mod iscsi_tcp sd_mod sg
  truncate -s 64M /tmp/back.img /tmp/live.img
  need losetup /dev/loop0 /tmp/back.img
  need losetup /dev/loop1 /tmp/live.img # O_DIRECT, which the file system of /tmp does not have
  need dmsetup create dead --table "0 131072 linear /dev/loop0 0"
}

start_target() { # ARGUMENT...
  step "target $*"
  [ -e /tmp/lunforge ] || cp /share/lunforge /tmp/lunforge # not over 9p while it runs
  LUNFORGE_LOG=info "${RUN[@]}" /tmp/lunforge export /dev/mapper/dead /dev/loop1 --target $IQN --serial dead \
    --portal $PORTAL:3260 --timeouts 10,12,30,120 "$@" >/tmp/target.out 2>>/out/target.err &
  TARGET_PID=$!
  until_ok 30 grep -q '^iscsi://' /tmp/target.out || fail "no target: $(tail -3 /out/target.err)"
}

disk() { # LUN
  local d
  for d in /sys/class/iscsi_session/session*/device/target*/*:"$1"/block/*; do
    [ -b "/dev/${d##*/}" ] && echo "/dev/${d##*/}" && return
  done
  return 1
}
generic() { echo /dev/"$(ls "/sys/block/${1#/dev/}/device/scsi_generic")"; }

login() {
  step "login"
  need iscsiadm -m node -T $IQN -p $PORTAL -l >>/out/login
  until_ok 30 eval 'disk 0 && disk 1' || fail "no disks"
  udevadm settle
  DEAD=$(disk 0) LIVE=$(disk 1)
}

initiator() {
  echo "InitiatorName=iqn.2026-11.org.lunforge:initiator" >/etc/iscsi/initiatorname.iscsi
  iscsid
  need iscsiadm -m node -o new -T $IQN -p $PORTAL >/out/login
}

load() { # NAME DISK SECONDS
  fio --name="$1" --filename="$2" --direct=1 --rw=randrw --bs=4k --ioengine=libaio --iodepth=16 --time_based \
    --runtime="$3" --eta=never --output-format=terse >"/tmp/fio.$1" 2>>/out/fio.err
}
iops() { awk -F';' '/^[0-9]/ { print $8 + $49; exit }' "/tmp/fio.$1"; }

die_in_mid_io() {
  load dead "$DEAD" 200 &
  LOAD=$!
  sleep 3
  need dmsetup suspend --noflush --nolockfs dead
  sleep 2
}

revive() {
  need dmsetup --noudevsync resume dead
  kill -KILL $LOAD 2>/dev/null
  wait $LOAD 2>/dev/null
}

neighbour() {
  step "the LUN beside a dead one"
  local before after
  load before "$LIVE" 5
  before=$(iops before)
  die_in_mid_io
  # Flushes wait in the kernel's workers: many of them.
  for _ in $(seq 1 24); do sg_sync --timeout=100 "$(generic "$DEAD")" >/dev/null 2>&1 & done
  sleep 1
  load after "$LIVE" 5 || fail "the LUN beside the dead one failed"
  after=$(iops after)
  echo "MEASURED IOPS of the LUN beside: $before before, $after beside a dead one" | tee -a /out/measured
  less 0 "$after" || fail "no I/O beside a dead LUN"
  sg_sync --timeout=20 "$(generic "$LIVE")" || fail "a flush beside a dead LUN"
  until_ok 30 grep -q 'the backend does not answer' /out/target.err || fail "the target does not say that its backend is dead"
  revive
  until_ok 60 grep -q 'the backend answers again' /out/target.err || fail "the target does not say that its backend is back"
  until_ok 30 dd if="$DEAD" of=/dev/null bs=4k count=1 iflag=direct || fail "no I/O after the backend is back"
}

reset_unit_and_target() {
  step "resets while the store never answers"
  local kind at end
  for kind in device target; do
    die_in_mid_io
    at=$(now)
    sg_reset --no-esc --$kind "$(generic "$DEAD")" || fail "sg_reset --$kind"
    end=$(now)
    bounded "reset of the $kind" "$(between "$at" 'task management task=.*Reset' 'task management ended')"
    echo "MEASURED sg_reset --$kind, all: $(took "$at" "$end") s" | tee -a /out/measured
    revive
    until_ok 60 dd if="$DEAD" of=/dev/null bs=4k count=1 iflag=direct || fail "no I/O after a reset"
  done
}

lose_connection() {
  step "a lost connection, and the session that takes its place"
  local at gone closed
  die_in_mid_io
  at=$(now)
  need ss -K dst $PORTAL dport = 3260 >/dev/null
  gone=$(now)
  until_ok 30 eval "[ -n \"\$(since $at 'the session is closed')\" ]" || fail "the session is not closed"
  closed=$(date -d "$(since "$at" 'the session is closed')" +%s.%N)
  # The connection went while ss ran, which takes its time here.
  echo "MEASURED ss -K: $(took "$at" "$gone") s" | tee -a /out/measured
  bounded "the end of a session that lost its connection, since ss was through" "$(took "$gone" "$closed")"
  # The initiator waits for DefaultTime2Wait, 2 s, before it comes again.
  until_ok 30 eval "[ -n \"\$(since $at 'logged in')\" ]" || fail "no new session"
  revive
  until_ok 60 dd if="$DEAD" of=/dev/null bs=4k count=1 iflag=direct || fail "no I/O in the new session"
}

# The target does not hear that the connection is gone: the new login finds the old session alive.
reinstate() {
  step "a session reinstated while the store never answers"
  local at rule=(OUTPUT -p tcp --dport 3260 --tcp-flags RST RST -j DROP)
  need iptables -I "${rule[@]}"
  die_in_mid_io
  at=$(now)
  need ss -K dst $PORTAL dport = 3260 >/dev/null
  bounded "the reinstatement of a session" "$(between "$at" 'a session is reinstated' 'logged in')"
  need iptables -D "${rule[@]}"
  revive
  until_ok 60 dd if="$DEAD" of=/dev/null bs=4k count=1 iflag=direct || fail "no I/O in the session that was reinstated"
}

logout() {
  step "logout while the store never answers"
  local at end out
  die_in_mid_io
  at=$(now)
  iscsiadm -m node -T $IQN -p $PORTAL -u >>/out/login &
  out=$!
  bounded "logout" "$(between "$at" ' logout ' 'logged out')"
  revive
  wait $out || fail "logout"
  end=$(now)
  echo "MEASURED iscsiadm -u, all: $(took "$at" "$end") s" | tee -a /out/measured
}

threads_state() { # who is in which state, by what
  cat /proc/"$TARGET_PID"/task/*/status 2>/dev/null | awk '/^Name|^State/ { printf "%s ", $2 } /^State/ { print "" }' | sort | uniq -c
}

# Until no socket of the target listens or is connected. Without a process for each look: one takes as long as what is
# measured.
until_not_served() { # SECONDS
  local end=$((SECONDS + $1)) local_end state served
  exec {never}<> <(:)
  while ((SECONDS < end)); do
    served=0
    while read -r _ local_end _ state _; do
      [[ $local_end != *:0CBC ]] || [[ $state != 01 && $state != 0A ]] || served=1
    done </proc/net/tcp
    ((served)) || return 0
    read -rt 0.02 -u "$never"
  done
  return 1
}

end_of_program() {
  step "SIGTERM while the store never answers"
  local at served ended
  die_in_mid_io
  threads_state
  at=$(now)
  kill -TERM "$TARGET_PID"
  until_not_served 30 || fail "the sockets stay open"
  served=$(now)
  bounded "the end of the service after SIGTERM" "$(took "$at" "$served")"
  # The kernel ends the process, and frees the device, when its I/O is done.
  if until_ok 5 eval "! kill -0 $TARGET_PID"; then
    ended=$(now)
    echo "MEASURED the process has ended: $(took "$at" "$ended") s" | tee -a /out/measured
  else
    echo "MEASURED the process is held by the kernel:" | tee -a /out/measured
    threads_state | tee -a /out/measured
    cat /proc/"$TARGET_PID"/task/*/stack 2>/dev/null | sort | uniq -c | sort -rn | head -20 >>/out/measured
  fi
  at=$(now)
  need dmsetup --noudevsync resume dead
  wait "$TARGET_PID"
  echo "MEASURED exit status $?, $(took "$at" "$(now)") s after the device came back" | tee -a /out/measured
  kill -KILL $LOAD 2>/dev/null
  iscsiadm -m node -T $IQN -p $PORTAL -u >>/out/login 2>&1
}

# without_io_uring COMMAND...: the kernel refuses io_uring_setup(2), as in many containers.
cat >/tmp/without_io_uring <<'PY'
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def insn(code, jt, jf, k): return struct.pack("HBBI", code, jt, jf, k)
# ld nr; jeq 425 -> EPERM; allow
prog = insn(0x20, 0, 0, 0) + insn(0x15, 0, 1, 425) + insn(0x06, 0, 0, 0x00050001) + insn(0x06, 0, 0, 0x7FFF0000)
buf = ctypes.create_string_buffer(prog)
fprog = struct.pack("HxxxxxxQ", 4, ctypes.addressof(buf))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.create_string_buffer(fprog), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
PY

make_devices
initiator
RUN=(env)
start_target --direct
login
neighbour
reset_unit_and_target
lose_connection
reinstate
logout
login
end_of_program
RUN=(python3 /tmp/without_io_uring)
start_target --write-through
login
end_of_program
step "done"
