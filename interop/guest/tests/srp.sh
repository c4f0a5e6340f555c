# The kernel's SRP initiator over soft-RoCE: login by RDMA/CM, data in every form that
# it knows, reservations, task management, the loss of the target.
#
#   vm-run.sh -m 1024 -s FOLDER tests/srp.sh     FOLDER: the binary lunforge
#
# never_register: rxe of Linux 6.1 now and then loses a fast registration of the
# initiator ("rxe_reg_fast_mr: ... not free"), and its I/O hangs.
# shellcheck shell=bash

port=5555
rdma=/sys/class/infiniband/rxe0

step "soft-RoCE"
modprobe -a rdma_rxe rdma_cm rdma_ucm ib_uverbs sd_mod scsi_dh_alua
need rdma link add rxe0 type rxe netdev eth0
need test -e $rdma
: >/out/srp.log
# It starts itself, and the shared folder is slow.
need cp /share/lunforge /tmp
udevadm settle

# serve OPTION...: the target, confined as by default; sets target.
serve() {
  : >/tmp/told
  /tmp/lunforge export /tmp/srp.img --size 64M --srp "10.77.0.1:$port" "$@" >/tmp/told 2>>/out/srp.log &
  target=$!
  until_ok 60 grep -q '^id_ext=' /tmp/told || fail "no target: $(cat /out/srp.log)"
  # Every thread has the filter of system calls.
  ! grep -L 'Seccomp:.2' /proc/"$target"/task/*/status | grep . || fail "not confined"
}

# attach OPTION...: the initiator with these options; sets disk.
attach() {
  need modprobe ib_srp never_register=1 "$@"
  need eval "cat /tmp/told >/sys/class/infiniband_srp/srp-rxe0-1/add_target"
  until_ok 20 eval "lsscsi | grep -q LUNFORGE" || fail "no disk"
  udevadm settle
  disk=$(lsscsi | awk '/LUNFORGE/ { print $NF; exit }')
}

detach() {
  udevadm settle
  for remote in /sys/class/srp_remote_ports/*; do echo 1 >"$remote/delete"; done
  until_ok 20 eval '! lsscsi | grep -q LUNFORGE' || fail "the disk is still there"
  need modprobe -r ib_srp
}

# verified NAME: writes, reads back and compares.
verified() {
  need fio --name="$1" --filename="$disk" --size=16M --bsrange=4k-256k --rw=randwrite --iodepth=8 \
    --ioengine=libaio --direct=1 --eta=never --verify=crc32c --do_verify=1 --verify_fatal=1 >"/out/fio-$1"
}

step "an address without an RDMA device"
/tmp/lunforge export /tmp/none.img --size 1M --srp "192.0.2.1:$port" 2>/out/none
(($? == 2)) || fail "not refused"
cat /out/none
[ ! -e /tmp/none.img ] || fail "a file was left behind"

serve
step "two channels, immediate data"
attach ch_count=2
grep -qx 2 /sys/class/scsi_host/host*/ch_count || fail "not two channels"
dmesg | grep -q 'ib_srp: using immediate data' || fail "no immediate data"
verified immediate
need mkfs.ext4 -q "$disk"
need mount "$disk" /mnt
need cp -r /etc /mnt
sync
need diff -r --no-dereference /etc /mnt/etc
umount /mnt
need e2fsck -fn "$disk"

step "reservations by the initiator port"
need sg_persist --no-inquiry --out --register --param-sark=0x123 "$disk"
need sg_persist --no-inquiry --out --reserve --prout-type=1 --param-rk=0x123 "$disk"
sg_persist --no-inquiry --in --read-full-status "$disk" | grep -q 'RDMA initiator port identifier' || fail "no TransportID of SRP"
need dd if=/dev/zero of="$disk" bs=4k count=1 oflag=direct
need sg_persist --no-inquiry --out --clear --param-rk=0x123 "$disk"

step "a reset under I/O"
fio --name=reset --filename="$disk" --size=16M --bs=16k --rw=randread --iodepth=16 --ioengine=libaio --direct=1 \
  --time_based --runtime=6 --eta=never >/out/fio-reset 2>&1 &
io=$!
sleep 2
need sg_reset -d "$disk"
need wait "$io"
detach

step "one channel, no immediate data, tables of descriptors in memory"
attach ch_count=1 use_imm_data=0 cmd_sg_entries=2 indirect_sg_entries=256 allow_ext_sg=1
verified tables

step "the target is killed and comes back as another user, by iSCSI too"
fio --name=loss --filename="$disk" --size=16M --bs=16k --rw=randread --iodepth=8 --ioengine=libaio --direct=1 \
  --time_based --runtime=25 --eta=never >/out/fio-loss 2>&1 &
io=$!
sleep 2
kill -9 "$target"
sleep 1
serve --user 65534:65534 --portal 10.77.0.1:3260
need grep -q '^iscsi://10.77.0.1:3260/.*/0$' /tmp/told
need eval ": </dev/tcp/10.77.0.1/3260"
need wait "$io"
detach

step "the end"
kill "$target"
need wait "$target"
cat /out/srp.log
