#!/usr/bin/env bash
# Wireshark against our recordings: sessions of foreign initiators, recorded by
# the target, decode as iSCSI and SCSI, nothing malformed, with the PDUs that the
# sessions had; cut recordings too. The recordings replay without a difference.
#
#   wireshark.sh [-o DIR]     keep the recordings in DIR
#
#   LUNFORGE_BENCH   the initiator   (default: beside the binary under test)
#
# Needs tshark, iscsi-test-cu (libiscsi-bin), qemu-io with the iscsi driver.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

LUNFORGE_BENCH=${LUNFORGE_BENCH:-$(dirname "$LUNFORGE")/lunforge-bench}
keep='' port=

# export_recorded ARGUMENT...: a fresh disk, recorded to $records.
export_recorded() {
  rm -rf "$work/disk.img" "$work/recordings"
  records=$work/recordings port=$(free_port)
  start_target "$work/target.log" "$work/disk.img" --size 64M --thin --portal "127.0.0.1:$port" --record "$records" \
    --record-sessions "$@"
}

# decoded FILE FIELD...: those fields of its iSCSI packets.
decoded() {
  local file=$1 fields=() f
  shift
  for f in "$@"; do fields+=(-e "$f"); done
  tshark -r "$file" -d "tcp.port==$port,iscsi" -Y iscsi -T fields "${fields[@]}" 2>"$work/tshark"
}

# complaints FILE: what Wireshark has to say beyond remarks: malformed packets,
# gaps, bad checksums (it is told to look), what it cannot dissect. Not its fault
# with INQUIRY data that the initiator itself cut, by an allocation length of 64:
# it reads on behind the end of the page.
complaints() {
  tshark -r "$1" -d "tcp.port==$port,iscsi" -o tcp.check_checksum:TRUE -o ip.check_checksum:TRUE \
    -Y "(_ws.malformed and not (scsi_sbc.opcode == 0x12 and iscsi.datasegmentlength == 64)) or tcp.analysis.lost_segment or tcp.analysis.ack_lost_segment or tcp.analysis.retransmission
      or tcp.analysis.out_of_order or ip.checksum.status == 0 or (tcp.checksum.status == 0 and ${2:-frame})" \
    2>>"$work/tshark"
}

# opcodes FILE: each opcode that occurs, once.
opcodes() { decoded "$1" iscsi.opcode | tr ',' '\n' | grep . | sort -u | paste -sd' '; }

# expect FILE OPCODE...: it decodes, and has at least these.
expect() {
  local file=$1 have opcode
  shift
  have=$(complaints "$file")
  [[ -z $have ]] || die "$(basename "$file"): Wireshark complains: $(head -3 <<<"$have")"
  have=" $(opcodes "$file") "
  for opcode in "$@"; do
    [[ $have == *" $opcode "* ]] || die "$(basename "$file") has no opcode $opcode but$have"
  done
  echo "   $(basename "$file"): opcodes$have"
}

recorded() { find "$records" -name "*-$1.pcapng" | sort; }

# Every session of some of the suite's tests, and of QEMU.
whole_sessions() {
  local file test
  echo "-- whole sessions"
  export_recorded --record-data whole
  for test in Inquiry.Standard TestUnitReady.Simple ModeSense6.AllPages Read10.BeyondEol Write10.ZeroBlocks ProutRegister.Simple \
    Unmap.ZeroBlocks; do
    iscsi-test-cu --dataloss -t "SCSI.$test" "${urls[0]}" >"$work/suite" 2>&1 || { cat "$work/suite"; die "$test failed"; }
  done
  qemu-io -f raw "${urls[0]}" -c 'write -P 0xa5 0 1M' -c 'read -P 0xa5 0 1M' -c flush >"$work/qemu-io"
  qemu-img info -f raw "${urls[0]}" >"$work/qemu-img"
  stop_target
  mapfile -t files < <(recorded end)
  ((${#files[@]} >= 7)) || die "only ${#files[@]} sessions were recorded"
  for file in "${files[@]}"; do
    # Login, commands, logout, and their answers.
    expect "$file" 0x03 0x23 0x01 0x21
  done
  [[ $(decoded "${files[0]}" iscsi.keyvalue) == *TargetName=* ]] || die "no login text was decoded"
  capinfos -F "${files[0]}" >"$work/capinfos" || die "capinfos refuses ${files[0]}"
  [[ -n $(tshark -r "${files[0]}" -Y 'frame.comment contains "the session ended"') ]] || die "no packet says why"
  replays "${files[@]}"
}

# replays FILE...: one after the other against a fresh disk, as they were recorded.
replays() {
  local file
  mkdir "$work/replayed"
  cp "$@" "$work/replayed"
  export_recorded
  for file in "$work"/replayed/*; do
    "$LUNFORGE_BENCH" replay "$file" --target "${urls[0]}" --compare >"$work/replay" || { cat "$work/replay"; die "$file differs"; }
  done
  echo "   $# replayed without a difference"
  stop_target
}

# Headers and a little data, as it is by default; with digests; on demand.
cut_sessions() {
  local file digest
  echo "-- cut recordings, on demand, with digests"
  export_recorded --digest crc32c
  "$LUNFORGE_BENCH" load "${urls[0]}" --mode randwrite --block 64k --sessions 1 --depth 4 --seconds 2 --warmup 0 --span 32m \
    --header-digest --data-digest >"$work/load" &
  digest=$!
  sleep 1
  kill -USR2 "$target_pid"
  wait "$digest"
  stop_target
  mapfile -t files < <(recorded asked)
  ((${#files[@]} == 1)) || die "${#files[@]} recordings on demand"
  file=${files[0]}
  # Checksums of cut packets cannot be right.
  [[ -z $(complaints "$file" 'frame.cap_len == frame.len') ]] || die "$file: $(complaints "$file" | head -3)"
  [[ $(opcodes "$file") == *0x01* ]] || die "no commands in $file"
  [[ -n $(tshark -r "$file" -Y 'frame.cap_len < frame.len') ]] || die "nothing is cut in $file"
  echo "   $(basename "$file"): opcodes $(opcodes "$file")"
}

# The secret's proof is nowhere.
no_secret() {
  local secret=0123456789abcdef file
  echo "-- CHAP"
  (umask 077 && printf "lunforge %s\n" "$secret" >"$work/secret")
  export_recorded --chap "$work/secret"
  iscsi-inq "${urls[0]/:\/\//:\/\/lunforge%$secret@}" >"$work/inq"
  stop_target
  file=$(recorded end | head -1)
  expect "$file" 0x03 0x23
  decoded "$file" iscsi.keyvalue >"$work/keys"
  grep -Eq 'CHAP_R=\*+' "$work/keys" || die "there is no blanked CHAP_R"
  ! grep -aEq 'CHAP_R=0?[xXbB]' "$file" || die "a CHAP_R is in $file"
  echo "   CHAP_R is blanked"
}

while getopts o: o; do case $o in o) keep=$OPTARG ;; *) usage ;; esac; done
need_binary
[[ -x $LUNFORGE_BENCH ]] || die "no $LUNFORGE_BENCH: cargo build --release --package lunforge-bench"
need_commands tshark capinfos iscsi-test-cu iscsi-inq qemu-io qemu-img
whole_sessions
[[ -z $keep ]] || { mkdir -p "$keep" && cp "$work"/replayed/* "$keep"; }
cut_sessions
no_secret
echo "wireshark: all as expected"
