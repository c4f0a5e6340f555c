# Management under the kernel's initiator: the two nodes of a published set-up by its own
# commands; LUNs added, resized, replaced and removed, access states flipped, secrets and
# groups changed, all under fio with verification and without an I/O error.
#
#   vm-run.sh -i 2 -m 1024 -s FOLDER-WITH-THE-BINARIES tests/manage.sh
# shellcheck shell=bash

[ "$NODE" = 1 ] || exit 0 # one machine is enough

T1=iqn.2016-02.local.virtual:hpms01.vg1
T3=iqn.2016-02.local.virtual:hpms01.second
export PATH=/tmp/bin:$PATH

declare -A PIDS=()

# serve NODE PORTAL...: a node of the pair, with a configuration, a state and a socket of its own.
serve() {
  local node=$1 portals=()
  shift
  [ -e "/tmp/$node.conf" ] || : >"/tmp/$node.conf"
  while (($#)); do portals+=(--portal "$1"); shift; done
  lunforge serve --config "/tmp/$node.conf" "${portals[@]}" --state "/tmp/state.$node" --control "/run/$node.sock" \
    --confine off >"/out/$node.out" 2>&1 &
  PIDS[$node]=$!
  until_ok 20 lunforge status --control "/run/$node.sock" || fail "$node does not serve: $(tail -3 "/out/$node.out")"
}

# on NODE COMMAND...: with that node's control socket.
on() {
  local node=$1
  shift
  LUNFORGE_CONTROL=/run/$node.sock "$@"
}

# quietly: what an operator would see goes to the results.
quietly() { "$@" >>/out/tools 2>&1; }

# A terminal that answers the questions of scstadmin with yes, as the operator did. Script reads ahead: all there is.
set_up() {
  step "$1: the commands as published"
  ln -sfn "$2" /dev/vg1/lun1
  on "$1" quietly need scstadmin -add_target "iqn.2016-02.local.virtual:$1.vg1" -driver iscsi # by hand, as the text has it
  on "$1" script -qec "/bin/bash /share/seeds/$1-alua_setup.sh" /dev/null < <(yes | head -n 500) >"/out/$1.setup"
  on "$1" quietly need scstadmin -write_config "/out/$1.conf"
  need diff -u "/share/seeds/$1.conf" <(sed 1d "/out/$1.conf")
}

# set NODE ARGUMENTS...: scstadmin that asks nothing.
set_on() { local node=$1; shift; on "$node" quietly need scstadmin -noprompt "$@"; }

initiator() {
  local address setting
  modprobe -a iscsi_tcp sd_mod dm_multipath scsi_dh_alua
  echo "InitiatorName=iqn.2026-11.org.example:host" >/etc/iscsi/initiatorname.iscsi
  iscsid
  for address in 10.77.0.1 10.77.1.1; do
    quietly need iscsiadm -m discovery -t sendtargets -p "$address"
  done
  for setting in conn[0].timeo.noop_out_interval=1 conn[0].timeo.noop_out_timeout=3 session.timeo.replacement_timeout=5; do
    quietly need iscsiadm -m node -o update -n "node.${setting%=*}" -v "${setting#*=}"
  done
  quietly need iscsiadm -m node -T $T1 -p 10.77.0.1 -l
  quietly need iscsiadm -m node -T $T3 -p 10.77.1.1 -l
  until_ok 20 test "$(lsscsi | grep -c /dev/sd)" -ge 2
  udevadm settle
}

# disk TARGET LUN: its block device.
disk() {
  local session device
  for session in /sys/class/iscsi_session/session*; do
    [ "$(cat "$session/targetname")" = "$1" ] || continue
    for device in "$session"/device/target*/*:"$2"/block/*; do
      [ -b "/dev/${device##*/}" ] && echo "/dev/${device##*/}" && return
    done
  done
  return 1
}

join_paths() {
  step "one device, two paths, priorities by access state"
  mkdir -p /run/multipathd
  cat >/etc/multipath.conf <<-END
	defaults {
	  find_multipaths no
	  user_friendly_names yes
	  path_grouping_policy group_by_prio
	  prio alua
	  failback immediate
	  no_path_retry 20
	  polling_interval 2
	  max_polling_interval 4
	}
	blacklist {
	  devnode "^vd"
	}
	END
  multipathd
  until_ok 20 test -b /dev/mapper/mpatha || fail "no multipath device: $(multipath -ll)"
  until_ok 20 eval '[ "$(multipath -ll mpatha | grep -c "active ready")" -eq 2 ]' || fail "not two paths: $(multipath -ll)"
  multipath -ll mpatha
}

# verified NAME DEVICE SECONDS: I/O that is compared, in the background; its process in $LOAD.
verified() {
  fio --name="$1" --filename="$2" --size=32M --bs=8k --iodepth=8 --ioengine=libaio --direct=1 --eta=never \
    --rw=randrw --verify=crc32c --verify_fatal=1 --time_based --runtime="$3" --output="/out/fio.$1" &
  LOAD=$!
}

flip_states() {
  step "access states under I/O"
  local group states
  verified flips /dev/mapper/mpatha 40
  for states in nonoptimized:active active:nonoptimized standby:active active:standby active:active; do
    # First the group that is to take over, as an agent promotes and demotes.
    for group in second:${states#*:} local:${states%:*}; do
      set_on hpms01 -set_tgrp_attr "${group%:*}" -dev_group esos -attributes "state=${group#*:}"
    done
    sleep 4
  done
  wait $LOAD || fail "fio: I/O was lost while access states changed (status $?)"
}

resized() { [ "$(blockdev --getsize64 "$1")" -eq "$2" ]; }

live_luns() {
  step "LUNs added, resized, replaced and removed under I/O"
  local extra
  verified luns /dev/mapper/mpatha 40
  truncate -s 64M /tmp/extra.img
  truncate -s 96M /tmp/other.img # of the size that the first has when it is replaced
  set_on hpms01 -open_dev extra -handler vdisk_fileio -attributes filename=/tmp/extra.img,thin_provisioned=1
  set_on hpms01 -open_dev other -handler vdisk_fileio -attributes filename=/tmp/other.img
  set_on hpms01 -add_lun 7 -driver iscsi -target $T1 -device extra
  quietly iscsiadm -m session --rescan
  until_ok 20 disk $T1 7 || fail "the LUN that was added is not seen"
  extra=$(disk $T1 7)
  truncate -s 96M /tmp/extra.img
  set_on hpms01 -resync_dev extra
  echo 1 >"/sys/block/${extra#/dev/}/device/rescan"
  until_ok 20 resized "$extra" $((96 << 20)) || fail "the new size is not seen: $(blockdev --getsize64 "$extra")"
  set_on hpms01 -replace_lun 7 -driver iscsi -target $T1 -device other
  until_ok 10 sg_turs "$extra" # takes INQUIRY DATA HAS CHANGED
  sg_inq --page=0x80 "$extra" >>/out/tools 2>&1 || fail "the replaced LUN does not answer"
  echo 1 >"/sys/block/${extra#/dev/}/device/delete"
  set_on hpms01 -rem_lun 7 -driver iscsi -target $T1
  set_on hpms01 -close_dev extra -handler vdisk_fileio
  set_on hpms01 -close_dev other -handler vdisk_fileio
  set_on hpms01 -add_group hosts -driver iscsi -target $T1
  set_on hpms01 -add_tgt_attr $T1 -driver iscsi -attributes "IncomingUser alice a-secret-of-16-byte"
  set_on hpms01 -rem_tgt_attr $T1 -driver iscsi -attributes "IncomingUser alice a-secret-of-16-byte"
  set_on hpms01 -rem_group hosts -driver iscsi -target $T1
  wait $LOAD || fail "fio: I/O was lost while LUNs changed (status $?)"
}

# What was configured is there after a restart, read from the file that was saved.
restart() {
  step "a restart from what was saved"
  quietly need iscsiadm -m node -u
  on hpms01 quietly need scstadmin -write_config /tmp/hpms01.conf
  ln -sfn /dev/ram0 /dev/vg1/lun1 # what this name is on this node
  kill -TERM "${PIDS[hpms01]}"
  wait "${PIDS[hpms01]}" || fail "hpms01 left with status $?"
  serve hpms01 10.77.0.1:3260 10.77.1.1:3260
  on hpms01 quietly need scstadmin -write_config /out/hpms01.again
  need cmp /tmp/hpms01.conf /out/hpms01.again
}

# A second port of hpms01, in a group of its own: the other node of the pair would have the
# same data by DRBD, which is not here.
second_port() {
  set_on hpms01 -add_target $T3 -driver iscsi
  set_on hpms01 -set_tgt_attr $T3 -driver iscsi -attributes rel_tgt_id=3
  set_on hpms01 -add_lun 0 -driver iscsi -target $T3 -device vg1
  set_on hpms01 -add_tgrp second -dev_group esos
  set_on hpms01 -set_tgrp_attr second -dev_group esos -attributes group_id=3
  set_on hpms01 -add_tgrp_tgt $T3 -dev_group esos -tgt_group second
  set_on hpms01 -enable_target $T3 -driver iscsi
}

step "two nodes"
mkdir -p /tmp/bin /dev/vg1
cp /share/lunforge /share/scstadmin /tmp/bin/ # not over 9p while they run
modprobe brd rd_nr=2 rd_size=131072
serve hpms01 10.77.0.1:3260 10.77.1.1:3260
serve hpms02 127.0.0.1:3262
set_up hpms01 /dev/ram0
set_up hpms02 /dev/ram1
second_port
dmesg --clear
initiator
join_paths
flip_states
live_luns
dmesg >/out/dmesg
# A path that goes to standby under I/O is given up, and what it was given goes by the other one.
! grep -E 'Buffer I/O error|I/O error, dev dm|critical (medium|target) error' /out/dmesg || fail "the kernel saw an I/O error"
multipathd shutdown >/dev/null
until_ok 10 eval '! pidof multipathd'
quietly multipath -F
restart
kill -TERM "${PIDS[hpms01]}" "${PIDS[hpms02]}"
wait "${PIDS[hpms01]}" || fail "hpms01 left with status $?"
wait "${PIDS[hpms02]}" || fail "hpms02 left with status $?"
step "done"
