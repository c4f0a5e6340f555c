# What Linux' tools make of our disk, behind two target ports: sg3_utils, ddpt; and
# the reservations of two initiators. Outputs are checked for what they say.
#
#   vm-run.sh -i 2 -m 1024 -s FOLDER tests/scsi.sh     FOLDER: two_ports, two-ports.sh
# shellcheck shell=bash

. /share/two-ports.sh

# fill CHARACTER BLOCKS: that many blocks of it.
fill() { head -c $(($2 * 512)) /dev/zero | tr '\0' "$1"; }

# put LBA BLOCKS CHARACTER, holds LBA BLOCKS CHARACTER: written and read back by the
# kernel, past its cache.
put() {
  fill "$3" "$2" >/tmp/put
  need dd if=/tmp/put of="$A" bs=$(($2 * 512)) seek=$(($1 * 512)) oflag=direct,seek_bytes conv=notrunc status=none
}
holds() {
  fill "$3" "$2" >/tmp/wanted
  dd if="$A" of=/tmp/held bs=$(($2 * 512)) skip=$(($1 * 512)) iflag=direct,skip_bytes count=1 status=none
  cmp -s /tmp/wanted /tmp/held ||
    fail "the $2 blocks from LBA $1 do not hold '$3'"
}

inquiry() {
  step "inquiry: every page, the same unit on both paths"
  local page
  says 'TPGS=[13].* 3PC=1' sg_inq "$a"
  says 'CmdQue=1' sg_inq "$a"
  for page in $(sg_vpd --raw --page=sv "$a" | od -An -v -tx1 -w1 -j4); do
    works sg_vpd --page="0x$page" "$a"
    [ "$page" = 83 ] || cmp -s <(sg_vpd --raw --page="0x$page" "$a") <(sg_vpd --raw --page="0x$page" "$b") ||
      fail "VPD page $page differs between the paths"
  done
  for page in sn di ei tpc bl bdc lbpv; do works sg_vpd --page=$page "$a"; done
  cmp -s <(sg_vpd --page=di_lu "$a") <(sg_vpd --page=di_lu "$b") || fail "the paths name different units"
  says 'Relative target port: 0x1' sg_vpd --page=di_port "$a"
  says 'Relative target port: 0x2' sg_vpd --page=di_port "$b"
  says 'Target port group: 0x1' sg_vpd --page=di_port "$a"
  says 'Target port group: 0x2' sg_vpd --page=di_port "$b"
  says "$IQN:b,t,0x0002" sg_vpd --page=di_port "$b"
  says 'Lun list length = 8 ' sg_luns "$a"
  says 'Last LBA=524287' sg_readcap --16 "$a"
  says 'lbpme=1, lbprz=1' sg_readcap --16 "$a"
}

# What the rest of this script sends has to be announced.
commands() {
  step "supported commands and functions"
  local opcode
  works sg_opcodes "$a"
  works sg_opcodes --rctd "$a"
  for opcode in 0x00 0x03 0x04 0x12 0x15 0x1a 0x1b 0x1d 0x25 0x28 0x2a 0x2e 0x2f 0x34 0x35 0x3b 0x3c 0x41 0x42 0x48,1 0x4d \
    0x55 0x5a 0x5e,0 0x5e,1 0x5e,2 0x5e,3 0x5f,0 0x5f,1 0x5f,2 0x5f,3 0x5f,4 0x5f,5 0x5f,6 0x5f,7 0x83,0 0x84,3 \
    0x88 0x89 0x8a 0x8b 0x8e 0x8f 0x90 0x91 0x93 0x9e,0x10 0x9e,0x12 0xa0 0xa3,5 0xa3,0xa 0xa3,0xc 0xa3,0xd 0xa3,0xf \
    0xa4,6 0xa4,0xf; do
    says 'is supported .conforming to' sg_opcodes --opcode=$opcode "$a"
  done
  says 'Abort task' sg_opcodes --tmf "$a"
}

# control BYTE: D_SENSE of the control mode page becomes as in BYTE 2.
control() {
  local zeros=0,0,0,0,0,0,0,0,0
  works sg_wr_mode --page=a --contents=a,a,"$1",$zeros --mask=0,0,4,$zeros "$a"
}

sense_is() { refused "$1 format, current; Sense key: Illegal Request" sg_raw --request=512 "$a" 28 00 ff ff ff ff 00 00 01 00; }

pages() {
  step "log pages, mode pages"
  local page
  for page in $(sg_logs --raw --page=0 "$a" | od -An -v -tx1 -w1 -j4); do works sg_logs --page="0x$page" "$a"; done
  works sg_logs --all "$a"
  works sg_modes --all "$a"
  works sg_modes --six --all "$a"
  # The sense data changes its form with D_SENSE, and back.
  sense_is Fixed
  control 4
  sense_is Descriptor
  control 0
  sense_is Fixed
  # The other nexuses are told.
  attention 'Mode parameters changed' "$b"
}

buffers() {
  step "buffers, clock, name, diagnostics"
  head -c 512 /dev/urandom >/tmp/echo
  works sg_write_buffer --mode=echo --in=/tmp/echo "$a"
  works sg_raw --request=512 --outfile=/tmp/echoed "$a" 3c 0a 00 00 00 00 00 02 00 00
  cmp /tmp/echo /tmp/echoed || fail "the echo buffer gave back something else"
  says 'Success' sg_test_rwbuf --size=4096 --times=3 "$a"
  works sg_timestamp --seconds=1700000000 "$a"
  says '^17000000[0-9]+$' sg_timestamp --srep "$a"
  attention 'Timestamp changed' "$b"
  printf 'lab disk 7' | works sg_ident --set "$a"
  attention 'Device identifier changed' "$b"
  says 'lab disk 7' sg_ident --ascii "$b"
  works sg_ident --clear "$a"
  works sg_senddiag --test "$a"
  works sg_senddiag --selftest=5 "$a"
  works sg_senddiag --list "$a"
}

medium() {
  step "writing, comparing, verifying"
  put 0 64 a
  fill b 1 >/tmp/b
  works sg_write_same --10 --in=/tmp/b --lba=8 --num=8 "$a"
  works sg_write_same --16 --in=/tmp/b --lba=16 --num=8 "$a"
  holds 0 8 a
  holds 8 16 b
  holds 24 40 a
  { fill b 1; fill c 1; } >/tmp/bc
  works sg_compare_and_write --in=/tmp/bc --lba=8 "$a"
  holds 8 1 c
  ends 14 sg_compare_and_write --in=/tmp/bc --lba=8 "$a"
  holds 8 1 c
  holds 9 1 b
  works sg_verify --lba=0 --count=64 "$a"
  works sg_verify --ndo=512 --ebytchk=1 --in=/tmp/b --lba=9 --count=1 "$a"
  ends 14 sg_verify --ndo=512 --ebytchk=1 --in=/tmp/b --lba=0 --count=1 "$a"
  works sg_verify --16 --ndo=512 --ebytchk=3 --in=/tmp/b --lba=9 --count=15 "$a"
  fill A 1 >/tmp/A
  works sg_write_x --or --in=/tmp/A --lba=9 --num=1 "$a" # 41h into 62h
  holds 9 1 c
  works sg_write_same --10 --in=/tmp/b --lba=9 --num=1 "$a"
  ends 25 sg_seek --pre-fetch --lba=0 --num-blocks=64 "$a" # condition met
  works sg_write_verify --in=/tmp/b --lba=0 --num=1 "$a"
  holds 0 1 b
  works sg_sync "$a"
  works sg_sync --16 "$a"
}

thin() {
  step "unmap"
  put 4096 4096 d
  says 'LBA: 0x0*1000 +blocks: 4096|0x0*1000.* mapped' sg_get_lba_status --lba=4096 "$a"
  works sg_unmap --force --lba=4096 --num=1024 "$a"
  works sg_write_same --16 --unmap --lba=6144 --num=1024 "$a"
  holds 4096 1024 '\0'
  holds 5120 1024 d
  holds 6144 1024 '\0'
  holds 7168 1024 d
  says 'deallocated' sg_get_lba_status --lba=4096 "$a"
}

copy() {
  step "third-party copy, over either port"
  put 16384 2048 e
  works sg_copy_results --params "$a"
  works sg_xcopy if="$a" of="$a" bs=512 skip=16384 seek=20480 count=2048
  holds 20480 2048 e
  works sg_xcopy if="$a" of="$b" bs=512 skip=16384 seek=24576 count=2048
  holds 24576 2048 e
  works ddpt if="$a" of="$b" bs=512 iflag=xcopy skip=16384 seek=28672 count=1024
  holds 28672 1024 e
}

# One path resets, stops, formats; the other has to be told.
unit() {
  step "power, reset, format, sanitize"
  works sg_turs --number=20 "$a"
  works sg_requests "$a"
  works sg_start --stop "$a"
  works sg_start --start "$a"
  works sg_reset --device --no-esc "$a"
  calm "$a"
  attention 'reset occurred|reset function occurred' "$b"
  put 0 8 f
  works sg_format --format --quick --wait "$a"
  calm "$a" "$b"
  holds 0 8 '\0'
  put 0 8 f
  works sg_sanitize --overwrite --zero --quick --wait "$a"
  calm "$a" "$b"
  holds 0 8 '\0'
  put 0 8 f
  works sg_sanitize --block --quick --wait "$a"
  calm "$a" "$b" "$r"
  holds 0 8 '\0'
}

# Below, a and r are the two competitors: initiator one through port a, two through b.
out() { sg_persist --no-inquiry --out "$@"; }
in_() { sg_persist --no-inquiry --in "$@"; }

# may READ WRITE DISK: 0 for yes, 24 for no.
may() {
  ends "$1" sg_raw --request=512 --outfile=/tmp/read "$3" 28 00 00 00 00 00 00 00 01 00
  ends "$2" sg_write_same --10 --in=/tmp/b --lba=40 --num=1 "$3"
}

# Who may do what under each type: SPC-4 table 50.
reservation_types() {
  step "persistent reservations: every type"
  local type other registered
  works out --register --param-sark=a1 "$a"
  says 'Replace Lost|Type Mask Valid' in_ --report-capabilities "$a"
  for type in 1 3 5 6 7 8; do
    other='0 24' registered='0 24'
    case $type in [368]) other='24 24' registered='24 24' ;; esac
    [ $type -lt 5 ] || registered='0 0'
    works out --reserve --param-rk=a1 --prout-type=$type "$a"
    may 0 0 "$a"
    may $other "$r"
    works out --register --param-sark=b2 "$r"
    may $registered "$r"
    works out --register --param-rk=b2 --param-sark=0 "$r"
    works out --release --param-rk=a1 --prout-type=$type "$a"
    may 0 0 "$r"
  done
  works out --clear --param-rk=a1 "$a"
  says 'NO registered' in_ --read-keys "$a"
}

# id DISK: the TransportID of the nexus that has registered c3, as the target shows it.
id() { in_ --read-full-status "$a" | awk '/Key=/ { mine = /0xc3/ } mine && /unique port id:/ { print $NF }'; }

preempt_and_move() {
  step "preempt, move, all ports"
  local two
  works out --register --param-sark=a1 "$a"
  works out --register --param-sark=c3 "$r"
  works out --reserve --param-rk=a1 --prout-type=1 "$a"
  two=$(id)
  works out --register-move --param-rk=a1 --param-sark=c3 --unreg --relative-target-port=2 --transport-id="$two" "$a"
  says 'Key=0xc3' in_ --read-reservation "$a"
  says '1 registered' in_ --read-keys "$a"
  may 0 24 "$a"
  may 0 0 "$r"
  works out --register-ignore --param-sark=a1 "$a"
  works out --preempt --param-rk=a1 --param-sark=c3 --prout-type=3 "$a"
  says 'Key=0xa1' in_ --read-reservation "$a"
  attention 'preempted' "$r"
  may 24 24 "$r"
  works out --clear --param-rk=a1 "$a"
  # Registered for others, and through all ports.
  works out --register --param-sark=d4 --transport-id="$two" "$a"
  says '2 registered' in_ --read-keys "$a"
  works out --clear --param-rk=d4 "$a"
  works out --register --param-alltgpt --param-sark=d4 "$a"
  says 'All target ports bit set|Relative port address: 0x2' in_ --read-full-status "$a"
  works out --clear --param-rk=d4 "$a"
  calm "$a" "$b" "$r"
}

# A target that dies and comes back still knows who may write.
through_power_loss() {
  step "reservation kept through a power loss"
  works out --register --param-aptpl --param-sark=a1 "$a"
  works out --reserve --param-rk=a1 --prout-type=1 "$a"
  put 48 8 g
  kill_target
  start_target
  until_ok 60 sg_turs "$a" || fail "no way back to the unit"
  calm "$r"
  says 'Key=0xa1' in_ --read-reservation "$r"
  may 0 24 "$r"
  may 0 0 "$a"
  holds 48 8 g
  works out --clear --param-rk=a1 "$a"
}

reserve_6() {
  step "reservations of SPC-2"
  works sg_raw "$a" 16 00 00 00 00 00
  may 24 24 "$r"
  ends 24 sg_raw "$r" 16 00 00 00 00 00
  works sg_raw "$a" 17 00 00 00 00 00
  may 0 0 "$r"
}

# The kernel's alua handler would keep unit attentions to itself.
echo install scsi_dh_alua /bin/false >/etc/modprobe.d/no-alua.conf
start_target
initiators
step "login: initiator one through both ports, two through b"
login one a b
login two b
A=$(disk one a) B=$(disk one b) R=$(disk two b)
a=$(generic "$A") b=$(generic "$B") r=$(generic "$R")
# As would udev, which looks at a disk whenever something happens to it.
udevadm control --exit
calm "$a" "$b" "$r"
inquiry
commands
pages
buffers
medium
thin
copy
unit
reservation_types
preempt_and_move
through_power_loss
reserve_6
step "logout"
need iscsiadm -m node -u >>/out/login
stop_target
step "done"
