#!/usr/bin/env bash
# Boot one or more guests, run one script in each, return its status.
#
#   vm-run.sh [options] SCRIPT [NAME=VALUE...]
#
#   -n N      guests; the script sees NODE=1..N and NODES=N   (default 1)
#   -s DIR    host folder, read-only /share in every guest
#   -o DIR    results, read-write /out in every guest   (default: temporary)
#   -i N      network cards of each node: 10.77.<card>.<node>  (default 1)
#   -m MB     memory of each guest   (default 768)
#   -t SEC    limit for the whole run   (default 300)
#   -a ARG    one more argument for each guest's qemu; may be repeated
#
# Exit status: the highest of the scripts' own; 124 timed out; 125 a guest died.
# The process of guest N is in the results folder's pid.N: to kill it is a power cut.
# Emulated (TCG) unless GUEST_ACCEL names something else. The cards of one
# segment meet in a hub inside a qemu without a machine, over Unix datagram
# sockets: no traffic on an interface of the host, and no privileges.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

nodes=1 share='' out='' cards=1 memory=768 limit=300 extra=()
usage() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
while getopts n:s:o:i:m:t:a: o; do
  case $o in
    n) nodes=$OPTARG ;; s) share=$(realpath "$OPTARG") ;; o) out=$OPTARG ;;
    i) cards=$OPTARG ;; m) memory=$OPTARG ;; t) limit=$OPTARG ;; a) extra+=("$OPTARG") ;; *) usage ;;
  esac
done
shift $((OPTIND - 1))
(($#)) || usage
script=$1
shift
image=$("$here/mkimage.sh")
kernel=$(cat "$image/kver")
work=$(mktemp -d "${TMPDIR:-/tmp}/lunforge-guest.XXXXXX")
declare -A guests=()
hubs=()

finish() {
  kill -KILL "${guests[@]}" "${hubs[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

# busybox, guest-init and the few modules it takes to see /dev/vda
make_initrd() {
  local root=$work/initrd.d module file
  mkdir -p "$root"/{bin,m}
  cp "$(command -v busybox)" "$root/bin/busybox"
  install -m 755 "$here/guest-init" "$root/init"
  cp "$here/guest-lib.sh" "$root/"
  for module in virtio_pci virtio_blk ext4 crc32c_generic; do
    modprobe -d "$image/mods" -S "$kernel" --show-depends "$module"
  done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r file; do
    cp "$file" "$root/m/"
    basename "$file" >>"$root/m/order"
  done
  (cd "$root" && find . | cpio -o -H newc --quiet) >"$work/initrd"
}

start_hub() { # CARD
  local arguments=(-M none -nodefaults -no-user-config -display none -monitor none) n
  for ((n = 1; n <= nodes; n++)); do
    arguments+=(
      -netdev "dgram,id=n$n,local.type=unix,local.path=$work/hub.$1.$n,remote.type=unix,remote.path=$work/vm.$1.$n"
      -netdev "hubport,id=h$n,hubid=0,netdev=n$n"
    )
  done
  qemu-system-x86_64 "${arguments[@]}" </dev/null >"$out/hub.$1" 2>&1 &
  hubs+=($!)
}

# no_timer_check: on a busy host the timer may miss the few ticks in which the kernel looks for it.
boot=(
  console=ttyS0 loglevel=4 panic=-1 net.ifnames=0 mitigations=off random.trust_cpu=on
  no_timer_check transparent_hugepage=never nosoftlockup nowatchdog rcupdate.rcu_cpu_stall_suppress=1
)

start_guest() { # NODE
  local node=$1 card arguments
  arguments=(
    -nodefaults -no-user-config -display none -monitor none -serial stdio -no-reboot
    -machine q35 -accel "${GUEST_ACCEL:-tcg,thread=multi}" -cpu max -smp 2 -m "$memory"
    -kernel "$image/vmlinuz" -initrd "$work/initrd"
    -append "${boot[*]} guest.node=$node guest.nodes=$nodes"
    -drive "if=virtio,format=raw,file=$image/root.img,snapshot=on"
    -virtfs "local,path=$out,mount_tag=out,security_model=none,multidevs=remap"
  )
  [[ -z $share ]] ||
    arguments+=(-virtfs "local,path=$share,mount_tag=share,security_model=none,readonly=on,multidevs=remap")
  for ((card = 0; card < cards; card++)); do
    arguments+=(
      -netdev "dgram,id=net$card,local.type=unix,local.path=$work/vm.$card.$node,remote.type=unix,remote.path=$work/hub.$card.$node"
      -device "virtio-net-pci,netdev=net$card,mac=$(printf '52:54:00:77:%02x:%02x' "$card" "$node")"
    )
  done
  qemu-system-x86_64 "${arguments[@]}" "${extra[@]}" </dev/null \
    > >(tee "$out/console.$node" | sed -u "s/\r//g; s/^/[n$node] /") 2>&1 &
  guests[$node]=$!
  echo $! >"$out/pid.$node"
}

# failed NODE: its guest is gone without a script that ended well.
failed() { ! kill -0 "${guests[$1]}" 2>/dev/null && [[ $(cat "$out/rc.$1" 2>/dev/null) != 0 ]]; }

# Until all guests are off; once one has failed, the others get 15 s more.
watch_guests() {
  local node alive end=$limit
  while :; do
    sleep 0.2
    alive=0
    for node in "${!guests[@]}"; do
      kill -0 "${guests[$node]}" 2>/dev/null && alive=1
      ! failed "$node" || ((SECONDS + 15 > end)) || end=$((SECONDS + 15))
    done
    ((alive)) || return 0
    ((SECONDS < limit)) || { echo "vm-run: over $limit s" >&2; return 124; }
    ((SECONDS < end)) || return 0
  done
}

worst_status() {
  local node rc worst=0
  for node in "${!guests[@]}"; do
    rc=$(cat "$out/rc.$node" 2>/dev/null) || rc=125
    ((rc <= worst)) || worst=$rc
  done
  return "$worst"
}

out=$(mkdir -p "${out:=$work/out}" && realpath "$out")
rm -rf "$out"/{failed,rc.*,signal.*,console.*,pid.*}
{ for setting in "$@"; do printf 'export %q\n' "$setting"; done
  cat "$script"; } >"$out/script"
make_initrd
for ((i = 0; i < cards; i++)); do start_hub "$i"; done
for ((i = 1; i <= nodes; i++)); do start_guest "$i"; done
status=0
watch_guests || status=$?
((status)) || worst_status || status=$?
echo "vm-run: status $status after $SECONDS s"
exit "$status"
