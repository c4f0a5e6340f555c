# The units of log.sh, for host and guest: each has a logged device of its own.
# shellcheck shell=bash disable=SC2034 source=units.sh
. "$(dirname "${BASH_SOURCE[0]}")/units.sh"
units=()
for medium in ext4 raw; do
  for mode in "${modes[@]}"; do units+=("$medium-$mode"); done
done
