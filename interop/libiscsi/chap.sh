#!/usr/bin/env bash
# CHAP as libiscsi speaks it: which users our binary lets in, and which it keeps out.
#
#   chap.sh      exit status 0 when all is as it should be
#
# Needs iscsi-inq and iscsi-ls: package libiscsi-bin.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"

# Users by the form of their name; those of $unwritable have no place in a URL.
long=$(printf '%0255d' 0 | tr 0 u)
users=(a lunforge Back.Up_7-x 0123456789 iqn.2026-11.org.example:host)
unwritable=('per%cent' 'at@home' 'slash/question?' 'two words' 'größe-ü-漢字' '"quoted" $HOME;' "$long")

# secret_of USER: each has one of its own; the last one is as long as libiscsi takes.
secret_of() {
  [[ $1 != "$long" ]] || { printf 's%.0s' {1..255}; return; }
  printf '%s' "$1" | sha256sum | cut -c1-20
}

# as USER SECRET COMMAND...: with these in the environment, as libiscsi takes them.
as() {
  LIBISCSI_CHAP_USERNAME=$1 LIBISCSI_CHAP_PASSWORD=$2 timeout 10 "${@:3}" >"$work/out" 2>&1 </dev/null
}

let_in() { as "$1" "$2" iscsi-inq "$url" || die "not let in: $1: $(tail -1 "$work/out")"; }
kept_out() { ! as "$1" "$2" iscsi-inq "$url" || die "let in by a wrong secret: $1"; }

export_for() {
  local user
  (umask 077 && for user; do printf '%s %s\n' "$user" "$(secret_of "$user")"; done >"$work/secrets")
  start_target "$work/target.log" --null 64M --portal "127.0.0.1:$(free_port)" --chap "$work/secrets" "${mutual[@]}"
  url=${urls[0]}
}

one_way() {
  local user
  export_for "${users[@]}" "${unwritable[@]}"
  for user in "${users[@]}" "${unwritable[@]}"; do
    let_in "$user" "$(secret_of "$user")"
    kept_out "$user" "x$(secret_of "$user")" # longer at its head: libiscsi cuts at 255
  done
  kept_out nobody "$(secret_of nobody)"
  kept_out "${users[0]}" "$(secret_of "${users[1]}")"
  for user in "${users[@]}"; do
    timeout 10 iscsi-inq "${url/:\/\//:\/\/$user%$(secret_of "$user")@}" >"$work/out" 2>&1 ||
      die "not let in by URL: $user"
  done
  ! timeout 10 iscsi-inq "$url" >"$work/out" 2>&1 || die "let in without a name"
  stop_target
  echo "chap: ${#users[@]} + ${#unwritable[@]} kinds of user name let in by their secret only"
}

# discover: what a portal tells those who may ask.
discover() {
  local portal
  export_for lunforge
  portal=${url%/*/*}
  as lunforge "$(secret_of lunforge)" iscsi-ls -s "$portal" || die "no discovery: $(tail -1 "$work/out")"
  grep -q '^Target:iqn' "$work/out" || die "no target discovered: $(cat "$work/out")"
  grep -q 'Lun:0' "$work/out" || die "no unit discovered: $(cat "$work/out")"
  ! as lunforge wrong-secret-1234 iscsi-ls "$portal" || die "discovery by a wrong secret"
  stop_target
  echo "chap: discovery"
}

# both_ways NAME: the target proves itself by this name, and the initiator checks.
both_ways() {
  local answer
  answer=$(secret_of "target $1")
  (umask 077 && printf '%s %s\n' "$1" "$answer" >"$work/answer")
  mutual=(--mutual-chap "$work/answer")
  export_for lunforge
  export LIBISCSI_CHAP_TARGET_USERNAME=$1 LIBISCSI_CHAP_TARGET_PASSWORD=$answer
  let_in lunforge "$(secret_of lunforge)"
  LIBISCSI_CHAP_TARGET_PASSWORD=wrong-secret-1234 kept_out lunforge "$(secret_of lunforge)"
  LIBISCSI_CHAP_TARGET_USERNAME=x$1 kept_out lunforge "$(secret_of lunforge)"
  unset LIBISCSI_CHAP_TARGET_USERNAME LIBISCSI_CHAP_TARGET_PASSWORD
  let_in lunforge "$(secret_of lunforge)" # who does not ask for a proof
  stop_target
}

need_binary
need_commands iscsi-inq iscsi-ls sha256sum timeout
mutual=()
one_way
discover
for name in target iqn.2026-11.org.lunforge:target 'näme with/@%' "$long"; do both_ways "$name"; done
echo "chap: mutual, 4 kinds of name"
