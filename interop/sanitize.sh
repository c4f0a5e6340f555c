#!/usr/bin/env bash
# The tests of the workspace under a sanitizer, and the program under valgrind.
#
#   interop/sanitize.sh address [CARGO TEST ARGUMENT...]   AddressSanitizer with leak check, all tests but those in documentation
#   interop/sanitize.sh thread [CARGO TEST ARGUMENT...]    ThreadSanitizer: tests of the core, the engines and the transport;
#                                                          wants a nightly toolchain with the component rust-src
#   interop/sanitize.sh memcheck                           the release binary serves I/O under valgrind
#
# What is not memory-safe by construction here: the io_uring engine, system calls, and what the dependencies do.
set -euo pipefail
cd "$(dirname "$0")/.."

triple=$(rustc -vV | sed -n 's/^host: //p')
build_dir=${CARGO_TARGET_DIR:-$PWD/target}

# The sanitizer is an unstable option; RUSTC_BOOTSTRAP lets any toolchain take it.
address() {
  local what=("$@")
  if ((${#what[@]} == 0)); then
    address --workspace --exclude lunforge-daemon
    # The leak check forks at the end, which the confined program may not.
    ASAN_OPTIONS=detect_leaks=0 address --package lunforge-daemon
    return
  fi
  # A build script or a macro of the compiler's does not get the flags, because of --target.
  RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1} \
    cargo test --target "$triple" --target-dir "$build_dir/asan" --lib --bins --tests "${what[@]}"
}

# The standard library has to be built with it, or each of its locks would be reported.
thread() {
  local what=("$@")
  ((${#what[@]})) || what=(-p lunforge-core -p lunforge-vdisk -p lunforge-iscsi -p lunforge-pr)
  # It does not know fences: what it says of gate.rs has to be judged beside the loom model (core/tests/loom_gate.rs).
  # Names in a backtrace take it a minute, and some tests panic on purpose.
  RUST_BACKTRACE=0 RUSTFLAGS="-Zsanitizer=thread" cargo +nightly test -Zbuild-std --target "$triple" --target-dir "$build_dir/tsan" \
    --lib --tests "${what[@]}"
}

# Reads of what nobody wrote, and what is not given back. Not over io_uring: see without-io_uring.pl.
memcheck() {
  local url pid i mode status=0
  command -v valgrind >/dev/null || { echo "valgrind is missing" >&2; return 1; }
  cargo build --release --locked -p lunforge-daemon -p lunforge-bench
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  truncate -s 64M "$scratch/disk"
  perl interop/without-io_uring.pl valgrind --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite \
    --log-file="$scratch/valgrind" "$build_dir/release/lunforge" export "$scratch/disk" --thin --shards 1 \
    --portal "127.0.0.1:${MEMCHECK_PORT:-23271}" >"$scratch/out" 2>&1 </dev/null &
  pid=$!
  for ((i = 0; i < 600; i++)); do
    url=$(grep -m1 '^iscsi://' "$scratch/out") && break
    kill -0 "$pid" || { cat "$scratch/out" "$scratch/valgrind"; return 1; }
    sleep 0.1
  done
  for mode in mixed randwrite; do
    "$build_dir/release/lunforge-bench" load "$url" --mode "$mode" --verify --seconds 6 --sessions 2 --depth 8 \
      --header-digest --data-digest || status=1
  done
  "$build_dir/release/lunforge-bench" probe "$url" || status=1
  # valgrind is the program's process: perl and it have been replaced in turn.
  kill -TERM "$pid"
  wait "$pid" || status=$?
  sed -n 's/^==[0-9]*== //p' "$scratch/valgrind"
  return "$status"
}

case ${1:-} in
  address | thread | memcheck) "$@" ;;
  *) sed -n '2,/^set/{s/^# \{0,1\}//p}' "$0" >&2 && exit 2 ;;
esac
