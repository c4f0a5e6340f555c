#!/usr/bin/env bash
# Does the simulation bite? Builds the tree with the deliberate bugs of fuzz/sim/bugs, each behind an environment
# variable, and has each found; prints after how many seeds.
#
#   fuzz/sim/bite.sh [--check] [SEEDS]
#
#   --check  only tells whether every patch still applies
#   SEEDS    most seeds for each bug; 50000 unless given
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD

check_only=
[[ ${1:-} == --check ]] && check_only=1 && shift
seeds=${1:-50000}

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
tar -c --exclude=./target --exclude=./.git --exclude='./fuzz/corpus' . | tar -x -C "$copy"
for patch in fuzz/sim/bugs/*.patch; do
  patch --quiet --forward --directory "$copy" --strip 1 <"$patch" ||
    { echo "$patch does not apply"; exit 1; }
done
[[ -z $check_only ]] || { echo "all $(find fuzz/sim/bugs -name '*.patch' | wc -l) patches apply"; exit; }

target=${CARGO_TARGET_DIR:-$here/target}/bite
(cd "$copy" && CARGO_TARGET_DIR=$target cargo build --quiet --profile sim --package lunforge-sim)
missed=0
for patch in fuzz/sim/bugs/*.patch; do
  name=$(basename "$patch" .patch)
  found=$(SIM_BUG=$name "$target/sim/lunforge-sim" run --seeds "0..$seeds" --no-shrink) && found=
  if [[ -n $found ]]; then
    tail -1 <<<"$found" | sed "s/ seeds, .*/ seeds: $name/"
    head -1 <<<"$found" | cut -c1-120 | sed 's/^/    /'
  else
    echo "$name: not found in $seeds seeds"
    missed=1
  fi
done
exit "$missed"
