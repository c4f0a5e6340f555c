# What InfiniBand has of SRP, as far as soft-RoCE shows it: device management, and the want of a service id. And an RDMA
# device that goes away under an SRP session and comes back: the target's listener too.
#
#   vm-run.sh -i 2 -m 1024 -s FOLDER tests/srp-device.sh     FOLDER: the binary lunforge, the example infiniband
#
# rxe cannot take a device away from a process that has it open: its removal ends only
# when the target has let go of all. rxe1 is there since rdma-core does not look
# whether devices are gone while it sees none at all.
# shellcheck shell=bash

step "soft-RoCE"
modprobe -a rdma_rxe rdma_cm rdma_ucm ib_uverbs ib_umad sd_mod
need rdma link add rxe0 type rxe netdev eth0
need rdma link add rxe1 type rxe netdev eth1
need cp /share/lunforge /share/infiniband /tmp
udevadm settle

step "device management"
need mkfifo /tmp/end
/tmp/infiniband 5555 0x0000000000000abc00feed0000000001 --roce </tmp/end >/out/infiniband 2>&1 &
unit=$!
exec 9>/tmp/end
until_ok 20 grep -q ready /out/infiniband || fail "no unit: $(cat /out/infiniband)"
need grep 'no RDMA device has an InfiniBand port' /out/infiniband
# A reader apart from the target: requests from queue pair 1 of the port to itself.
cat >/tmp/reader.py <<'READER'
import fcntl, os, select, struct

DM, GET, SET, RESP = 6, 1, 2, 0x81
fd = os.open("/dev/infiniband/umad0", os.O_RDWR)
fcntl.ioctl(fd, 0x1B03, 0)
agent = bytearray(struct.pack("=IIBBHIQQIB3x", 0, 1, DM, 1, 0, 0, 0, 0, 0, 0))
fcntl.ioctl(fd, 0xC0281B04, agent)
agent = struct.unpack_from("=I", agent)[0]
# IPv6: the kernel does not know an answer by IPv4 for one, as its header has the addresses elsewhere.
gid = open("/sys/class/infiniband/rxe0/ports/1/gids/0").read().strip()
gid = bytes.fromhex(gid.replace(":", ""))


def ask(attribute, modifier=0, method=GET):
    mad = struct.pack(">BBBBHHQHHI", 1, DM, 1, method, 0, 0, 0x1234, attribute, 0, modifier) + bytes(232)
    head = struct.pack("=IIIII", agent, 0, 2000, 3, 0)
    head += struct.pack(">IIHBBBBBB16sI", 1, 0x80010000, 0, 0, 0, 1, 0, 64, 0, gid, 0) + bytes(8)
    os.write(fd, head + mad)
    assert select.select([fd], [], [], 10)[0], "no answer"
    answer = os.read(fd, 320)
    assert struct.unpack_from("=I", answer, 4)[0] == 0, "nobody answers"
    kind, status, got = struct.unpack_from(">xxxBH10xH", answer, 64)
    assert (kind, got) == (RESP, attribute), (kind, got)
    return status, answer[128:]


status, data = ask(0x01)
assert status == 0 and data[:2] == b"\1\1"
status, data = ask(0x10)
assert (status, data[2], data[4] >> 4) == (0, 1, 1)
status, data = ask(0x11, 1)
assert (status, data[:8].hex(), data[54]) == (0, "00feed0000000001", 1)
assert data[28:36].hex() == "0100609e01080001" and data[64:73] == b"Lunforge\0"
status, data = ask(0x12, 1 << 16)
assert (status, data[:25]) == (0, b"SRP.T10:0000000000000abc\0")
assert data[40:48].hex() == "00000000013f15b3"
assert ask(0x11, 2)[0] == 0x100 and ask(0x11, 0)[0] == 0x1C and ask(0x20)[0] == 0xC
assert ask(0x01, method=SET)[0] == 0xC
# The port says of itself what only a module of the kernel may change: it has no device management.
assert int(open("/sys/class/infiniband/rxe0/ports/1/cap_mask").read(), 16) & 1 << 19 == 0
READER
need python3 /tmp/reader.py
# Who comes second is told that there is somebody.
/tmp/infiniband 5556 0x0000000000000abc00feed0000000001 --roce </dev/null >/out/second 2>&1 && fail "two of them"
need grep '"umad0"' /out/second
exec 9>&-
need wait "$unit"

step "the target"
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

step "its port fails"
ip link set eth0 down
until_ok 20 grep -q 'RDMA: a port is down device=rxe0' /out/srp.log || fail "nothing is told"
ip link set eth0 up

step "the end"
kill "$target"
need wait "$target"
cat /out/srp.log
