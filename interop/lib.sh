# Shared by the scripts of interop/: one target process at a time, and an end
# that leaves nothing behind. Source it; it sets $repo, $work and $LUNFORGE.
#
#   LUNFORGE   the binary under test   (default: target/release/lunforge)
# shellcheck shell=bash

export LC_ALL=C
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
LUNFORGE=${LUNFORGE:-${CARGO_TARGET_DIR:-$repo/target}/release/lunforge}
work=$(mktemp -d "${TMPDIR:-/tmp}/lunforge-interop.XXXXXX")
target_pid=

die() { echo "$(basename "$0"): $*" >&2; exit 2; }

# usage: print the header comment of the running script and leave.
usage() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0" >&2; exit 2; }

need_binary() { [[ -x $LUNFORGE ]] || die "no binary $LUNFORGE: cargo build --release"; }

need_commands() {
  local c missing=()
  for c in "$@"; do command -v "$c" >/dev/null || missing+=("$c"); done
  ((${#missing[@]} == 0)) || die "not installed: ${missing[*]}"
}

# free_port: a TCP port on 127.0.0.1 that nobody listens on.
free_port() {
  local port
  while port=$((RANDOM % 20000 + 12000)); do
    (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
}

# start_target LOG ARGUMENT...: `lunforge export ARGUMENT...`, waited for until
# it prints its LUNs. Sets target_pid and the array urls.
start_target() {
  local log=$1 i
  shift
  : >"$log"
  "$LUNFORGE" export "$@" >"$log" 2>"$log.err" </dev/null &
  target_pid=$!
  for ((i = 0; i < 200; i++)); do
    grep -q '^iscsi://' "$log" && break
    kill -0 "$target_pid" 2>/dev/null || break
    sleep 0.05
  done
  mapfile -t urls < <(grep '^iscsi://' "$log")
  ((${#urls[@]})) || { echo "the target did not start: $(tail -3 "$log.err")" >&2; return 1; }
}

# stop_target: SIGTERM; it has to leave with status 0 within ten seconds.
stop_target() {
  local pid=$target_pid i status=0
  target_pid=
  kill -TERM "$pid" 2>/dev/null || { echo "the target was gone before its end" >&2; return 1; }
  for ((i = 0; i < 100; i++)); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null && echo "the target ignored SIGTERM for 10 s" >&2
  wait "$pid" || status=$?
  ((status == 0)) || { echo "the target left with status $status" >&2; return 1; }
}

# kill_target: for traps; no questions asked.
kill_target() {
  [[ -z $target_pid ]] || kill -KILL "$target_pid" 2>/dev/null || true
  target_pid=
}
trap 'kill_target; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
