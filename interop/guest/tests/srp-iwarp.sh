# The kernel's SRP initiator over iWARP (siw): login by RDMA/CM, data read and written, verified, logout.
#
#   vm-run.sh -m 1024 -s FOLDER tests/srp-iwarp.sh     FOLDER: the binary lunforge, and siw.ko (siw.sh)
# shellcheck shell=bash

port=5555

step "siw"
modprobe -a ib_core rdma_cm rdma_ucm ib_uverbs libcrc32c sd_mod scsi_dh_alua
need insmod /share/siw.ko
need rdma link add siw0 type siw netdev eth0
need test -e /sys/class/infiniband/siw0
: >/out/srp.log
need cp /share/lunforge /tmp
udevadm settle

# served OPTION...: the target, an initiator with two channels, its disk under verified I/O, and the end of both.
served() {
  : >/tmp/told
  /tmp/lunforge export /tmp/srp.img --size 64M --srp "10.77.0.1:$port" "$@" >/tmp/told 2>>/out/srp.log &
  target=$!
  until_ok 60 grep -q '^id_ext=' /tmp/told || fail "no target: $(cat /out/srp.log)"
  need modprobe ib_srp ch_count=2 never_register=1
  need eval "cat /tmp/told >/sys/class/infiniband_srp/srp-siw0-1/add_target"
  until_ok 20 eval "lsscsi | grep -q LUNFORGE" || fail "no disk: $(cat /out/srp.log)"
  udevadm settle
  disk=$(lsscsi | awk '/LUNFORGE/ { print $NF; exit }')
  need fio --name=iwarp --filename="$disk" --size=8M --bsrange=4k-256k --rw=randwrite --iodepth=8 --ioengine=libaio \
    --direct=1 --eta=never --verify=crc32c --do_verify=1 --verify_fatal=1 >/out/fio
  grep -h . /sys/class/scsi_host/host*/{ch_count,req_lim} 2>/dev/null
  udevadm settle
  for remote in /sys/class/srp_remote_ports/*; do echo 1 >"$remote/delete"; done
  until_ok 20 eval '! lsscsi | grep -q LUNFORGE' || fail "the disk is still there"
  need modprobe -r ib_srp
  kill "$target"
  need wait "$target"
}

step "each channel with receive buffers of its own"
served

step "buffers that they share"
served --limit srp-shared-receives=200
dmesg | grep -iE 'siw|srp' | tail -5
cat /out/srp.log
