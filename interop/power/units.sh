# The units of the power cut, for host and guest. Each has a disk of its own: a
# flush of one would hide the missing flush of another. Source it.
# shellcheck shell=bash disable=SC2034

# What makes a write durable: nothing more than the write (through, off), FUA,
# SYNCHRONIZE CACHE; and a target that only says so (nv).
modes=(through off fua sync nv)
declare -A mode_of=(
  [through]=write-through [off]=cache-off [fua]=fua [sync]=sync [nv]=nv-cache
)
# Where: a file on ext4, a file on xfs, the disk itself.
media=(ext4 xfs raw)

# Beside these: a disk with a cache that nobody flushes, and one without a cache.
units=()
for medium in "${media[@]}"; do
  for mode in "${modes[@]}"; do units+=("$medium-$mode"); done
done
units+=(raw-volatile raw-plain)
mode_of[volatile]=volatile mode_of[plain]=write-through

# Three targets, as an export's options hold for all of its LUNs.
declare -A export_of=([through]=through [nv]=nv [off]=cached [fua]=cached [sync]=cached [volatile]=cached [plain]=cached)
exports=(through cached nv)
declare -A port_of=([through]=3260 [cached]=3261 [nv]=3262)

# lun_of UNIT: its number in its export.
lun_of() {
  local unit lun=0 name=${export_of[${1#*-}]}
  for unit in "${units[@]}"; do
    [[ ${export_of[${unit#*-}]} == "$name" ]] || continue
    [[ $unit != "$1" ]] || { echo $lun; return; }
    lun=$((lun + 1))
  done
}

iqn=iqn.2026-11.org.example
file_bytes=$((2 << 20))

all_there() { (($(find /sys/block -name 'sd*' | wc -l) == $1)); }

# In the guest: find_disks SERIAL... fills disk[SERIAL]. Without udev, whose rules take
# an emulated machine of twenty disks the better part of a minute.
declare -A disk=()
find_disks() {
  local page serial
  udevadm control --exit
  rm -f /run/udev/control # by which others believe that it runs
  modprobe -a virtio_scsi sd_mod || fail "no drivers"
  until_ok 60 all_there $# || fail "$(ls /sys/block) instead of $# disks"
  for page in /sys/block/sd*/device/vpd_pg80; do
    serial=$(tail -c +5 "$page" | tr -d '\0 ')
    page=${page#/sys/block/}
    disk[$serial]=/dev/${page%%/*}
  done
  for serial; do [ -b "${disk[$serial]:-}" ] || fail "no disk $serial"; done
}
