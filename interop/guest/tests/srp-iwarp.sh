# The kernel's SRP initiator over iWARP (siw): login by RDMA/CM, data read and written, verified, logout.
#
#   vm-run.sh -m 1024 -s FOLDER tests/srp-iwarp.sh     FOLDER: the binary lunforge, srp-lib.sh, and siw.ko (siw.sh)
# shellcheck shell=bash

# shellcheck source=../srp-lib.sh
. /share/srp-lib.sh
RDMA=siw

step "siw"
modprobe -a ib_core rdma_cm rdma_ucm ib_uverbs libcrc32c
need insmod /share/siw.ko
need rdma link add siw0 type siw netdev eth0
need test -e /sys/class/infiniband/siw0

# served OPTION...: the target, an initiator with two channels, its disk under verified I/O, and the end of both.
served() {
  serve 0 /tmp/srp.img --size 64M "$@"
  initiator ch_count=2
  log_in 0
  need fio --name=iwarp --filename="$(disk_behind "$host")" --size=8M --bsrange=4k-256k --rw=randwrite --iodepth=8 \
    --ioengine=libaio --direct=1 --eta=never --verify=crc32c --do_verify=1 --verify_fatal=1 >/out/fio
  grep -qx 2 "/sys/class/scsi_host/$host/ch_count" || fail "not two channels"
  udevadm settle
  log_out "$host"
  need modprobe -r ib_srp
  stop_target
}

step "each channel with receive buffers of its own"
served

step "buffers that they share"
served --limit srp-shared-receives=200
dmesg | grep -iE 'siw|srp' | tail -5
cat /out/target.err
