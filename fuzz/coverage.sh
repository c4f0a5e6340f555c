#!/usr/bin/env bash
# What the checked-in corpora reach of the parsers.
#
#   fuzz/coverage.sh [--missed] [TARGET...]     (all targets unless said)
#
# For each target, the modules whose code it is for: regions and lines that its own corpus runs, of all. --missed prints
# the lines that it does not run, too. A target without a row here fails: whoever adds one says what it is for.
# It wants a nightly toolchain with the component llvm-tools.
set -euo pipefail
cd "$(dirname "$0")"

# The modules that a target is for.
modules_of() {
  case $1 in
    aptpl_file) echo pr/src/persistence/format.rs ;;
    cdb) echo core/src/cdb/{decode,fields,rsoc,typed}.rs ;;
    control) echo daemon/src/control/{line,protocol}.rs ;;
    extended_copy) echo core/src/copy/{cscd,parameter_list,plan,segment}.rs ;;
    format_sanitize_lists) echo handler-vdisk/src/{format_unit,sanitize}.rs ;;
    ietd_conf) echo daemon/src/conf/{ietd,lexer}.rs daemon/src/conf/ietd/{attributes,convert,names,parser}.rs ;;
    initiator) echo bench/src/initiator/{chap,login,pdu,reply,session,text,transfer,url}.rs ;;
    login) echo transport-iscsi/src/proto/{chap,login,text}.rs transport-iscsi/src/proto/chap/encoding.rs \
      transport-iscsi/src/proto/keys/negotiate.rs transport-iscsi/src/proto/login/{machine,operational,security}.rs ;;
    mode_select) echo handler-vdisk/src/mode/{page,select,sense,values}.rs ;;
    pdu_stream) echo transport-iscsi/src/proto/connection/{command,data_out,receive,respond,text,timers,transmit}.rs \
      transport-iscsi/src/proto/session.rs \
      transport-iscsi/src/proto/pdu/{ahs,data_out,logout_request,mod,nop_out,request,scsi_command,snack}.rs \
      transport-iscsi/src/proto/pdu/{task_management_request,text_request}.rs ;;
    pr_out) echo pr/src/parameter_list.rs core/src/transport_id.rs ;;
    pr_sequence) echo pr/src/apply/{mod,preempt,register,register_and_move,reserve,spc2}.rs pr/src/{access,state}.rs ;;
    recording) echo bench/src/replay/{capture,pdus,segment,stream}.rs ;;
    scst_conf) echo daemon/src/conf/{document,legacy,lexer,parser,print}.rs ;;
    sense) echo core/src/sense.rs core/src/sense/wire.rs ;;
    srp_channel) echo transport-srp/src/io/channel.rs transport-srp/src/io/channel/{command,open}.rs \
      transport-srp/src/io/registry.rs transport-srp/src/proto/{channel,credit,tags}.rs ;;
    srp_mad) echo transport-srp/src/proto/mad.rs transport-srp/src/proto/mad/{attribute,unit}.rs ;;
    srp_iu) echo transport-srp/src/proto/{data,error,login}.rs \
      transport-srp/src/proto/iu/{command,credit,event,login,logout,mod,response,task}.rs ;;
    stpg) echo alua/src/set.rs ;;
    text_keys) echo transport-iscsi/src/proto/text.rs transport-iscsi/src/proto/keys/{full_feature,negotiate,params}.rs ;;
    transport_id_designator_lun) echo core/src/{designator,lun,transport_id}.rs ;;
    unmap_list) echo handler-vdisk/src/unmap.rs ;;
    *) echo "$1 has no modules in coverage.sh" >&2 && return 1 ;;
  esac
}

missed=0
targets=()
for argument; do
  case $argument in
    --missed) missed=1 ;;
    -*) sed -n '2,/^set/{s/^# \{0,1\}//p}' "$0" >&2 && exit 2 ;;
    *) targets+=("$argument") ;;
  esac
done
((${#targets[@]})) || mapfile -t targets < <(cd fuzz_targets && printf '%s\n' *.rs | sed 's/\.rs$//')

tools=$(rustc +nightly --print target-libdir)/../bin
if [[ ! -x $tools/llvm-cov ]]; then
  echo "llvm-cov is missing: rustup +nightly component add llvm-tools" >&2
  exit 1
fi
build_dir=${CARGO_TARGET_DIR:-$PWD/target}/coverage
bins=()
for target in "${targets[@]}"; do bins+=(--bin "$target"); done
# Without debug assertions: a branch that cannot be taken would count as missed.
LLVM_PROFILE_FILE=/dev/null RUSTFLAGS="-Cinstrument-coverage" CARGO_PROFILE_DEV_DEBUG_ASSERTIONS=false \
  cargo +nightly build --quiet --no-default-features "${bins[@]}" --target-dir "$build_dir"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
root=$(cd .. && pwd)
echo "| target | module | regions | covered | lines | covered |"
echo "|---|---|---|---|---|---|"
for target in "${targets[@]}"; do
  binary=$build_dir/debug/$target
  # The panics of a target's assertions are not caught here: a corpus file that makes one ends this.
  find "corpus/$target" -type f -print0 |
    LLVM_PROFILE_FILE="$scratch/%m-%p.profraw" xargs -0r "$binary" >/dev/null
  "$tools/llvm-profdata" merge -sparse "$scratch"/*.profraw -o "$scratch/profile"
  rm "$scratch"/*.profraw
  for module in $(modules_of "$target"); do
    "$tools/llvm-cov" report "$binary" -instr-profile="$scratch/profile" "$root/$module" |
      awk -v target="$target" -v module="$module" \
        '$1 == "TOTAL" { print "| " target " | " module " | " $2 " | " $4 " | " $8 " | " $10 " |" }'
    if ((missed)); then
      "$tools/llvm-cov" show "$binary" -instr-profile="$scratch/profile" "$root/$module" |
        awk -F'|' '$2 ~ /^ *0$/ { print "    " $1 "|" $3 }'
    fi
  done
done
