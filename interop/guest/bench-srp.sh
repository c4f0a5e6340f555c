#!/usr/bin/env bash
# CPU and throughput per I/O of SRP targets over soft-RoCE, beside the kernel's own target,
# in one guest and in turns.
#
#   bench-srp.sh [options] [NAME=BINARY...]
#
#   NAME=BINARY  builds of lunforge to compare  (default: lunforge=$LUNFORGE)
#   -c           count instructions: one processor, whose time is what it executes, whatever else
#                the host does. Without it: two processors, and what they do at a time
#   -r N         rounds  (default 3)
#   -t SEC       measured time of a row  (default 2)
#   -w ROWS      rows to measure, as randread:4k:8: what fio is told, and how many at a time
#   -o DIR       keep the console and every measurement (rows) here
#
# All of the guest's CPU time counts: initiator, soft-RoCE and target are in it. Every target has
# a RAM disk (brd) of the same size.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib.sh"

settings=() machine=() out=$work/out accel=
while getopts cr:t:w:o: o; do
  case $o in
    c) accel=tcg,thread=single machine=(-a -icount -a 'shift=2' -a -smp -a 1) ;;
    r) settings+=("ROUNDS=$OPTARG") ;; t) settings+=("SECONDS_EACH=$OPTARG") ;;
    w) settings+=("ROWS=$OPTARG") ;; o) out=$OPTARG ;;
    *) usage ;;
  esac
done
shift $((OPTIND - 1))
(($#)) || { need_binary; set -- "lunforge=$LUNFORGE"; }

mkdir "$work/share"
for build; do
  [[ $build == *=* && -x ${build#*=} ]] || usage
  strip -o "$work/share/lunforge.${build%%=*}" "${build#*=}"
done
[[ -z $accel ]] || export GUEST_ACCEL=$accel
"$here/vm-run.sh" -m 1536 -t 3000 -s "$work/share" -o "$out" "${machine[@]}" "$here/bench-srp-guest.sh" "${settings[@]}"
