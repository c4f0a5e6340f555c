#!/usr/bin/env bash
# Abuse of our binary over loopback by `lunforge-bench abuse`: every scenario against a
# target without authentication, the logins against one with CHAP. The target has to
# stand it, and to end by SIGTERM afterwards with status 0.
#
#   abuse.sh [--whole] [ARGUMENT...]
#
#   --whole       the whole counts (over half an hour), judged by a p99 factor of 10 and a
#                 floor of 20 ms; without it a run of seconds with bounds for a busy machine
#   ARGUMENT...   more arguments of `lunforge-bench abuse`
#
# Exit status: 0 when everything passed, 1 when not, 2 misuse.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

bench=${LUNFORGE_BENCH:-$(dirname "$LUNFORGE")/lunforge-bench}
user=lunforge secret=0123456789abcdef
bounds=(--factor 50 --floor 400)
# Few enough to be reached in seconds.
limits=(--limit connections=1500)

# attack NAME ARGUMENTS...: start a target with $arguments, abuse it, stop it.
attack() {
  local name=$1 status=0
  shift
  truncate -s 256M "$work/$name.img"
  start_target "$work/$name.log" "$work/$name.img" --thin --digest both \
    --portal "127.0.0.1:$(free_port)" "${limits[@]}" "${arguments[@]}" || return 1
  "$bench" abuse "${urls[0]}" --pid "$target_pid" "${bounds[@]}" "$@" || status=$?
  # What the target says on its own is part of the judgement: it is not to flood its log.
  lines=$(grep -c 'WARN\|ERROR' "$work/$name.log.err" || true)
  echo "$name: $lines warnings and errors in the target's log"
  if ((lines > 200)); then
    grep 'WARN\|ERROR' "$work/$name.log.err" | tail -5
    status=1
  fi
  stop_target || status=1
  rm -f "$work/$name.img"
  return "$status"
}

main() {
  local failed=0 lines arguments=()
  [[ ${1:-} != -h && ${1:-} != --help ]] || usage
  if [[ ${1:-} == --whole ]]; then
    shift
    # What 10 000 sessions leave to the allocator is used again by the next ones.
    bounds=(--size whole --calm 5 --growth 64m)
    limits=(--limit sessions-per-target=20000)
  fi
  need_binary
  [[ -x $bench ]] || die "no $bench: cargo build --release --package lunforge-bench"
  # Each session is a descriptor at either end; what cannot be raised stays.
  ulimit -S -n "$(ulimit -H -n)"
  attack plain "$@" || failed=1
  (umask 077 && printf '%s %s\n' "$user" "$secret" >"$work/secrets" && printf '%s\n' "$secret" >"$work/secret")
  arguments=(--chap "$work/secrets")
  attack chap --scenario logins,cut-logins,half-open --chap "$user:$work/secret" "$@" || failed=1
  return "$failed"
}

main "$@"
