# Sourced by the scripts of tests/ that need one disk behind two target ports: the
# example two_ports as target, the kernel's initiator under two names.
# shellcheck shell=bash

[ "$NODE" = 1 ] || exit 0 # one machine is enough

IQN=iqn.2026-11.org.example
PORTALS=(10.77.0.1:3260 10.77.1.1:3260) # of $IQN:a and $IQN:b

# start_target: anew, over the disk and the reservations that are there.
start_target() {
  local answer
  [ -e /tmp/two_ports ] || cp /share/two_ports /tmp/two_ports # not over 9p while it runs
  [ -e /tmp/disk.img ] || truncate -s 256M /tmp/disk.img
  coproc TARGET { exec /tmp/two_ports /tmp/disk.img "${PORTALS[@]}" --pr-file /tmp/reservations 2>>/out/target.err; }
  read -r -t 30 answer <&"${TARGET[0]}" && [ "$answer" = ready ] || fail "no target: $(tail -3 /out/target.err)"
}

# ask COMMAND: have the target do it, see two_ports.rs.
ask() {
  local answer
  echo "$*" >&"${TARGET[1]}"
  read -r -t 30 answer <&"${TARGET[0]}" && [ "$answer" = ok ] || fail "$*: ${answer:-no answer}"
}

# kill_target: without a last word, as by a power cut.
kill_target() {
  kill -KILL "$TARGET_PID"
  wait "$TARGET_PID" 2>/dev/null
}

stop_target() {
  local pid=$TARGET_PID
  ask quit
  wait "$pid" || fail "the target left with status $?"
}

# login INITIATOR PORT...: initiator one or two, ports a and b.
login() {
  local name=$1 port portal setting
  shift
  for port; do
    portal=${PORTALS[0]}
    [ "$port" = a ] || portal=${PORTALS[1]}
    need iscsiadm -m node -o new -T "$IQN:$port" -p "$portal" -I "$name"
    # A dead path is noticed within seconds.
    for setting in conn[0].timeo.noop_out_interval=1 conn[0].timeo.noop_out_timeout=2 \
      session.timeo.replacement_timeout=3; do
      need iscsiadm -m node -T "$IQN:$port" -I "$name" -o update -n "node.${setting%=*}" -v "${setting#*=}"
    done
    need iscsiadm -m node -T "$IQN:$port" -I "$name" -l
    until_ok 20 disk "$name" "$port" || fail "$name sees no disk behind $port"
  done >>/out/login
  udevadm settle
}

# initiators: the daemon and an interface for each name.
initiators() {
  local name
  modprobe -a iscsi_tcp sd_mod sg
  echo "InitiatorName=$IQN:unused" >/etc/iscsi/initiatorname.iscsi
  iscsid
  for name in one two; do
    need iscsiadm -m iface -I "$name" -o new
    need iscsiadm -m iface -I "$name" -o update -n iface.initiatorname -v "$IQN:$name"
  done >>/out/login
}

# disk INITIATOR PORT: its block device as seen by this initiator through this port.
disk() {
  local session device
  for session in /sys/class/iscsi_session/session*; do
    [ "$(cat "$session/targetname") $(cat "$session/initiatorname")" = "$IQN:$2 $IQN:$1" ] || continue
    for device in "$session"/device/target*/*/block/*; do
      [ -b "/dev/${device##*/}" ] && echo "/dev/${device##*/}" && return
    done
  done
  return 1
}
