# The kernel's SRP initiator over soft-RoCE: login by RDMA/CM, data in every form that
# it knows, reservations, task management, the loss of the target.
#
#   vm-run.sh -m 1024 -s FOLDER tests/srp.sh     FOLDER: the example srp
#
# never_register: rxe of Linux 6.1 now and then loses a fast registration of the
# initiator ("rxe_reg_fast_mr: ... not free"), and its I/O hangs.
# shellcheck shell=bash

port=5555
rdma=/sys/class/infiniband/rxe0

step "soft-RoCE"
modprobe -a rdma_rxe rdma_cm rdma_ucm ib_uverbs sd_mod scsi_dh_alua
need rdma link add rxe0 type rxe netdev eth0
guid=$(tr -d : <$rdma/node_guid)
ulimit -l unlimited

# serve: the target, until its standard input ends.
serve() {
  rm -f /tmp/hold
  mkfifo /tmp/hold
  sleep 1000 >/tmp/hold &
  hold=$!
  /share/srp "10.77.0.1:$port" "0x$guid$guid" 64 </tmp/hold >>/out/srp.log 2>&1 &
  target=$!
  until_ok 10 eval "grep -q ready /out/srp.log" || fail "no target: $(cat /out/srp.log)"
}

# attach OPTION...: the initiator with these options; sets disk.
attach() {
  need modprobe ib_srp never_register=1 "$@"
  need eval "echo id_ext=$guid,ioc_guid=$guid,dest=10.77.0.1:$port >/sys/class/infiniband_srp/srp-rxe0-1/add_target"
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

step "the target is killed and comes back"
fio --name=loss --filename="$disk" --size=16M --bs=16k --rw=randread --iodepth=8 --ioengine=libaio --direct=1 \
  --time_based --runtime=25 --eta=never >/out/fio-loss 2>&1 &
io=$!
sleep 2
kill -9 "$target"
kill "$hold"
sleep 1
: >/out/srp.log
serve
need wait "$io"
detach

step "the end"
kill "$hold"
until_ok 10 eval "! kill -0 $target" || fail "the target does not end"
grep Counters /out/srp.log
