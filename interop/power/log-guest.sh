# In the guest: targets over devices whose writes, flushes and FUA dm-log-writes
# records, and an initiator that marks in those logs what was acknowledged. SECONDS_OF_LOAD
# seconds of writes; the logs are on disks of their own, which the host reads later.
# shellcheck shell=bash source=log-units.sh
. /share/log-units.sh

# A file system is made on the logged device: the log then holds all of it.
make_logged() {
  local unit=$1 sectors
  sectors=$(blockdev --getsz "${disk[$unit]}")
  need dmsetup create "$unit" --table "0 $sectors log-writes ${disk[$unit]} ${disk[$unit-log]}"
  [[ $unit == ext4-* ]] || return 0
  need mke2fs -q -t ext4 -b 1024 -J size=1 -E lazy_itable_init=0,lazy_journal_init=0 "/dev/mapper/$unit"
  need mkdir -p "/mnt/$unit"
  need mount "/dev/mapper/$unit" "/mnt/$unit"
  need truncate -s "$file_bytes" "/mnt/$unit/disk"
}

path_of() {
  case $1 in
    raw-*) echo "/dev/mapper/$1" ;;
    *) echo "/mnt/$1/disk" ;;
  esac
}

serve() { # EXPORT
  local unit paths=() options=()
  for unit in "${units[@]}"; do
    [[ ${export_of[${unit#*-}]} != "$1" ]] || paths+=("$(path_of "$unit")")
  done
  [ "$1" != through ] || options+=(--write-through)
  [ "$1" != nv ] || options+=(--nv-cache)
  /tmp/lunforge export "${paths[@]}" "${options[@]}" --portal "127.0.0.1:${port_of[$1]}" \
    --target "$iqn:$1" >"/tmp/urls.$1" 2>"/out/target.$1" </dev/null &
  targets+=($!)
}

find_disks "${units[@]}" "${units[@]/%/-log}"
modprobe -a ext4 dm_mod dm_log_writes || fail "no log"
export DM_DISABLE_UDEV=1 # dmsetup makes the nodes itself
for unit in "${units[@]}"; do make_logged "$unit"; done
sync
cp /share/lunforge /share/lunforge-bench /tmp/
targets=() under_test=() marks=()
for name in "${exports[@]}"; do serve "$name"; done
for name in "${exports[@]}"; do
  until_ok 30 grep -q '^iscsi://' "/tmp/urls.$name" || fail "$name: $(tail -3 "/out/target.$name")"
done
for unit in "${units[@]}"; do
  name=${export_of[${unit#*-}]}
  under_test+=("$unit=${mode_of[${unit#*-}]}@iscsi://127.0.0.1:${port_of[$name]}/$iqn:$name/$(lun_of "$unit")")
  marks+=(--mark "$unit=$unit")
done
step "writing"
mkdir -p /tmp/records
need /tmp/lunforge-bench durable write --records /tmp/records --seconds "$SECONDS_OF_LOAD" --seed "$SEED" \
  --depth 4 --blocks $((file_bytes / 512)) "${marks[@]}" "${under_test[@]}"
cp /tmp/records/* /out/records/
step "the end of the logs"
kill "${targets[@]}"
wait "${targets[@]}" || fail "a target left with status $?"
for unit in "${units[@]}"; do
  [[ $unit == raw-* ]] || need umount "/mnt/$unit"
  need dmsetup remove "$unit"
done
sync
