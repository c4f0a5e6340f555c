# shellcheck shell=bash
# For run.sh and campaign.sh, from the folder fuzz/: builds targets as libFuzzer wants them, with AddressSanitizer.

# The longest input that is worth trying: a sequence of commands is slow to run and finds nothing by its length.
longest() {
  case $1 in
    pr_sequence) echo 600 ;;
    *) echo 4096 ;;
  esac
}

# Sets $binaries, the folder they are in. Wants a nightly toolchain: the sanitizer is an unstable option.
instrument() {
  local build_dir=${CARGO_TARGET_DIR:-$PWD/target} host coverage target bins=()
  host=$(rustc -vV | sed -n 's/^host: //p')
  coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
  coverage+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
  coverage+=" -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
  for target; do bins+=(--bin "$target"); done
  RUSTFLAGS="--cfg fuzzing -Zsanitizer=address $coverage" cargo +nightly build --quiet --release \
    "${bins[@]}" --target "$host" --target-dir "$build_dir/instrumented"
  # shellcheck disable=SC2034 # read by who sources this
  binaries=$build_dir/instrumented/$host/release
}
