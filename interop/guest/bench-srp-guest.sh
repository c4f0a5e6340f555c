# The guest's part of bench-srp.sh.
#
# Writes a line of /out/rows for each target, row and round: I/Os and bytes by the initiator's
# disk, time, the machine's busy time, the run time of the target's own threads and that of all
# kernel threads, everything in microseconds. Then prints medians, and ratios to the kernel's target within
# a round with their spread.
# shellcheck shell=bash

rounds=${ROUNDS:-3}
seconds=${SECONDS_EACH:-2}
rows=${ROWS:-randread:4k:1 randwrite:4k:1 randread:4k:8 randwrite:4k:8 randread:4k:32 randwrite:4k:32 read:128k:8 write:128k:8 read:1m:4 write:1m:4}
builds=(/share/lunforge.*)
names=(LIO "${builds[@]#/share/lunforge.}")
stats=('')
logins=()

step "soft-RoCE, RAM disks"
modprobe -a rdma_rxe rdma_cm rdma_ucm ib_uverbs sd_mod scsi_dh_alua target_core_mod target_core_iblock ib_srpt
# So that a buffer of fio is one piece of memory, and a command has one descriptor.
echo 32 >/proc/sys/vm/nr_hugepages
modprobe brd rd_nr=${#names[@]} rd_size=65536
mountpoint -q /sys/kernel/config || need mount -t configfs configfs /sys/kernel/config
need rdma link add rxe0 type rxe netdev eth0
for ((i = 0; i < ${#names[@]}; i++)); do dd if=/dev/zero of=/dev/ram$i bs=1M count=64 oflag=direct status=none; done

# The kernel's target, at port 5555. It looks up a session of RDMA/CM by its own address.
lio() {
  local target=/sys/kernel/config/target port guid
  mkdir -p /var/target/pr $target/srpt $target/core/iblock_0/ram
  need eval "echo 5555 >$target/srpt/discovery_auth/rdma_cm_port"
  need eval "echo udev_path=/dev/ram0,readonly=0 >$target/core/iblock_0/ram/control"
  need eval "echo 1 >$target/core/iblock_0/ram/enable"
  port=$(cut -d: -f5-8 /sys/class/infiniband/rxe0/ports/1/gids/0)
  port=$target/srpt/$port/$port
  mkdir -p "$port/lun/lun_0"
  ln -s $target/core/iblock_0/ram "$port/lun/lun_0/ram"
  mkdir -p "$port/acls/10.77.0.1/lun_0"
  ln -s "$port/lun/lun_0" "$port/acls/10.77.0.1/lun_0/lun"
  need eval "echo 1 >$port/enable"
  guid=$(tr -d : </sys/class/infiniband/rxe0/node_guid)
  logins+=("id_ext=$guid,ioc_guid=$guid,dest=10.77.0.1:5555")
}

# serve NUMBER: a build of ours, at the next port.
serve() {
  local port=$((5555 + $1))
  cp "${builds[$1 - 1]}" /tmp
  : >/tmp/told
  "/tmp/$(basename "${builds[$1 - 1]}")" export /dev/ram"$1" --srp 10.77.0.1:$port >/tmp/told 2>>/out/target.log &
  stats+=("/proc/$!/task/*/schedstat")
  until_ok 60 grep -q '^id_ext=' /tmp/told || fail "no target: $(cat /out/target.log)"
  logins+=("$(cat /tmp/told)")
}

disk() { lsscsi | awk '/(LIO-ORG|LUNFORGE).*\/dev\// { print $NF; exit }'; }

attach() { # NUMBER
  need modprobe ib_srp never_register=1 ch_count="$(nproc)"
  need eval "echo ${logins[$1]} >/sys/class/infiniband_srp/srp-rxe0-1/add_target"
  until_ok 30 test -n "$(disk)" || fail "no disk of ${names[$1]}"
  udevadm settle
}

detach() {
  local remote
  for remote in /sys/class/srp_remote_ports/*; do echo 1 >"$remote/delete"; done
  until_ok 30 eval '[ -z "$(disk)" ]' || fail "the disk is still there"
  until_ok 30 modprobe -r ib_srp || fail "the driver is in use"
}

# sample DISK FILES: I/Os, bytes, time, time that processors were not idle, run time of the
# threads of these files; all times in microseconds.
# shellcheck disable=SC2086 # files, or none
sample() {
  awk '
    /^now at/ { time = $3 }
    $1 == "cpu:" { processors++ }
    /^ *\.(idle|iowait)_sleeptime/ { sub(/.*:/, ""); idle += $1 }
    FILENAME ~ "^/sys" { ios = $1 + $5; bytes = ($3 + $7) * 512 }
    FILENAME ~ "schedstat$" { own += $1 }
    END { printf "%d %d %d %d %d\n", ios, bytes, time / 1000, (time * processors - idle) / 1000, own / 1000 }
  ' /proc/timer_list "/sys/block/$1/stat" $2
}

# kernel_threads: their run time and the time, in microseconds. To ask takes long: by itself, around a sample.
kernel_threads() {
  # shellcheck disable=SC2046 # many files
  cat $(pgrep -P 2 | sed 's|.*|/proc/&/schedstat|') /proc/uptime 2>/dev/null |
    awk 'NF == 3 { t += $1 } NF == 2 { printf "%d %d\n", t / 1000, $1 * 1e6 }'
}

# measure ROUND NUMBER ROW
measure() {
  local disk load before after threads rest=${3#*:}
  disk=$(disk)
  fio --name=row --filename="$disk" --rw="${3%%:*}" --bs="${rest%:*}" --iodepth="${rest#*:}" --ioengine=libaio --direct=1 --thread --iomem=mmaphuge \
    --time_based --runtime=3000 --eta=never >/out/fio 2>&1 &
  load=$!
  until_ok 60 eval 'awk "{ exit \$9 == 0 }" "/sys/block/${disk#/dev/}/stat"' || fail "no I/O: $(cat /out/fio)"
  sleep "$(awk "BEGIN { print $seconds / 4 }")"
  threads=$(kernel_threads)
  before=$(sample "${disk#/dev/}" "${stats[$2]}")
  sleep "$seconds"
  after=$(sample "${disk#/dev/}" "${stats[$2]}")
  threads="$threads $(kernel_threads)"
  kill -KILL $load
  wait $load 2>/dev/null
  until_ok 60 eval 'awk "{ exit \$9 != 0 }" "/sys/block/${disk#/dev/}/stat"' || fail "I/O does not end"
  echo "$1 ${names[$2]} $3 $before $after $threads" |
    awk '{ printf "%s %s %s", $1, $2, $3; for (i = 4; i < 9; i++) printf " %d", $(i + 5) - $i; printf " %d\n", ($16 - $14) * ($11 - $6) / ($17 - $15) }' >>/out/rows
}

# report: medians, and ratios to the first target of the list.
report() {
  awk -v first="${names[0]}" '
    function sorted(list, v,   n, i, j, t) {
      n = split(list, v, " ")
      for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j - 1] + 0 > v[j] + 0; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
      return n
    }
    function median(list,   v, n) { n = sorted(list, v); return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2 }
    function spread(list,   v, n) { n = sorted(list, v); return sprintf("%.2f [%.2f %.2f]", median(list), v[1], v[n]) }
    # I/Os as fio does them: the kernel may have cut them.
    function ios(row, bytes,   v) { split(row, v, ":"); return bytes / (v[2] + 0) / (v[2] ~ /m/ ? 1048576 : 1024) }
    {
      key = $2 " " $3
      $4 = ios($3, $5)
      if (!(key in seen)) { seen[key] = 1; order[++count] = key }
      cpu = $7 / $4; rate = $4 / $6
      if ($2 == first) { base_cpu[$1, $3] = cpu; base_rate[$1, $3] = rate }
      cpus[key] = cpus[key] " " cpu
      own[key] = own[key] " " $8 / $4
      threads[key] = threads[key] " " $9 / $4
      of[key, ++n[key]] = $1 SUBSEP $3
      rates[key] = rates[key] " " rate
    }
    END {
      print "target row | busy us/IO | own us/IO | kernel threads us/IO | busy, ratio | IOPS, ratio"
      for (i = 1; i <= count; i++) {
        key = order[i]; c = split(cpus[key], a, " "); split(rates[key], b, " "); x = y = ""
        for (j = 1; j <= c; j++) { x = x " " a[j] / base_cpu[of[key, j]]; y = y " " b[j] / base_rate[of[key, j]] }
        printf "%s | %.1f | %.1f | %.1f | %s | %s\n", key, median(cpus[key]), median(own[key]), median(threads[key]), spread(x), spread(y)
      }
    }' /out/rows
}

lio
for ((i = 1; i < ${#names[@]}; i++)); do serve $i; done
: >/out/rows
for ((round = 1; round <= rounds; round++)); do
  for ((k = 0; k < ${#names[@]}; k++)); do
    # Forwards and backwards in turn.
    number=$((round % 2 ? k : ${#names[@]} - 1 - k))
    step "round $round: ${names[number]}"
    attach $number
    for row in $rows; do measure $round $number "$row"; done
    detach
  done
done
report
