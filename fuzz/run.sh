#!/usr/bin/env bash
# Fuzzes one target.
#
#   fuzz/run.sh TARGET [SECONDS]     (default 60; 0 replays the corpus and stops)
#
# With a nightly toolchain the target is instrumented (coverage, AddressSanitizer). Without one the corpus is
# replayed with the stable toolchain and nothing new is looked for. New inputs go to $FUZZ_WORK (default
# fuzz/work/TARGET), crashes to fuzz/artifacts/TARGET; neither is checked in. A crash becomes a regression
# file: minimise it with `$binary -minimize_crash=1`, copy it to fuzz/corpus/TARGET/regression-NAME.
set -euo pipefail
cd "$(dirname "$0")"

target=${1:-}
seconds=${2:-60}
if [[ ! -f fuzz_targets/$target.rs ]]; then
  sed -n '2,/^set/{s/^# \{0,1\}//p}' "$0" >&2
  echo "Targets: $(cd fuzz_targets && printf '%s ' *.rs | sed 's/\.rs//g')" >&2
  exit 2
fi

mapfile -d '' corpus < <(find "corpus/$target" -type f -print0 | sort -z)

if ! rustup run nightly rustc --version >/dev/null 2>&1; then
  echo "no nightly toolchain: replaying ${#corpus[@]} files only" >&2
  build_dir=${CARGO_TARGET_DIR:-$PWD/target}
  cargo build --quiet --no-default-features --release --bin "$target" --target-dir "$build_dir/replay"
  exec "$build_dir/replay/release/$target" "${corpus[@]}"
fi

# shellcheck source=instrument.sh
. ./instrument.sh
instrument "$target"
binary=$binaries/$target

if ((seconds == 0)); then
  exec "$binary" "${corpus[@]}"
fi
work=${FUZZ_WORK:-$PWD/work/$target}
mkdir -p "$work" "artifacts/$target"
dictionary=()
[[ ! -f dictionaries/$target.dict ]] || dictionary=("-dict=dictionaries/$target.dict")
exec "$binary" "$work" "corpus/$target" -max_total_time="$seconds" -max_len="$(longest "$target")" -timeout=10 -rss_limit_mb=2048 \
  -artifact_prefix="artifacts/$target/" -print_final_stats=1 "${dictionary[@]}"
