#!/usr/bin/env bash
# Fuzzes target after target under AddressSanitizer, each for its time, and reports.
#
#   fuzz/campaign.sh [--minutes-default N] [--long 'TARGET...' MINUTES]... [--out DIR] [TARGET...]
#
#   --minutes-default N        for targets that --long does not name; 10 unless said
#   --long 'TARGET...' MINUTES these for so long
#   --out DIR                  what is left behind; fuzz/work/campaign unless said
#   TARGET...                  these, in this order; all unless said
#
# One process at nice 19. Built once, at the start: what changes in the tree meanwhile does not matter. After its
# time, inputs that reach code no file of fuzz/corpus reaches are added there, by what they reach and not by how often, so
# that the corpus stays small. A crash goes to DIR/artifacts and the target goes on; what to do with it says run.sh.
# The report is DIR/report.md: a row a target, with the last commit of the code under test. Exit status 1 after a crash.
# It wants a nightly toolchain.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=instrument.sh
. ./instrument.sh

# The folders whose code a target runs.
code_of() {
  case $1 in
    cdb | sense | transport_id_designator_lun) echo core ;;
    mode_select | unmap_list | format_sanitize_lists | extended_copy) echo core handler-vdisk ;;
    pr_* | aptpl_file) echo core pr ;;
    stpg) echo core alua ;;
    initiator | recording) echo bench ;;
    *_conf) echo daemon/src/conf.rs daemon/src/conf ;;
    *) echo core transport-iscsi ;;
  esac
}

commit_of() {
  local folders
  read -ra folders < <(code_of "$1")
  (cd .. && git log -1 --format=%h -- "${folders[@]}" fuzz/src "fuzz/fuzz_targets/$1.rs")
}

# Edges that the checked-in corpus reaches.
edges() {
  "$out/bin/$1" -runs=0 "corpus/$1" 2>&1 | sed -n 's/.*INITED cov: \([0-9]*\).*/\1/p'
}

# Runs the target until its time is over, again after each crash. Adds to $executions and $crashes.
fuzz() {
  local target=$1 end=$((SECONDS + $2)) log=$out/$1.log status dictionary=()
  [[ ! -f dictionaries/$target.dict ]] || dictionary=("-dict=dictionaries/$target.dict")
  executions=0 crashes=0
  : >"$log"
  while ((SECONDS < end && crashes < 20)); do
    status=0
    "$out/bin/$target" "$out/new/$target" "corpus/$target" -max_total_time=$((end - SECONDS)) -max_len="$(longest "$target")" \
      -timeout=60 -rss_limit_mb=2048 -artifact_prefix="$out/artifacts/$target/" -print_final_stats=1 \
      "${dictionary[@]}" >"$out/run.log" 2>&1 || status=$?
    cat "$out/run.log" >>"$log"
    executions=$((executions + $(sed -n 's/^stat::number_of_executed_units: *//p' "$out/run.log" || echo 0)))
    ((status == 0)) || crashes=$((crashes + 1))
  done
}

# A function, so that the shell has read all of it when it begins: this runs for hours, and the file may change.
main() {
  local target at before inputs start seconds added found=0
  minutes_default=10
  out=$PWD/work/campaign
  targets=()
  declare -gA minutes
  while (($#)); do
    case $1 in
      --minutes-default) minutes_default=${2:?} && shift ;;
      --long) for target in ${2:?}; do minutes[$target]=${3:?}; done && shift 2 ;;
      --out) out=$(realpath -m "${2:?}") && shift ;;
      -*) sed -n '2,/^set/{s/^# \{0,1\}//p}' "$0" >&2 && return 2 ;;
      *) targets+=("$1") ;;
    esac
    shift
  done
  ((${#targets[@]})) || mapfile -t targets < <(cd fuzz_targets && printf '%s\n' *.rs | sed 's/\.rs$//')
  for target in "${targets[@]}" "${!minutes[@]}"; do
    [[ -f fuzz_targets/$target.rs ]] || { echo "no target $target" >&2; return 2; }
  done

  renice -n 19 $$ >/dev/null
  commits=()
  for target in "${targets[@]}"; do commits+=("$(commit_of "$target")"); done
  instrument "${targets[@]}"
  mkdir -p "$out/bin"
  printf '%s\0' "${targets[@]}" | (cd "$binaries" && xargs -0 cp -t "$out/bin")
  report=$out/report.md
  {
    echo "| target | code at | seconds | executions | edges before | edges after | inputs added | crashes |"
    echo "|---|---|---|---|---|---|---|---|"
  } >"$report"

  for at in "${!targets[@]}"; do
    target=${targets[at]}
    mkdir -p "$out/new/$target" "$out/artifacts/$target"
    before=$(edges "$target")
    inputs=$(find "corpus/$target" -type f | wc -l)
    start=$SECONDS
    fuzz "$target" $((${minutes[$target]:-$minutes_default} * 60))
    seconds=$((SECONDS - start))
    "$out/bin/$target" -merge=1 -use_counters=0 "corpus/$target" "$out/new/$target" >>"$out/$target.log" 2>&1
    added=$(($(find "corpus/$target" -type f | wc -l) - inputs))
    echo "| $target | ${commits[at]} | $seconds | $executions | $before | $(edges "$target") | $added | $crashes |" |
      tee -a "$report"
    found=$((found + crashes))
  done
  ((found == 0))
}

main "$@"
exit
