# The kernel's iSCSI initiator (on the last node) against our binary (on node 1):
# two portals, digests, multipath, ext4, fio with verification, a portal pulled.
#
#   vm-run.sh [-n 2] -i 2 -m 1024 -s FOLDER-WITH-THE-BINARY tests/iscsi.sh
# shellcheck shell=bash

IQN=iqn.2026-11.org.lunforge:guest
PORTALS=(10.77.0.1 10.77.1.1)

start_target() {
  step "target"
  cp /share/lunforge /tmp/lunforge       # not over 9p while it runs
  /tmp/lunforge export /tmp/disk.img --size 256M --thin --target $IQN --digest both \
    --serial guest0001 --portal "${PORTALS[0]}:3260" --portal "${PORTALS[1]}:3260" \
    >/tmp/target.out 2>/out/target.err &
  TARGET_PID=$!
  until_ok 20 grep -q '^iscsi://' /tmp/target.out || fail "no target: $(cat /out/target.err)"
  cp /tmp/target.out /out/target.out
}

stop_target() {
  kill -TERM "$TARGET_PID"
  wait "$TARGET_PID" || fail "the target left with status $?"
}

disks() { lsscsi -t | awk '/iqn.*\/dev\/sd/ { print $NF }'; }

two_disks() { [ "$(disks | wc -l)" -eq 2 ]; }

login() {
  step "login over both portals, header and data digests"
  local portal setting
  modprobe -a iscsi_tcp sd_mod dm_multipath scsi_dh_alua crc32c_generic
  echo "InitiatorName=iqn.2026-11.org.lunforge:initiator$NODE" >/etc/iscsi/initiatorname.iscsi
  iscsid
  for portal in "${PORTALS[@]}"; do need iscsiadm -m discovery -t sendtargets -p "$portal"; done
  # A dead path is noticed within seconds.
  for setting in conn[0].iscsi.HeaderDigest=CRC32C conn[0].iscsi.DataDigest=CRC32C \
    conn[0].timeo.noop_out_interval=1 conn[0].timeo.noop_out_timeout=2 session.timeo.replacement_timeout=3; do
    need iscsiadm -m node -T $IQN -o update -n "node.${setting%=*}" -v "${setting#*=}"
  done
  need iscsiadm -m node -T $IQN -l
  until_ok 20 two_disks || fail "not two disks: $(lsscsi -t)"
  udevadm settle
  iscsiadm -m session -P 3 >/tmp/session
  grep -E 'Portal|Digest|MaxRecv|FirstBurst|Immediate|attached' /tmp/session
  [ "$(grep -c 'Digest: CRC32C' /tmp/session)" -eq 4 ] || fail "digests not in use"
}

# Both paths name the logical unit alike: by this multipathd joins them.
same_designators() {
  step "inquiry"
  local disk
  for disk in $(disks); do
    need sg_inq "$disk"
    need sg_vpd -p di "$disk"
    need sg_vpd -p bl "$disk"
    need sg_luns "$disk"
    need sg_readcap -l "$disk"
    /lib/udev/scsi_id -g -u "$disk" >>/tmp/names || fail "$disk has no name"
  done >/out/inquiry
  sort /tmp/names | uniq -c
  [ "$(sort -u /tmp/names | wc -l)" -eq 1 ] || fail "the paths differ in name"
}

both_paths_active() { [ "$(multipath -ll | grep -c 'active ready')" -eq 2 ]; }

join_paths() {
  step "multipath"
  mkdir -p /run/multipathd
  cat >/etc/multipath.conf <<-END # one keyword to a line, else it is ignored
	defaults {
	  find_multipaths no
	  user_friendly_names yes
	  path_grouping_policy multibus
	  polling_interval 2
	  max_polling_interval 4
	  fast_io_fail_tmo 5
	}
	blacklist {
	  devnode "^vd"
	}
	END
  multipathd
  until_ok 20 test -b /dev/mapper/mpatha || fail "no multipath device"
  until_ok 20 both_paths_active || fail "not two active paths: $(multipath -ll)"
  multipath -ll
}

# load NAME ARGUMENT...: fio that checks what it reads back.
load() {
  local name=$1
  shift
  fio --name="$name" --directory=/mnt --bs=16k --iodepth=8 --ioengine=libaio --direct=1 --eta=never \
    --verify=crc32c --verify_fatal=1 --output="/out/fio.$name" "$@"
}

file_system() {
  step "ext4, fio with verification"
  need mkfs.ext4 -q /dev/mapper/mpatha
  need mount -o discard /dev/mapper/mpatha /mnt
  need load random --size=24M --rw=randwrite --do_verify=1
  need load mixed --size=16M --rw=randrw --bsrange=4k-256k
  need fstrim -v /mnt
  grep -hE 'IOPS' /out/fio.random /out/fio.mixed
}

pull_portal() {
  step "a portal pulled during I/O"
  local job
  load pulled --size=16M --rw=randwrite --time_based --runtime=20 &
  job=$!
  sleep 3
  iptables -I OUTPUT -d "${PORTALS[1]}" -j DROP
  until_ok 60 eval 'multipath -ll | grep -q faulty' || fail "the dead path was not noticed"
  step "path faulty"
  iptables -F OUTPUT
  wait $job || fail "fio lost I/O with a path (status $?)"
  until_ok 60 both_paths_active || fail "the path did not come back: $(multipath -ll)"
  step "path back"
}

close_down() {
  step "unmount, fsck, logout"
  need umount /mnt
  need e2fsck -fn /dev/mapper/mpatha
  multipathd shutdown >/dev/null
  until_ok 10 eval '! pidof multipathd'
  need multipath -F
  need iscsiadm -m node -u
}

# clean_log PATTERN: since the last look the kernel warned of nothing but PATTERN.
clean_log() {
  dmesg --level=emerg,alert,crit,err,warn >>/out/dmesg
  ! dmesg --level=emerg,alert,crit,err,warn | grep -Ev "$1" || fail "the kernel log is not clean"
  dmesg --clear
}

# An emulated machine that waits for a processor complains about its clock.
clock='hrtimer: interrupt took|clocksource:|[Uu]nstable clock|trace_clock|want to keep using the local clock|on the kernel command line'
usual="Power-on or device reset occurred|device-mapper: core: CONFIG_IMA|$clock"
path_lost='ping timeout|detected conn error|session recovery timed out|rejecting I/O to offline device|I/O error, dev sd|(Failing|Reinstating) path'

[ "$NODE" != 1 ] || { start_target; signal target; }
if [ "$NODE" = "$NODES" ]; then
  await target
  dmesg --clear
  login
  same_designators
  join_paths
  file_system
  clean_log "$usual"
  pull_portal
  close_down
  clean_log "$usual|$path_lost"
  signal end
fi
[ "$NODE" != 1 ] || { await end 600; stop_target; }
step "done"
