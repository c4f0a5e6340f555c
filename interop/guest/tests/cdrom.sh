# A CD drive under the kernel's initiator: what vcdrom serves is seen, its disc mounted,
# compared, locked, ejected, loaded, and changed while the drive is in use.
#
#   vm-run.sh -i 2 -m 1024 -s FOLDER-WITH-THE-BINARIES tests/cdrom.sh
# shellcheck shell=bash

[ "$NODE" = 1 ] || exit 0 # one machine is enough

T1=iqn.2026-11.org.example:cd
export PATH=/tmp/bin:$PATH LUNFORGE_CONTROL=/run/cd.sock

# quietly: what an operator would see goes to the results.
quietly() { "$@" >>/out/tools 2>&1; }

# set_on ARGUMENTS...: scstadmin that asks nothing.
set_on() { quietly need scstadmin -noprompt "$@"; }

serve() {
  lunforge serve --config /tmp/cd.conf --portal 10.77.0.1:3260 --control $LUNFORGE_CONTROL --confine off >/out/target 2>&1 &
  TARGET=$!
  until_ok 20 lunforge status || fail "the target does not serve: $(tail -3 /out/target)"
}

initiator() {
  modprobe -a iscsi_tcp sr_mod isofs
  echo "InitiatorName=iqn.2026-11.org.example:host" >/etc/iscsi/initiatorname.iscsi
  iscsid
  quietly need iscsiadm -m discovery -t sendtargets -p 10.77.0.1
  quietly need iscsiadm -m node -T $T1 -p 10.77.0.1 -l
}

# drive_status WANTED: what the kernel says of the drive: 1 no disc, 2 the tray is open, 4 a disc is in.
drive_status() { [ "$(cdrom_ioctl 0x5326)" = "$1" ]; }
# cdrom_ioctl NUMBER: one of linux/cdrom.h, and what it returns.
cdrom_ioctl() {
  python3 -c 'import fcntl, os, sys
print(fcntl.ioctl(os.open("/dev/sr0", os.O_RDONLY | os.O_NONBLOCK), int(sys.argv[1], 16), 0))' "$1"
}

# disc_is NAME: the medium can be mounted, and its files are those of /share/NAME.
disc_is() {
  mount -t iso9660 -o ro /dev/sr0 /mnt && diff -r "/share/$1" /mnt && umount /mnt
}

cd_drive() {
  step "a drive, a disc, another disc"
  local events
  until_ok 20 test -b /dev/sr0 || fail "no CD drive is seen"
  until_ok 10 drive_status 1 || fail "an empty drive has status $(cdrom_ioctl 0x5326)"
  echo 500 >/sys/block/sr0/events_poll_msecs
  stdbuf -oL udevadm monitor --kernel --property --subsystem-match=block >/out/events &
  events=$!
  until_ok 10 grep -q KERNEL /out/events
  udevadm settle # its rules open the drive, and an open takes the event
  set_on -set_dev_attr cd -attributes filename=/tmp/disc-a.iso
  until_ok 20 grep -q DISK_MEDIA_CHANGE=1 /out/events || fail "the kernel did not notice the medium"
  kill $events
  until_ok 10 drive_status 4 || fail "a loaded drive has status $(cdrom_ioctl 0x5326)"
  need disc_is disc-a
  # Whoever has it mounted locks it, for every initiator.
  need mount -t iso9660 -o ro /dev/sr0 /mnt
  cdrom_ioctl 0x5309 >>/out/tools # a refusal is a status and no error
  drive_status 4 || fail "a mounted disc was ejected"
  umount /mnt
  # As eject(1): udev's rules have it locked, too.
  need cdrom_ioctl 0x5329 >>/out/tools
  need cdrom_ioctl 0x5309 >>/out/tools
  drive_status 2 || fail "after an eject the status is $(cdrom_ioctl 0x5326)"
  need cdrom_ioctl 0x5319 >>/out/tools
  until_ok 10 drive_status 4 || fail "after a load the status is $(cdrom_ioctl 0x5326)"
  set_on -set_dev_attr cd -attributes filename=/tmp/disc-b.iso
  until_ok 20 disc_is disc-b || fail "the disc that took the other's place is not read"
  need grep -q "Can read DVD:[[:space:]]*1" /proc/sys/dev/cdrom/info
  sg_inq /dev/sr0 >>/out/tools
}

step "an empty drive"
mkdir -p /tmp/bin
cp /share/lunforge /share/scstadmin /tmp/bin/ # not over 9p while they run
cp /share/disc-?.iso /tmp
: >/tmp/cd.conf
serve
set_on -open_dev cd -handler vcdrom
set_on -add_target $T1 -driver iscsi
set_on -add_lun 0 -driver iscsi -target $T1 -device cd
set_on -enable_target $T1 -driver iscsi
set_on -set_drv_attr iscsi -attributes enabled=1
dmesg --clear
initiator
cd_drive
step "a restart from what was saved"
quietly need scstadmin -write_config /tmp/cd.conf
quietly need iscsiadm -m node -u
kill -TERM $TARGET
wait $TARGET || fail "the target left with status $?"
serve
quietly need iscsiadm -m node -T $T1 -p 10.77.0.1 -l
until_ok 20 disc_is disc-b || fail "the disc is not there after a restart"
dmesg >/out/dmesg
! grep -E 'Buffer I/O error|I/O error, dev' /out/dmesg || fail "the kernel saw an I/O error"
# A machine that goes down waits for a drive whose session is lost.
quietly need iscsiadm -m node -u
kill -TERM $TARGET
wait $TARGET || fail "the target left with status $?"
step "done"
