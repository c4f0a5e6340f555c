# One disk by SRP and iSCSI at once: reservations across the transports, and dm-multipath over both under verified I/O
# while the links of one and the other are lost. The target is on the first guest, the initiators on the last.
#
#   vm-run.sh -n 2 -i 2 -m 1024 -s FOLDER tests/srp-paths.sh     FOLDER: the binary lunforge, srp-lib.sh
# shellcheck shell=bash

# shellcheck source=../srp-lib.sh
. /share/srp-lib.sh

IQN=iqn.2026-11.org.lunforge:disk
M=/dev/mapper/mpatha
CONF=/etc/multipath.conf

serve_until_done() {
  serve "0 1" /tmp/disk.img --size 64M --portal 10.77.0.1:3260
  signal serves
  await left 250
  [ "$(metric lunforge_target_sessions)" = 0 ] || fail "sessions are left: $(scrape | grep _sessions)"
  stop_target
}

by_iscsi() {
  local setting
  modprobe iscsi_tcp
  echo "InitiatorName=iqn.2026-11.org.lunforge:initiator" >/etc/iscsi/initiatorname.iscsi
  iscsid
  need iscsiadm -m node -o new -T $IQN -p 10.77.0.1:3260
  for setting in conn[0].timeo.noop_out_interval=1 conn[0].timeo.noop_out_timeout=2 session.timeo.replacement_timeout=2; do
    need iscsiadm -m node -T $IQN -o update -n "node.${setting%=*}" -v "${setting#*=}"
  done
  need iscsiadm -m node -T $IQN -l
} >>/out/login

iscsi_disk() {
  local device
  for device in /sys/class/iscsi_session/session*/device/target*/*/block/*; do
    [ -b "/dev/${device##*/}" ] && echo "/dev/${device##*/}" && return
  done
  return 1
}

enter() {
  step "login by two cards by SRP, and by iSCSI"
  local host
  initiator ch_count=2
  log_in 0
  H0=$host A=$(disk_behind "$host")
  log_in 1
  H1=$host B=$(disk_behind "$host")
  times "$H0" 2 8
  times "$H1" 2 8
  by_iscsi
  until_ok 30 iscsi_disk || fail "no disk by iSCSI"
  C=$(iscsi_disk)
  udevadm settle
  a=$(generic "$A") b=$(generic "$B") c=$(generic "$C")
  calm "$a" "$b" "$c"
  lsscsi -t
}

out() { sg_persist --no-inquiry --out "$@"; }
keys() { sg_persist --no-inquiry --in --read-keys "$1"; }
writes() { dd if=/dev/zero of="$1" bs=4k count=1 oflag=direct conv=notrunc status=none; }
raw_write() { sg_raw --send=512 --infile=/dev/zero "$1" 2a 00 00 00 00 00 00 00 01 00; }

reserve() {
  step "what is reserved by iSCSI holds by SRP, and the other way"
  local holder other
  works out --register --param-sark=0xa0 "$a"
  works out --register --param-sark=0xc0 "$c"
  says '0xa0' keys "$c"
  says '0xc0' keys "$a"
  for holder in "$c:0xc0:$a:0xa0" "$a:0xa0:$c:0xc0"; do
    IFS=: read -r holder key other other_key <<<"$holder"
    works out --reserve --prout-type=1 --param-rk="$key" "$holder" # write exclusive
    says "Key=$key" sg_persist --no-inquiry --in --read-reservation "$other"
    works raw_write "$holder"
    ends 24 raw_write "$other"
    ends 24 raw_write "$b" # another initiator port by the same transport
    works sg_raw --request=512 "$other" 28 00 00 00 00 00 00 00 01 00
    ends 24 out --reserve --prout-type=1 --param-rk="$other_key" "$other"
    works out --release --prout-type=1 --param-rk="$key" "$holder"
    works raw_write "$other"
  done
}

full_status() {
  step "READ FULL STATUS names both transports' initiator ports"
  local said
  said=$(sg_persist --no-inquiry --in --read-full-status "$b") || fail "READ FULL STATUS"
  echo "$said" | tee -a /out/tools
  grep -q 'RDMA initiator port identifier' <<<"$said" || fail "no TransportID of SRP"
  grep -q 'iSCSI.*iqn.2026-11.org.lunforge:initiator' <<<"$said" || fail "no TransportID of iSCSI"
  [ "$(grep -c 'Key=0x' <<<"$said")" = 2 ] || fail "not two registrations"
}

preempt() {
  step "PREEMPT across the transports"
  works out --reserve --prout-type=6 --param-rk=0xc0 "$c" # exclusive access, registrants only
  ends 24 raw_write "$b"
  works out --preempt --prout-type=6 --param-rk=0xa0 --param-sark=0xc0 "$a"
  attention 'registrations preempted' "$c"
  says 'Key=0xa0' sg_persist --no-inquiry --in --read-reservation "$c"
  ends 24 raw_write "$c"
  works raw_write "$a"
  works out --register --param-sark=0xc1 "$c"
  works raw_write "$c" # a registrant again
  works out --preempt-abort --prout-type=6 --param-rk=0xc1 --param-sark=0xa0 "$c"
  attention 'registrations preempted' "$a"
  ends 24 raw_write "$a"
  works out --register --param-sark=0xa1 "$a"
  works out --release --prout-type=6 --param-rk=0xc1 "$c"
  attention 'reservations released' "$a"
  works out --clear --param-rk=0xa1 "$a"
  attention 'reservations preempted' "$c"
  says 'NO registered' keys "$b"
  works raw_write "$b"
}

reset_seen() {
  step "a reset by SRP is told to all others"
  local disk
  works sg_reset --no-esc --device "$a"
  for disk in "$b" "$c"; do attention 'reset' "$disk"; done
  calm "$a"
}

paths_are() { [ "$(multipath -ll | grep -c "$1")" -eq "$2" ]; }

join_paths() {
  step "one multipath device with paths of both transports"
  mkdir -p /run/multipathd
  cat >$CONF <<-END # one keyword to a line, else it is ignored
	defaults {
	  find_multipaths no
	  user_friendly_names yes
	  path_grouping_policy multibus
	  no_path_retry 30
	  polling_interval 1
	  max_polling_interval 1
	}
	blacklist {
	  devnode "^vd"
	}
	END
  multipathd
  until_ok 20 test -b $M || fail "no multipath device"
  until_ok 30 paths_are 'active ready' 3 || fail "not three paths: $(multipath -ll)"
  [ "$(multipath -ll | grep -c LUNFORGE)" = 1 ] || fail "not one device: $(multipath -ll)"
  # multipathd has times of its own for remote ports.
  times "$H0" 2 8
  times "$H1" 2 8
  multipath -ll
}

done_by() { awk '{ print $1 + $5 }' "/sys/block/${1#/dev/}/stat"; }

# goes DISK...: I/O goes to all of them.
goes() {
  local disk before
  for disk; do
    before=$(done_by "$disk")
    until_ok 10 eval "[ \"\$(done_by $disk)\" -gt $before ]" || fail "no I/O goes to $disk: $(multipath -ll)"
  done
}

# drops -I|-D LINK: what the network drops of it, from now on or no more. Links: eth1 (SRP there), iscsi.
drops() {
  if [ "$2" = iscsi ]; then
    need iptables "$1" INPUT -p tcp --sport 3260 -j DROP
    need iptables "$1" OUTPUT -p tcp --dport 3260 -j DROP
  else
    # Only this way: rxe takes a packet that is not let out for one to be sent again without end.
    need iptables "$1" INPUT -i "$2" -p udp --dport 4791 -j DROP
  fi
}

# lost LINK PATH OTHER...: its path goes faulty, I/O goes on by the others, and the path comes back with the link.
lost() {
  local link=$1 path=$2 from=$SECONDS
  shift 2
  drops -I "$link"
  until_ok 60 paths_are 'failed faulty' 1 || fail "no path goes faulty: $(multipath -ll)"
  step "$link is lost, and its path faulty after $((SECONDS - from)) s"
  multipath -ll | grep "${path#/dev/} .*failed faulty" || fail "another path has gone: $(multipath -ll)"
  goes "$@"
  from=$SECONDS
  drops -D "$link"
  until_ok 90 paths_are 'active ready' 3 || fail "the path does not come back: $(multipath -ll; dmesg | tail -5)"
  step "$link is back, and its path after $((SECONDS - from)) s"
  goes "$path"
}

lose_links() {
  step "links are lost under verified I/O"
  local io
  need mkfs.ext4 -q $M
  need mount $M /mnt
  need cp -r /etc /mnt
  fio --name=paths --filename=/mnt/data --size=12M --bs=16k --iodepth=8 --ioengine=libaio --direct=1 --eta=never \
    --rw=randwrite --time_based --runtime=280 --verify=crc32c --verify_backlog=64 --verify_fatal=1 --output=/out/fio-paths &
  io=$!
  sleep 1
  goes "$A" "$B" "$C"
  lost eth1 "$B" "$A" "$C"
  lost iscsi "$C" "$A" "$B"
  kill -INT $io
  wait $io
  grep -q 'err= 0' /out/fio-paths || fail "fio lost I/O: $(cat /out/fio-paths)"
  grep -E 'IOPS|err=' /out/fio-paths
}

whole() {
  step "nothing is corrupted"
  sync
  need diff -r --no-dereference /etc /mnt/etc
  need umount /mnt
  need e2fsck -fn $M
}

leave() {
  step "logout"
  multipathd shutdown >/dev/null
  until_ok 10 eval '! pidof multipathd'
  until_ok 10 multipath -F || fail "the multipath device stays in use"
  need iscsiadm -m node -u >>/out/login
  log_out "$H0"
  log_out "$H1"
  signal left
}

soft_roce
if [ "$NODE" = 1 ]; then
  serve_until_done
else
  modprobe -a sg dm_multipath
  await serves
  enter
  reserve
  full_status
  preempt
  reset_seen
  join_paths
  lose_links
  whole
  leave
fi
