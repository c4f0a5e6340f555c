# A configuration with targets of iSCSI and SRP over one disk under the kernel's initiators:
# groups by address and by port, a reservation that holds over both, changes of the
# target under a session, what is told of sessions, a reload. Confined, as another user.
# never_register: see srp.sh.
#
#   vm-run.sh -m 1024 -s FOLDER-WITH-THE-BINARIES tests/srp-serve.sh
# shellcheck shell=bash

port=5555
rdma=/sys/class/infiniband/rxe0
IQN=iqn.2026-11.org.example:both
export PATH=/tmp/bin:$PATH

quietly() { "$@" >>/out/tools 2>&1; }

# serve: what the configuration says, as nobody; sets target.
serve() {
  lunforge serve --config /tmp/etc/scst.conf --state /tmp/state --user 65534:65534 >>/out/serve.log 2>&1 &
  target=$!
  until_ok 60 lunforge status || fail "no target: $(cat /out/serve.log)"
}

# attach OPTIONS: one more initiator port, by what the target tells.
attach() {
  local info
  info=$(lunforge get "$TARGET" login_info | grep "dest=10.77.0.1:$port")
  need eval "echo '$info$1' >/sys/class/infiniband_srp/srp-rxe0-1/add_target"
}

# disk NUMBER [HOST]: the disk that is this LUN by SRP.
disk() { lsscsi | awk -v lun="$1" '/LUNFORGE|SCST/ && $1 ~ ":" lun "]$" { print $NF }' | grep /dev/ | head -1; }
has_luns() { [ "$(lsscsi | grep -E 'LUNFORGE|SCST' | grep -o '[0-9]*]' | tr -d ]'\n')" = "$1" ]; }
sessions() { [ "$(lunforge sessions --json | grep -c '"driver": *"ib_srpt"')" -eq "$1" ]; }

step "soft-RoCE and iSCSI"
modprobe -a rdma_rxe rdma_cm rdma_ucm ib_uverbs sd_mod scsi_dh_alua iscsi_tcp
need rdma link add rxe0 type rxe netdev eth0
need test -e $rdma
gid=$(cat $rdma/ports/1/gids/0)
guid=$(tr -d : <$rdma/node_guid)
TARGET=targets/ib_srpt/$gid
mkdir -p /tmp/bin /tmp/etc /tmp/state
cp /share/lunforge /share/scstadmin /tmp/bin/ # not over 9p while they run
truncate -s 64M /tmp/etc/both.img
truncate -s 32M /tmp/etc/other.img
udevadm settle

step "an enabled target and no listener"
cat >/tmp/etc/scst.conf <<END
HANDLER vdisk_fileio {
	DEVICE both {
		filename /tmp/etc/both.img
	}
	DEVICE other {
		filename /tmp/etc/other.img
	}
}
TARGET_DRIVER iscsi {
	enabled 1
	TARGET $IQN {
		enabled 1
		LUN 0 both
	}
}
TARGET_DRIVER ib_srpt {
	TARGET $gid {
		enabled 1
		LUN 0 both
		GROUP others {
			LUN 5 other
			INITIATOR 0x0000000000000abc*
		}
		GROUP mine {
			LUN 0 both
			LUN 1 other
			INITIATOR 10.77.0.1
		}
	}
}
END
chown -R 65534:65534 /tmp/etc /tmp/state
lunforge serve --config /tmp/etc/scst.conf --state /tmp/state --user 65534:65534 2>/out/refused
(($? == 2)) || fail "not refused"
grep rdma_cm_port /out/refused || fail "it does not say what to set: $(cat /out/refused)"

step "one disk by both"
sed -i "s/^TARGET_DRIVER ib_srpt {/&\n\trdma_cm_port $port\n\tsrpt_srq_size 96\n\tuse_srq 1/" /tmp/etc/scst.conf
serve
! grep -L 'Seccomp:.2' /proc/"$target"/task/*/status | grep . || fail "not confined"
lunforge get "$TARGET"
lunforge status
# It comes back soon, and what was sent waits for it.
need modprobe ib_srp never_register=1 ch_count=2 reconnect_delay=2 fast_io_fail_tmo=60 dev_loss_tmo=300
attach
until_ok 20 has_luns 01 || fail "not the LUNs of the group: $(lsscsi)"
echo "InitiatorName=iqn.2026-11.org.example:host" >/etc/iscsi/initiatorname.iscsi
iscsid
quietly need iscsiadm -m discovery -t sendtargets -p 10.77.0.1
quietly need iscsiadm -m node -T $IQN -p 10.77.0.1 -l
until_ok 20 has_luns 010 || fail "no disk by iSCSI: $(lsscsi)"
udevadm settle
by_srp=$(disk 0)
by_iscsi=$(lsscsi -t | awk '/iqn/ { print $NF }')
need fio --name=both --filename="$by_srp" --size=8M --bsrange=4k-256k --rw=randwrite --iodepth=8 \
  --ioengine=libaio --direct=1 --eta=never --verify=crc32c --do_verify=1 --verify_fatal=1 --output=/out/fio
need cmp <(dd if="$by_srp" bs=1M count=8 iflag=direct status=none) <(dd if="$by_iscsi" bs=1M count=8 iflag=direct status=none)

step "a reservation by SRP holds for iSCSI"
need sg_persist --no-inquiry --out --register --param-sark=0x123 "$by_srp"
need sg_persist --no-inquiry --out --reserve --prout-type=1 --param-rk=0x123 "$by_srp"
! dd if=/dev/zero of="$by_iscsi" bs=4k count=1 oflag=direct 2>/dev/null || fail "iSCSI writes under a reservation"
need dd if=/dev/zero of="$by_srp" bs=4k count=1 oflag=direct
lunforge reservations
need sg_persist --no-inquiry --out --clear --param-rk=0x123 "$by_srp"
need dd if=/dev/zero of="$by_iscsi" bs=4k count=1 oflag=direct

step "another port of the initiator sees another map"
attach ,initiator_ext=0000000000000abc
until_ok 20 has_luns 0105 || fail "not the LUNs of the other group: $(lsscsi)"
lunforge sessions
until_ok 10 sessions 2 || fail "not two sessions"
scstadmin -list_sessions -driver ib_srpt >/out/sessions
cat /out/sessions
for told in 'Session: 10.77.0.1$' 'Session: 10.77.0.1_1$' 'initiator_name *10.77.0.1 ' 'ch_state *live' 'channels *2' 'req_lim ' 'req_lim_delta '; do
  grep -q "$told" /out/sessions || fail "not told of sessions: $told"
done
need eval 'lunforge top --once | grep -q both'

step "a target that is disabled is nobody's, and comes back"
fio --name=held --filename="$by_srp" --size=8M --bs=16k --rw=randread --iodepth=8 --ioengine=libaio --direct=1 \
  --time_based --runtime=8 --eta=never >/out/fio-held 2>&1 &
io=$!
sleep 1
need scstadmin -noprompt -disable_target "$gid" -driver ib_srpt
until_ok 10 sessions 0 || fail "sessions of a disabled target"
until_ok 25 eval 'dmesg | grep -q "SRP LOGIN.*REJECTED"' || fail "nobody was rejected"
dmesg | grep 'SRP LOGIN.*REJECTED' | tail -1
need scstadmin -noprompt -enable_target "$gid" -driver ib_srpt
until_ok 30 sessions 2 || fail "the initiator does not come back"
need wait "$io"

step "who names the service gets the target of the port"
for remote in /sys/class/srp_remote_ports/*; do echo 1 >"$remote/delete"; done
until_ok 20 sessions 0 || fail "the initiator does not go"
need eval "echo 'id_ext=$guid,ioc_guid=$guid,dest=10.77.0.1:$port' >/sys/class/infiniband_srp/srp-rxe0-1/add_target"
until_ok 20 sessions 1 || fail "nobody by the name of the service"

step "saved and applied again it is the same"
need lunforge save
cp /tmp/etc/scst.conf /out/scst.conf
need scstadmin -write_config /out/again.conf
need cmp <(sed 1d /out/again.conf) <(sed 1d /tmp/etc/scst.conf)
kill -HUP "$target"
until_ok 10 grep -q 'nothing to change' /out/serve.log || fail "a reload changes something: $(tail -3 /out/serve.log)"
sessions 1 || fail "a reload ends sessions"

step "a removed target ends its session, a reload brings it back"
need lunforge remove --recursive "$TARGET"
until_ok 10 sessions 0 || fail "the session of a removed target"
kill -HUP "$target"
until_ok 40 sessions 1 || fail "the initiator does not come back"
quietly need iscsiadm -m node -u
for remote in /sys/class/srp_remote_ports/*; do echo 1 >"$remote/delete"; done
until_ok 20 sessions 0

step "the end"
kill "$target"
need wait "$target"
cat /out/serve.log
