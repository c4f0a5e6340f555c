# An RDMA device goes away under an SRP session and comes back: the target's listener too.
#
#   vm-run.sh -i 2 -m 1024 -s FOLDER tests/srp-device.sh     FOLDER: the binary lunforge
#
# rxe cannot take a device away from a process that has it open: its removal ends only
# when the target has let go of all. rxe1 is there since rdma-core does not look
# whether devices are gone while it sees none at all.
# shellcheck shell=bash

step "soft-RoCE"
modprobe -a rdma_rxe rdma_cm rdma_ucm ib_uverbs sd_mod
need rdma link add rxe0 type rxe netdev eth0
need rdma link add rxe1 type rxe netdev eth1
need cp /share/lunforge /tmp
udevadm settle
: >/tmp/told
/tmp/lunforge export /tmp/srp.img --size 64M --srp 10.77.0.1:5555 >/tmp/told 2>/out/srp.log &
target=$!
until_ok 60 grep -q '^id_ext=' /tmp/told || fail "no target: $(cat /out/srp.log)"

# attach: the initiator logs in; sets disk.
attach() {
  need eval "cat /tmp/told >/sys/class/infiniband_srp/srp-rxe0-1/add_target"
  until_ok 20 eval "lsscsi | grep -q LUNFORGE" || fail "no disk"
  udevadm settle
  disk=$(lsscsi | awk '/LUNFORGE/ { print $NF; exit }')
}

need modprobe ib_srp never_register=1
attach
need dd if=/dev/urandom of=/tmp/data bs=64k count=16 status=none
need dd if=/tmp/data of="$disk" bs=64k oflag=direct status=none

step "the device goes away"
need timeout 60 rdma link delete rxe0
until_ok 30 eval "! lsscsi | grep -q LUNFORGE" || fail "the disk is still there"
need kill -0 "$target"

step "and comes back"
need rdma link add rxe0 type rxe netdev eth0
until_ok 20 grep -q 'listens again' /out/srp.log || fail "nobody listens"
until_ok 20 test -e /sys/class/infiniband_srp/srp-rxe0-1/add_target || fail "no initiator"
attach
need dd if="$disk" of=/tmp/back bs=64k count=16 iflag=direct status=none
need cmp /tmp/data /tmp/back

step "the end"
kill "$target"
need wait "$target"
cat /out/srp.log
