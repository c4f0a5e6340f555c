# Sourced by the scripts of tests/ that have more to do with SRP: soft-RoCE, the target, the kernel's initiator.
#
# never_register: rxe of Linux 6.1 now and then loses a fast registration of the initiator ("rxe_reg_fast_mr: ... not
# free"), and its I/O hangs. tl_retry_count: rxe takes 7, the default, for "without end".
# shellcheck shell=bash

PORT=5555
SCRAPED=127.0.0.1:9100
DRIVER=/sys/class/infiniband_srp
RDMA=rxe # what RDMA devices are called, by the card that they are on
told=/out/told

# soft_roce: an RDMA device on each card.
soft_roce() {
  local card
  modprobe -a rdma_rxe rdma_cm rdma_ucm ib_uverbs
  for card in /sys/class/net/eth*; do
    card=${card##*/eth}
    need rdma link add "rxe$card" type rxe netdev "eth$card"
  done
}

# serve CARDS ARGUMENT...: the target by these cards, confined as by default; it tells at /out/told where it is. Sets
# target.
serve() {
  local card by=()
  for card in $1; do by+=(--srp "10.77.$card.1:$PORT"); done
  shift
  [ -e /tmp/lunforge ] || need cp /share/lunforge /tmp # not over 9p while it runs
  : >$told
  LUNFORGE_LOG=${LOG:-info} /tmp/lunforge export "$@" "${by[@]}" --metrics $SCRAPED >$told 2>>/out/target.err &
  target=$!
  until_ok 60 grep -q '^id_ext=' $told || fail "no target: $(tail -3 /out/target.err)"
  ! grep -L 'Seccomp:.2' /proc/"$target"/task/*/status | grep . || fail "not confined"
}

# stop_target: it ends well, within seconds.
stop_target() {
  kill "$target"
  until_ok 20 eval "! kill -0 $target" || fail "the target does not end"
  wait "$target" || fail "the target left with status $?"
}

scrape() {
  local scraped
  exec {scraped}<>/dev/tcp/${SCRAPED/:/\/} || return
  printf 'GET /metrics HTTP/1.0\r\n\r\n' >&$scraped
  cat <&$scraped
  exec {scraped}>&-
}

# metric PATTERN: the sum of what the target counts, by the beginning of a line.
metric() { scrape | awk -v begins="^$1" '$0 ~ begins { sum += $NF } END { printf "%.0f\n", sum }'; }

# initiator OPTION...: the driver.
initiator() {
  modprobe -a sd_mod sg scsi_dh_alua
  need modprobe ib_srp never_register=1 "$@"
}

# line CARD [OPTIONS]: what is written to log in by a card.
line() { sed -n "/dest=10.77.$1.1:/s/\$/,tl_retry_count=2${2:+,$2}/p" $told; }

# log_in CARD [OPTIONS]: by this card, with these options; sets host.
log_in() {
  local before new
  before=" $(echo /sys/class/scsi_host/*) "
  line "$@" >"$DRIVER/srp-$RDMA$1-1/add_target" || fail "no login by card $1: $(dmesg | tail -3)"
  host=
  for new in /sys/class/scsi_host/*; do
    [[ $before == *" $new "* ]] || host=${new##*/}
  done
  [ -n "$host" ] || fail "no host after the login by card $1"
}

# remote HOST: its remote port.
remote() { echo /sys/class/srp_remote_ports/port-"${1#host}":1; }

# log_out HOST
log_out() {
  echo 1 >"$(remote "$1")/delete"
  until_ok 30 eval "[ ! -e /sys/class/scsi_host/$1 ]" || fail "$1 is still there"
}

# times HOST FAST_IO_FAIL RECONNECT: in seconds; the remote port never goes by itself.
times() {
  echo off >"$(remote "$1")/dev_loss_tmo"
  echo off >"$(remote "$1")/fast_io_fail_tmo"
  need eval "echo $3 >$(remote "$1")/reconnect_delay"
  need eval "echo $2 >$(remote "$1")/fast_io_fail_tmo"
}

# disk_of HOST [LUN]: its block device.
disk_of() {
  local device
  for device in /sys/class/scsi_host/"$1"/device/target*/*:"${2:-0}"/block/*; do
    [ -b "/dev/${device##*/}" ] && echo "/dev/${device##*/}" && return
  done
  return 1
}

# disk_behind HOST [LUN]: the same, waited for.
disk_behind() {
  until_ok 30 disk_of "$@" || fail "no disk behind $1"
  disk_of "$@"
}

# ends_soon PID SECONDS: a process ends.
ends_soon() { until_ok "$2" eval "! kill -0 $1"; }

# others KIND COUNT [INITIATOR]: connections of a program, srp-logins.py, by the first card; how they ended is in /tmp/ends.
others() {
  local id extension guid
  id=$(line 0)
  extension=${id#*id_ext=} guid=${id#*ioc_guid=}
  timeout 1000 python3 /share/srp-logins.py "10.77.0.1:$PORT" "${extension%%,*}" "${guid%%,*}" "$@" | tee /tmp/ends
  [ "${PIPESTATUS[0]}" = 0 ] || fail "$1: $(tail -3 /tmp/ends)"
}

# all END: each ended like this.
all() { grep -Eq "^[a-z]+( $1: [0-9]+)+ in " /tmp/ends || fail "not all were $1: $(cat /tmp/ends)"; }
