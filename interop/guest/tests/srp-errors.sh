# Where SRP hurts: commands that are aborted because their device does not answer, resets, logouts of either side under
# I/O, sessions that take another's place, tables of descriptors in the initiator's memory.
#
#   vm-run.sh -m 1024 -s FOLDER tests/srp-errors.sh [PARTS=NAMES]     FOLDER: the binary lunforge, srp-lib.sh, srp-*.py
# shellcheck shell=bash

[ "$NODE" = 1 ] || exit 0 # one machine is enough

# shellcheck source=../srp-lib.sh
. /share/srp-lib.sh

said() { dmesg | grep -c -e "$1"; }
aborted() { metric 'lunforge_device_commands_total.device="lun0".*outcome="aborted"'; }
sessions() { metric 'lunforge_target_sessions.driver="ib_srpt"'; }

# channels: of the target, as the RDMA devices know them.
channels() { rdma resource show qp | grep -c "RC .*comm lun-shard"; }

# load NAME DISK SECONDS [ARGUMENT...]: in the background; sets io.
load() {
  local name=$1 disk=$2 seconds=$3
  shift 3
  fio --name="$name" --filename="$disk" --size=16M --bs=16k --rw=randread --iodepth=8 --ioengine=libaio --direct=1 \
    --time_based --runtime="$seconds" --eta=never "$@" >"/out/fio-$name" 2>&1 &
  io=$!
}

# went_on NAME: the load of this name lost nothing.
went_on() {
  ends_soon $io 60 || fail "I/O hangs after $1: $(dmesg | tail -5)"
  wait $io || fail "I/O was lost by $1: $(cat "/out/fio-$1")"
}

# nothing_left: no session, and of what it had nothing.
nothing_left() {
  until_ok 20 eval '[ "$(sessions)" = 0 ]' || fail "sessions are left: $(scrape | grep sessions)"
  until_ok 20 eval '[ "$(metric "lunforge_shard_(commands|sessions|buffer_bytes)")" = 0 ]' ||
    fail "something is left: $(scrape | grep shard_)"
  until_ok 10 eval '[ "$(channels)" = 0 ]' || fail "queue pairs are left: $(rdma resource show qp)"
}

begin() {
  step "two units, one of which can be made to wait; a card for packets of 1024 bytes, one for 4096"
  modprobe -a loop dm_mod
  truncate -s 64M /tmp/back.img
  need losetup /dev/loop0 /tmp/back.img
  need dmsetup create slow --table "0 131072 linear /dev/loop0 0"
  need ip link set eth1 mtu 4200
  soft_roce
  start
}

start() {
  serve "0 1" /dev/mapper/slow /tmp/fast.img --size 64M
}

packets() { cat "/sys/class/infiniband/rxe$1/ports/1/hw_counters/sent_pkts"; }

# moved CARD DISK: packets for four megabytes.
moved() {
  local before
  before=$(packets "$1")
  need dd if="$2" of=/dev/null bs=256k count=16 iflag=direct status=none
  echo $(($(packets "$1") - before))
}

# channel_counts: of 1 with packets of 1024 bytes, of more with packets of 4096. No more than there are processors.
channel_counts() {
  local count card sent
  for count in 1 2 4; do
    ((count <= $(nproc))) || continue
    card=$((count > 1))
    step "channels: $count"
    initiator ch_count=$count
    log_in $card
    disk=$(disk_behind "$host" 1)
    udevadm settle
    [ "$(cat "/sys/class/scsi_host/$host/ch_count")" = $count ] || fail "the initiator has not $count channels"
    [ "$(channels)" = $count ] || fail "the target has not $count channels: $(rdma resource show qp)"
    [ "$(sessions)" = 1 ] || fail "not one session"
    need fio --name="channels-$count" --filename="$disk" --size=2M --offset_increment=2M --numjobs=4 --bsrange=4k-64k \
      --rw=randwrite --iodepth=8 --ioengine=libaio --direct=1 --eta=never --verify=crc32c --do_verify=1 --verify_fatal=1 \
      >"/out/fio-channels-$count"
    sent=$(moved $card "$disk")
    echo "packets for 4 MiB: $sent"
    ((card == 1 ? sent >= 1024 && sent < 3072 : sent >= 4096)) || fail "not packets of the size of card $card"
    log_out "$host"
    nothing_left
    need modprobe -r ib_srp
  done
}

enter() {
  step "login"
  initiator ch_count=2
  log_in 1
  slow=$(disk_behind "$host" 0) fast=$(disk_behind "$host" 1)
  udevadm settle
}

aborts() {
  step "commands that are not answered are aborted, and sent again"
  local before
  before=$(aborted)
  echo 5 >"/sys/block/${slow#/dev/}/device/timeout"
  load aborts "$slow" 6 --rw=randwrite --bs=4k --iodepth=4
  sleep 3
  need dmsetup suspend --noflush --nolockfs slow
  until_ok 30 eval '[ "$(said "Sending SRP abort")" -ge 1 ]' || fail "the initiator aborts nothing"
  until_ok 30 eval "[ \"\$(aborted)\" -gt $before ]" || fail "nothing was aborted: $(scrape | grep commands_total)"
  # The unit beside it goes on.
  need timeout 20 dd if="$fast" of=/dev/null bs=64k count=16 iflag=direct status=none
  need dmsetup --noudevsync resume slow
  went_on aborts
  echo "aborts: $(said 'Sending SRP abort') sent, $(($(aborted) - before)) commands aborted"
  [ "$(said 'SRP reset_[a-z]* called')" = 0 ] || fail "aborts were not answered: $(dmesg | tail -20)"
}

# What a reset aborts is never answered, and with one by sg_reset the kernel waits for it until its timeout.
reset_of_the_dead() {
  step "a reset of a unit whose device does not answer"
  local before from
  load dead "$slow" 6 --rw=randwrite --bs=4k --iodepth=4
  sleep 3
  need dmsetup suspend --noflush --nolockfs slow
  sleep 1
  before=$(aborted) from=$SECONDS
  need timeout 20 sg_reset --no-esc --device "$(generic "$slow")"
  echo "answered after $((SECONDS - from)) s"
  [ "$(aborted)" -gt "$before" ] || fail "the reset has aborted nothing"
  need dmsetup --noudevsync resume slow
  went_on dead
}

resets() {
  local kind
  echo 8 >"/sys/block/${fast#/dev/}/device/timeout"
  for kind in device host; do # ib_srp knows no others
    step "a reset of the $kind under I/O"
    load "$kind" "$fast" 6
    sleep 2
    need timeout 30 sg_reset --no-esc --$kind "$(generic "$fast")"
    went_on "$kind"
  done
  [ "$(said 'SRP reset_device called')" -ge 2 ] || fail "no resets of the units"
  [ "$(said 'SRP reset_host called')" = 1 ] || fail "no reset of the host"
  [ "$(sessions)" = 1 ] || fail "the session before the reset of the host is left"
}

target_goes() {
  step "the target logs out under I/O, and is there again"
  local before
  times "$host" 60 2
  before=$(said 'Got target logout request')
  load target_goes "$fast" 12
  sleep 2
  stop_target
  [ "$(said 'Got target logout request')" -gt "$before" ] || fail "the target has gone without a word: $(dmesg | tail -5)"
  start
  went_on target_goes
  [ "$(cat "$(remote "$host")/state")" = running ] || fail "the initiator has not logged in again"
}

initiator_goes() {
  step "the initiator logs out under I/O"
  load initiator_goes "$fast" 30 --rw=randwrite # reads of a disk that is gone end well, without data
  sleep 2
  log_out "$host"
  ends_soon $io 30 || fail "I/O hangs after the logout"
  ! wait $io || fail "there was no I/O to be lost"
  nothing_left
  need modprobe -r ib_srp
}

taken_over() {
  step "a login ends the older session of the same initiator port, which comes back"
  local before sgid
  initiator ch_count=2
  log_in 0
  times "$host" 60 3
  fast=$(disk_behind "$host" 1)
  sgid=$(tr -d : <"/sys/class/scsi_host/$host/sgid")
  before=$(said 'Got target logout request')
  load taken_over "$fast" 15
  sleep 2
  others rival 1 "0000000000000000${sgid:16}"
  all 'terminated another'
  [ "$(said 'Got target logout request')" -gt "$before" ] || fail "the older session was not told"
  went_on taken_over
  [ "$(sessions)" = 1 ] || fail "not one session: $(scrape | grep sessions)"
  [ "$(channels)" = 2 ] || fail "other channels are left: $(rdma resource show qp)"
  log_out "$host"
  nothing_left
  need modprobe -r ib_srp
}

# most COMMAND: descriptors of the longest one, as the kernel has sent it.
most() {
  sed -n "s/.*data_sgl=\([0-9]*\).*cmnd=($1.*/\1/p" /out/trace | sort -n | tail -1
}

tables() {
  step "tables of descriptors in memory, of a thousand"
  local disk events=/sys/kernel/tracing/events/scsi/scsi_dispatch_cmd_start command
  initiator ch_count=2 use_imm_data=0 cmd_sg_entries=1 indirect_sg_entries=2048 allow_ext_sg=1
  log_in 1 max_sect=8192
  disk=$(disk_behind "$host" 1)
  udevadm settle
  need eval "echo 4096 >/sys/block/${disk#/dev/}/queue/max_sectors_kb"
  [ "$(cat "/sys/block/${disk#/dev/}/queue/max_segments")" = 2048 ] || fail "not 2048 descriptors at a time"
  mount -t tracefs tracefs /sys/kernel/tracing
  need eval "echo 1 >$events/enable"
  need python3 /share/srp-scattered.py "$disk" 1000
  cat /sys/kernel/tracing/trace >/out/trace
  for command in READ WRITE; do
    # One of them fits in a command: the rest was fetched.
    echo "$command: tables of up to $(most $command) descriptors"
    [ "$(most $command)" -ge 900 ] || fail "no table was long"
  done
  need eval "echo 0 >$events/enable"
  log_out "$host"
  nothing_left
}

begin
for part in ${PARTS:-channel_counts enter aborts reset_of_the_dead resets target_goes initiator_goes taken_over tables}; do
  $part
done
stop_target
step "done"
