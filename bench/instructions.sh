#!/bin/sh
# Instructions per operation of the target's fast path, counted by callgrind.
# Each case runs twice; the difference is divided, so start-up and the first touch of memory drop out.
# usage: bench/instructions.sh [CASE...]
set -eu
cd "$(dirname "$0")/.."
command -v valgrind >/dev/null || { echo "instructions.sh: valgrind is not installed" >&2; exit 2; }
cargo build --quiet --release -p lunforge-bench --features count --bin lunforge-bench-count
count=${CARGO_TARGET_DIR:-target}/release/lunforge-bench-count

collected() { # CASE TIMES
	valgrind --tool=callgrind --callgrind-out-file=/dev/null "$count" "$1" "$2" 2>&1 |
		awk '/Collected/ { n = $NF } END { if (n == "") exit 1; print n }'
}

few=1000
many=3000
[ $# -gt 0 ] || set -- $("$count" 2>/dev/null | cut -f1)
printf '%-22s %12s  %s\n' case instructions operation
for case in "$@"; do
	what=$("$count" 2>/dev/null | awk -F'\t' -v c="$case" '$1 == c { print $2 }')
	[ -n "$what" ] || { echo "instructions.sh: there is no case $case" >&2; exit 2; }
	a=$(collected "$case" $few)
	b=$(collected "$case" $many)
	printf '%-22s %12d  %s\n' "$case" $(((b - a) / (many - few))) "$what"
done
