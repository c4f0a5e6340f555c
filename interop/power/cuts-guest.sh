# In the guest: makes or mounts what the units lie on, serves them, and waits for
# the end, which is a power cut. FRESH=1: the disks are empty.
# shellcheck shell=bash source=units.sh
. /share/units.sh

make_file_system() {
  case ${1%%-*} in
    ext4) need mke2fs -q -t ext4 -J size=4 -E lazy_itable_init=0,lazy_journal_init=0 "${disk[$1]}" ;;
    xfs) need mkfs.xfs -q -f "${disk[$1]}" ;;
  esac
}

# The file is sparse: a write has to make its blocks durable and where they are.
mount_unit() {
  need mkdir -p "/mnt/$1"
  need mount "${disk[$1]}" "/mnt/$1"
  [ "$FRESH" = 0 ] || need truncate -s "$file_bytes" "/mnt/$1/disk"
}

path_of() {
  case $1 in
    raw-*) echo "${disk[$1]}" ;;
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
  /tmp/lunforge export "${paths[@]}" "${options[@]}" --portal "10.77.0.1:${port_of[$1]}" \
    --target "$iqn:$1" >"/tmp/urls.$1" 2>"/out/target.$1" </dev/null &
}

find_disks "${units[@]}"
modprobe -a ext4 xfs || fail "no file systems"
step "file systems"
if [ "$FRESH" = 1 ]; then
  for unit in "${units[@]}"; do make_file_system "$unit"; done
fi
for unit in "${units[@]}"; do
  [[ $unit == raw-* ]] || mount_unit "$unit"
done
[ "$FRESH" = 0 ] || sync
for unit in raw-through raw-plain; do
  cat "/sys/block/${disk[$unit]#/dev/}/queue/write_cache"
done >/tmp/write_cache
[ "$(paste -sd, /tmp/write_cache)" = 'write back,write through' ] || fail "caches: $(cat /tmp/write_cache)"
step "serving"
cp /share/lunforge /tmp/lunforge
for name in "${exports[@]}"; do serve "$name"; done
for name in "${exports[@]}"; do
  until_ok 30 grep -q '^iscsi://' "/tmp/urls.$name" || fail "$name: $(tail -3 "/out/target.$name")"
done
signal ready
wait -n
fail "a target left: $(tail -3 /out/target.*)"
