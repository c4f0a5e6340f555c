# Asymmetric access and reservations as clusters of Linux machines use them: the alua
# handler of dm-multipath, mpathpersist, fence_scsi.
#
#   vm-run.sh -i 2 -m 1024 -s FOLDER tests/paths.sh     FOLDER: two_ports, two-ports.sh
# shellcheck shell=bash

. /share/two-ports.sh

# state_of GROUP, as port a reports it: 0x00 to 0x0f.
state_of() {
  sg_rtpg --decode "$a" | awk -v group="0x$1" '/group id :/ { mine = $6 == group } mine && /access state :/ { print $8 }'
}

kernel_sees() { grep -qx "$2" "/sys/block/${1#/dev/}/device/access_state"; }

states() {
  step "REPORT TARGET PORT GROUPS follows the target"
  local state
  works sg_rtpg --decode --extended "$a"
  for state in nonoptimized:0x01 standby:0x02 unavailable:0x03 transitioning:0x0f active:0x00; do
    ask "state 2 ${state%:*}"
    [ "$(state_of 2)" = "${state#*:}" ] || fail "group 2 is not ${state%:*}: $(sg_rtpg --decode "$a")"
    [ "$(state_of 1)" = 0x00 ] || fail "group 1 has changed"
  done
  # Told of the change by a unit attention, which its alua handler keeps to itself,
  # the kernel looks again.
  ask "state 2 standby"
  sg_turs "$b" >/dev/null 2>&1
  until_ok 10 kernel_sees "$B" standby || fail "the kernel has not heard of the change"
  ask "state 2 active"
  ask "prefer 2 1"
  says 'id : 0x2 , Pref=1' sg_rtpg --decode "$a"
  ask "prefer 2 0"
}

# refuses STATE PATTERN: what port b says to commands for the medium; what it always answers.
refuses() {
  ask "state 2 $1"
  until_ok 5 eval "! sg_turs $b" || fail "port b is ready in state $1"
  refused "$2" sg_turs --verbose "$b"
  refused "$2" sg_raw --request=512 "$b" 28 00 00 00 00 00 00 00 01 00
  works sg_inq "$b"
  works sg_luns "$b"
  works sg_rtpg "$b"
  says "group id : 0x2 " sg_rtpg --decode "$b"
}

access() {
  step "each state lets in what it should"
  refuses standby 'standby'
  works sg_modes --page=0xa "$b"
  works sg_persist --no-inquiry --in --read-keys "$b"
  refuses unavailable 'unavailable'
  refuses transitioning 'transition'
  ask "state 2 active"
  calm "$a" "$b"
  works sg_raw --request=512 "$b" 28 00 00 00 00 00 00 00 01 00
}

explicit() {
  step "SET TARGET PORT GROUPS"
  says 'Illegal request' sg_stpg --tp=2 --state=s "$a" # it ends with 0 all the same
  ask "explicit on"
  says 'TPGS=3' sg_inq "$a"
  works sg_stpg --tp=2 --state=s "$a"
  [ "$(state_of 2)" = 0x02 ] || fail "the initiator could not set standby"
  works sg_stpg --tp=2 --state=ao "$b"
  [ "$(state_of 2)" = 0x00 ] || fail "the initiator could not set active/optimized"
  says 'Illegal request' sg_stpg --tp=7 --state=ao "$a"
  calm "$a" "$b"
}

paths_are() { [ "$(multipath -ll | grep -c "$1")" -eq "$2" ]; }

join_paths() {
  step "dm-multipath with the alua handler"
  mkdir -p /run/multipathd
  cat >/etc/multipath.conf <<-END # one keyword to a line, else it is ignored
	defaults {
	  find_multipaths no
	  user_friendly_names yes
	  path_grouping_policy group_by_prio
	  prio alua
	  failback immediate
	  no_path_retry 30
	  polling_interval 1
	  max_polling_interval 1
	  reservation_key 0x5a
	}
	blacklist {
	  devnode "^vd"
	}
	END
  [ "$(cat "/sys/block/${A#/dev/}/device/dh_state")" = alua ] || fail "the kernel does not take it for an ALUA disk"
  multipathd
  until_ok 20 test -b $M || fail "no multipath device"
  until_ok 20 paths_are 'active ready' 2 || fail "not two paths: $(multipath -ll)"
  paths_are "hwhandler='1 alua'" 1 || fail "not the alua handler: $(multipath -ll)"
}

done_by() { awk '{ print $1 + $5 }' "/sys/block/${1#/dev/}/stat"; }

# only DISK OTHER: I/O goes to DISK, and only there.
only() {
  local here there
  here=$(done_by "$1") there=$(done_by "$2")
  sleep 0.5
  [ "$(done_by "$1")" -gt "$here" ] && [ "$(done_by "$2")" -eq "$there" ]
}

# moves STATE-OF-1 STATE-OF-2 DISK OTHER: I/O follows the states to DISK.
moves() {
  ask "state 1 $1"
  ask "state 2 $2"
  until_ok 20 only "$3" "$4" || fail "I/O does not go to $3 with $1 and $2: $(multipath -ll)"
  step "group 1 $1, group 2 $2: I/O goes to $3"
}

follow_states() {
  step "states change under verified I/O"
  local job
  ask "state 2 nonoptimized"
  until_ok 20 paths_are 'prio=50 status=' 1 || fail "no optimized group: $(multipath -ll)"
  until_ok 20 paths_are 'prio=10 status=' 1 || fail "no other group: $(multipath -ll)"
  multipath -ll
  fio --name=moved --filename=$M --size=16M --bs=16k --iodepth=8 --ioengine=libaio --direct=1 --eta=never \
    --rw=randwrite --time_based --runtime=200 --verify=crc32c --verify_backlog=64 --verify_fatal=1 --output=/out/fio.moved &
  job=$!
  until_ok 20 only "$A" "$B" || fail "no I/O"
  moves standby active "$B" "$A"
  ask "state 2 transitioning" # nothing is left to go to; the initiator has to wait
  sleep 1
  moves active unavailable "$A" "$B"
  moves nonoptimized active "$B" "$A"
  moves active offline "$A" "$B"
  ask "state 2 active"
  kill -INT $job
  wait $job
  grep -q 'err= 0' /out/fio.moved || fail "fio lost I/O with a change of state: $(cat /out/fio.moved)"
  until_ok 30 paths_are 'active ready' 2 || fail "the paths did not come back: $(multipath -ll)"
  grep -E 'IOPS|err=' /out/fio.moved
}

# dm-multipath switches a standby group on by SET TARGET PORT GROUPS.
switch_on() {
  step "the kernel activates a standby group"
  ask "state 2 standby"
  until_ok 20 paths_are 'active ghost' 1 || fail "standby is not seen: $(multipath -ll)"
  until_ok 20 paths_are 'prio=1 status=enabled' 1 || fail "no group in standby: $(multipath -ll)"
  need dmsetup message mpatha 0 switch_group 2
  need dd if=/dev/zero of=$M bs=4k count=1 oflag=direct status=none
  until_ok 10 eval '[ "$(state_of 2)" = 0x00 ]' || fail "group 2 was not activated: $(sg_rtpg --decode "$a")"
  ask "state 1 active"
  until_ok 30 paths_are 'active ready' 2 || fail "the paths did not come back: $(multipath -ll)"
}

all_paths_reserve() {
  step "mpathpersist"
  works mpathpersist --out --register --param-sark=0x5a $M
  says '0x5a' mpathpersist --in --read-keys $M
  [ "$(sg_persist --no-inquiry --in --read-keys "$a" | grep -c 0x5a)" -eq 2 ] || fail "not registered on both paths"
  works mpathpersist --out --reserve --param-rk=0x5a --prout-type=5 $M
  says 'Write Exclusive, registrants only' mpathpersist --in --read-reservation $M
  ask "state 1 standby"
  need dd if=/dev/zero of=$M bs=4k count=8 oflag=direct status=none
  ask "state 1 active"
  works mpathpersist --out --release --param-rk=0x5a --prout-type=5 $M
  works mpathpersist --out --register --param-rk=0x5a --param-sark=0 $M
  says '0 registered|NO registered' mpathpersist --in --read-keys $M
}

close_paths() {
  multipathd shutdown >/dev/null
  until_ok 10 eval '! pidof multipathd'
  until_ok 10 multipath -F || fail "the multipath device stays in use"
}

# enter: initiator one, through both ports.
enter() {
  step "login through both ports"
  login one a b
  A=$(disk one a) B=$(disk one b)
  a=$(generic "$A") b=$(generic "$B")
  calm "$a" "$b"
}

leave() { need iscsiadm -m node -u >>/out/login; }

# The loser writes until it is stopped.
keep_writing() {
  local n=0
  tr '\0' L </dev/zero | head -c 4096 >/tmp/loser
  while dd if=/tmp/loser of="$R" bs=4k seek=$((2048 + n)) oflag=direct conv=notrunc status=none; do
    n=$(((n + 1) % 2048))
    echo $n >/tmp/loser.wrote
  done 2>/tmp/loser.end
}

# taken_off: the eight megabytes that the loser wrote to.
taken_off() { dd if="$A" bs=1M skip=8 count=8 iflag=direct status=none | sha256sum; }

fence() {
  step "two nodes: fence_scsi throws one out"
  local loser before
  login two b
  R=$(disk two b)
  r=$(generic "$R")
  calm "$a" "$r"
  # The key file belongs to the node that acts, so the winner comes last.
  works fence_scsi --action=on --key=b2 --devices="$R"
  works fence_scsi --action=on --key=a1 --devices="$A"
  keep_writing &
  loser=$!
  until_ok 10 test -s /tmp/loser.wrote || fail "the loser never wrote: $(cat /tmp/loser.end)"
  works fence_scsi --action=off --key=b2 --devices="$A"
  before=$(taken_off)
  until_ok 10 eval "! kill -0 $loser" || fail "the loser still writes"
  [ "$(taken_off)" = "$before" ] || fail "a write landed after the fence"
  step "the loser wrote $(cat /tmp/loser.wrote) times; then: $(cat /tmp/loser.end)"
  grep -q 'Invalid exchange' /tmp/loser.end || fail "it was not a reservation conflict that ended the loser"
  calm "$r"
  says "Key=0xa1" sg_persist --no-inquiry --in --read-reservation "$a"
  fenced_out
}

fenced_out() {
  tr '\0' W </dev/zero | head -c 4096 >/tmp/winner
  need dd if=/tmp/winner of="$A" bs=4k seek=2048 oflag=direct conv=notrunc status=none
  ! dd if=/tmp/loser of="$R" bs=4k seek=2048 oflag=direct conv=notrunc status=none 2>/dev/null || fail "the loser got in"
  ends 24 sg_write_same --10 --in=/tmp/loser --xferlen=512 --lba=16384 --num=1 "$r"
  cmp /tmp/winner <(dd if="$R" bs=4k skip=2048 count=1 iflag=direct status=none) || fail "the winner's data has changed"
  ends 2 fence_scsi --action=status --key=b2 --devices="$A"
  step "let in again"
  works fence_scsi --action=on --key=b2 --devices="$R"
  need dd if=/tmp/loser of="$R" bs=4k seek=2048 oflag=direct conv=notrunc status=none
}

M=/dev/mapper/mpatha
modprobe -a dm_multipath scsi_dh_alua
start_target
initiators
enter
states
access
join_paths
follow_states
close_paths
explicit
leave
# What it can do by itself the kernel asks once, when it meets the disk.
enter
join_paths
switch_on
all_paths_reserve
close_paths
fence
leave
stop_target
step "done"
