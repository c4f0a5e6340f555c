#!/usr/bin/env bash
# Run Debian's iscsi-test-cu (libiscsi-bin), test by test, against our binary in
# several LUN set-ups, and compare with the checked-in lists.
#
#   run.sh [--record] [-j JOBS] [-t SECONDS] [-o DIR] [SETUP...]
#
#   --record   rewrite expected/SETUP.tsv from what happened; known reasons are
#              kept, the others start with "REVIEW:" and have to be written
#   -j JOBS    set-ups at the same time            (default 3)
#   -t SECONDS time limit of one test              (default 30)
#   -o DIR     keep each test's log here
#   -f GLOB    only the tests whose Family.Test matches (not with --record)
#
# expected/SETUP.tsv: Family.Test, pass | skip | fail, reason (for all but pass).
# Any difference is a failure: a fail, skip or hang nobody expected, a pass nobody
# expected, a missing test, a list with a reason unwritten.
# Exit status: 0 as expected, 1 not, 2 misuse.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib.sh"

# The one that takes longest begins.
setups=(sanitize-long sanitize plain thin-1 thin-8 4k chap digest two-portals readonly removable cdrom atomic readonly-thin)
user=lunforge secret=0123456789abcdef answer=fedcba9876543210
record='' jobs=3 limit=30 out='' only='*'

# setup_of NAME PORT PORT2: what is exported and how in $medium and $arguments, what to
# append to the user part and to the end of the URL in $login and $query, the tests in
# $glob, more options for them in $options. PORT2 among the portals: both are tested.
setup_of() {
  medium=("$out/$1/disk.img") arguments=(--portal "127.0.0.1:$2") options=()
  login='' query='' glob='!(Sanitize).*'
  case $1 in
    plain) ;;
    thin-1) arguments+=(--thin --physical-block-size 512) ;;
    thin-8) arguments+=(--thin --physical-block-size 4096) ;;
    4k) arguments+=(--thin --block-size 4096) ;;
    chap)
      arguments+=(--thin --chap "$work/secret" --mutual-chap "$work/answer")
      login="$user%$secret@" query="?target_user=target&target_password=$answer"
      ;;
    digest) arguments+=(--thin --digest both) query='?header_digest=crc32c' ;;
    two-portals)
      arguments+=(--thin --portal "127.0.0.1:$3")
      glob='@(MultipathIO|iSCSI*|Prin*|Prout*|Reserve6|CompareAndWrite).*'
      ;;
    # BLOCK ERASE is for thin units.
    sanitize) arguments+=(--thin) glob='Sanitize.!(Reset)' options=(--allow-sanitize) ;;
    # The operation has to last for four seconds; then the suite looks once a minute.
    sanitize-long) medium=(--null 64T) glob='Sanitize.Reset' options=(--allow-sanitize) limit=150 ;;
    readonly) arguments+=(--read-only) ;;
    readonly-thin) arguments+=(--thin --read-only) glob='ReadOnly.*' ;;
    removable) arguments+=(--thin --removable) ;;
    # Of the suite's commands those that MMC has too.
    cdrom)
      arguments+=(--cdrom)
      glob='@(Inquiry|ModeSense6|Prin*|Prout*|Read6|Read1[02]|ReadCapacity10|ReportSupportedOpcodes|Reserve6|StartStopUnit|TestUnitReady|Verify*|Write1[02]|iSCSI*).*'
      ;;
    # Neither a file nor a block device promises that a write is done whole or not at all.
    atomic) medium=(--null 1G) glob='WriteAtomic16.*' ;;
    *) die "no set-up $1 (there are: ${setups[*]})" ;;
  esac
}

# Every Family.Test once: not all of them are in the suite's own group ALL.
list_tests() { iscsi-test-cu --list 2>/dev/null | awk -F. 'NF == 3 && !seen[$2 "." $3]++'; }

# run_test GROUP.FAMILY.TEST LOG ARGUMENT...: prints verdict<TAB>reason.
run_test() {
  local test=$1 log=$2 status=0
  shift 2
  timeout -k 2 "$limit" stdbuf -oL iscsi-test-cu --dataloss -V -t "$test" "$@" >"$log" 2>&1 </dev/null || status=$?
  case $status in
    124 | 137) printf 'hang\tover %s s; last: %s\n' "$limit" "$(tr -cd '[:print:]\n' <"$log" | grep . | tail -1)" ;;
    13[0-9] | 14[0-9]) printf 'fail\tthe test program died on signal %s\n' $((status - 128)) ;;
    *) awk -f "$here/judge.awk" "$log" ;;
  esac
}

# run_setup NAME: results.tsv in $out/NAME. Runs in a subshell of its own.
run_setup() {
  local name=$1 logs=$out/$1 port port2 url test urls medium arguments login query glob options
  trap kill_target EXIT
  trap 'exit 143' TERM
  mkdir -p "$logs" && : >"$logs/results.tsv"
  port=$(free_port) port2=$(free_port)
  setup_of "$name" "$port" "$port2"
  truncate -s 256M "$logs/disk.img"
  start_target "$logs/target.log" "${medium[@]}" "${arguments[@]}" || return 1
  url=${urls[0]/:\/\//:\/\/$login}$query
  urls=("$url")
  [[ " ${arguments[*]} " != *":$port2 "* ]] || urls+=("${url/:$port/:$port2}")
  for test in "${tests[@]}"; do
    # shellcheck disable=SC2053 # both are patterns
    [[ ${test#*.} == $glob && ${test#*.} == $only ]] || continue
    printf '%s\t%s\n' "${test#*.}" "$(run_test "$test" "$logs/${test#*.}.log" "${options[@]}" "${urls[@]}")" \
      >>"$logs/results.tsv"
    kill -0 "$target_pid" || { echo "$name: the target died during ${test#*.}" >&2; return 1; }
  done
  stop_target
  rm -f "$logs/disk.img"
}

# compare NAME: the differences, one per line; status 1 when there are any.
compare() {
  [[ -s $here/expected/$1.tsv ]] || { echo "$1: no list; make it with --record"; return 1; }
  awk -F'\t' -v name="$1" -v only="$only" '
    /^#/ { next }
    FILENAME == ARGV[1] { want[$1] = $2; if ($2 != "pass" && ($3 == "" || $3 ~ /^REVIEW/)) bare[$1]; next }
    { got[$1]; count[$2]++; expected = ($1 in want) ? want[$1] : "nothing" }
    $2 != expected { printf "  %s %s: expected %s, got %s  %s\n", name, $1, expected, $2, substr($3, 1, 200); bad++ }
    END {
      if (only == "*") for (t in want) if (!(t in got)) { printf "  %s %s: did not run\n", name, t; bad++ }
      for (t in bare) { printf "  %s %s: no reason in the list\n", name, t; bad++ }
      printf "%-12s %3d pass %3d skip %3d fail %3d hang: %s\n", name, count["pass"], count["skip"],
        count["fail"], count["hang"], bad ? bad " not as expected" : "as expected"
      exit bad > 0
    }' "$here/expected/$1.tsv" "$out/$1/results.tsv"
}

# passed_somewhere: a set-up that cannot show a test leaves it to another. Only what the
# suite gets wrong, or what the unit says it does not offer, may pass in none.
passed_somewhere() {
  awk -F'\t' '
    /^#/ { next }
    { seen[$1] }
    $2 == "pass" || $3 ~ /^fault of the suite|not offered|^WSNZ/ { accounted[$1] }
    END {
      for (t in seen) if (!(t in accounted)) { printf "  %s passes in no set-up\n", t; bad++ }
      exit bad > 0
    }' "$here"/expected/*.tsv
}

# merge NAME: the new list, with the reasons of the old one where the verdict holds.
merge() {
  local list=$here/expected/$1.tsv
  touch "$list"
  { echo "# Family.Test	verdict	reason (set-up $1)"
    awk -F'\t' -v OFS='\t' '
      FILENAME == ARGV[1] { reason[$1, $2] = $3; next }
      $2 == "pass" { print $1, $2; next }
      { print $1, $2, (($1, $2) in reason ? reason[$1, $2] : "REVIEW: " substr($3, 1, 160)) }
    ' "$list" <(sort "$out/$1/results.tsv"); } >"$list.new"
  mv "$list.new" "$list"
  echo "$1: $(grep -c '	REVIEW' "$list") reasons to write"
}

main() {
  while (($#)); do
    case $1 in
      --record) record=1 ;;
      -j) jobs=$2 && shift ;;
      -t) limit=$2 && shift ;;
      -o) out=$2 && shift ;;
      -f) only=$2 && shift ;;
      -*) usage ;;
      *) break ;;
    esac
    shift
  done
  [[ -z $record || $only == '*' ]] || usage
  (($# == 0)) || setups=("$@")
  need_binary
  need_commands iscsi-test-cu timeout stdbuf
  out=$(mkdir -p "${out:=$work/logs}" && cd "$out" && pwd)
  (umask 077 && printf '%s %s\n' "$user" "$secret" >"$work/secret" && printf 'target %s\n' "$answer" >"$work/answer")
  mapfile -t tests < <(list_tests)
  ((${#tests[@]})) || die "iscsi-test-cu lists no tests"

  local name running=0 status=0
  trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT
  for name in "${setups[@]}"; do (setup_of "$name" 0 0) || exit; done
  for name in "${setups[@]}"; do
    ((running++ < jobs)) || wait -n || status=1
    run_setup "$name" &
  done
  while :; do wait -n || { (($? == 127)) && break || status=1; }; done
  for name in "${setups[@]}"; do
    if [[ $record ]]; then merge "$name"; else compare "$name" || status=1; fi
  done
  [[ $record ]] || passed_somewhere || status=1
  exit "$status"
}

main "$@"
