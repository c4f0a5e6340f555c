#!/usr/bin/env bash
# All tests of the project.
#
#   ./test.sh [--quick] [--without STAGE]... [--list]
#
#   --quick          format, lints, documentation, unit and corpus tests: a Rust
#                    toolchain is enough
#   --without STAGE  leave a stage out, on purpose; the summary says so
#   --list           name the stages
#
# The whole adds the loom models, the fuzz targets, and against the release binary
# foreign initiators and abuse. The Debian packages these need are
# installed when this is root and apt-get is there, else named.
#
# The first failing stage ends the run. The last line is "N passed, N failed".
set -euo pipefail
cd "$(dirname "$0")"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}

quick_stages=(format lints docs tests)
full_stages=("${quick_stages[@]}" loom fuzz simulation packages scripts rdma release libiscsi abuse qemu wireshark guest power)

# One version for QEMU's three: its block drivers load into their own version only.
qemu_packages=(qemu-system-x86 qemu-utils qemu-block-extra)
packages=(libiscsi-bin tshark mmdebstrap e2fsprogs kmod busybox-static cpio genisoimage shellcheck
  libibverbs-dev librdmacm-dev gcc-12 make xz-utils libelf1)

format() {
  cargo fmt --all --check
}

lints() {
  local features
  for features in --no-default-features "" --all-features; do
    # shellcheck disable=SC2086 # empty means none
    cargo clippy --quiet --workspace --all-targets $features -- -D warnings
  done
  # In the workspace the program asks for every feature of the facade: each alone, too.
  for features in "" alua iscsi pr srp vdisk; do
    cargo clippy --quiet --package lunforge --no-default-features --features "$features" --all-targets -- -D warnings
  done
}

docs() {
  RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps
}

tests() {
  if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --workspace --no-fail-fast
    cargo test --workspace --doc
  else
    cargo test --workspace
  fi
}

loom() {
  RUSTFLAGS="--cfg loom" cargo test --package lunforge-core --release --test 'loom_*' \
    --target-dir "$CARGO_TARGET_DIR/loom"
}

# Every target builds, instrumented, and stands its corpus.
fuzz() {
  local source name triple
  triple=$(rustc -vV | sed -n 's/^host: //p')
  # The sanitizer is an unstable option; RUSTC_BOOTSTRAP lets any toolchain take it.
  RUSTC_BOOTSTRAP=1 RUSTFLAGS="--cfg fuzzing -Zsanitizer=address" cargo build --quiet \
    --manifest-path fuzz/Cargo.toml --bins --target "$triple" --target-dir "$CARGO_TARGET_DIR/fuzz"
  for source in fuzz/fuzz_targets/*.rs; do
    name=$(basename "$source" .rs)
    find "fuzz/corpus/$name" -type f -print0 |
      xargs -0r "$CARGO_TARGET_DIR/fuzz/$triple/debug/$name" >"$scratch/fuzz" 2>&1 ||
      { tail -40 "$scratch/fuzz"; return 1; }
    echo "$name: $(grep -c '^Executed ' "$scratch/fuzz" || true) inputs"
  done
}

# Whole targets in one thread under a virtual clock; and whether that finds the deliberate bugs.
simulation() {
  cargo build --quiet --profile sim --package lunforge-sim
  "$CARGO_TARGET_DIR/sim/lunforge-sim" run --seeds 0..50000 --threads "$(nproc)"
  fuzz/sim/bite.sh
}

missing_packages() {
  local package
  for package in "${packages[@]}" "${qemu_packages[@]}"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || echo "$package"
  done
  [[ $(dpkg-query -W -f '${Version}\n' "${qemu_packages[@]}" 2>/dev/null | sort -u | wc -l) -le 1 ]] ||
    printf '%s\n' "${qemu_packages[@]}"
}

packages() {
  local missing version
  missing=$(missing_packages | sort -u | paste -sd' ')
  [[ -n $missing ]] || { echo "all there"; return; }
  if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
    echo "these Debian packages are missing: $missing"
    return 1
  fi
  apt-get update -q >/dev/null
  version=$(apt-cache policy qemu-block-extra | awk '/Candidate:/ { print $2 }')
  DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends --allow-downgrades \
    "${packages[@]}" "${qemu_packages[@]/%/=$version}" >"$scratch/apt" 2>&1 || { tail -20 "$scratch/apt"; return 1; }
  echo "installed: $missing"
}

scripts() {
  shellcheck -x -P SCRIPTDIR --severity=warning test.sh fuzz/sim/bite.sh .ci/run interop/*.sh interop/*/*.sh interop/guest/tests/*.sh
}

# Layouts of rdma-core that are written down in verbs/ffi, against its headers.
rdma() {
  cargo test --package lunforge-srp --lib -- --ignored --exact \
    verbs::ffi::tests::layouts_and_constants_are_those_of_the_headers | tee "$scratch/rdma"
  # Of a test that is not there cargo says that all is well.
  grep -q '^test result: ok. 1 passed' "$scratch/rdma"
}

release() {
  cargo build --release --locked
  cargo build --release --locked --package lunforge --example two_ports --example infiniband
  cargo build --release --locked --package lunforge-bench
}

libiscsi() {
  interop/libiscsi/run.sh
  interop/libiscsi/chap.sh
}
abuse() { interop/abuse.sh; }
qemu() { interop/qemu.sh; }
wireshark() { interop/wireshark.sh; }
guest() { interop/guest/run.sh -j 2; }
power() {
  interop/power/cuts.sh -n 3
  interop/power/log.sh
}

# stage NAME: run it in a shell of its own, which its first failing command ends,
# and leave its status in $status. Not to be called in a condition: there -e is off.
stage() {
  local start=$SECONDS
  printf '\n== %s\n' "$1"
  set +e
  (set -e; "$1")
  status=$?
  set -e
  if ((status)); then
    printf '\n== %s FAILED after %d s with status %d; no later stage was run\n' "$1" $((SECONDS - start)) "$status"
  else
    printf '== %s passed in %d s\n' "$1" $((SECONDS - start))
  fi
}

main() {
  local stages=("${full_stages[@]}") without=" " name passed=0 failed=0
  while (($#)); do
    case $1 in
      --quick) stages=("${quick_stages[@]}") ;;
      --without) without+="${2:?--without wants a stage} " && shift ;;
      --list) printf '%s\n' "${full_stages[@]}" && return ;;
      *) sed -n '2,/^set/{s/^# \{0,1\}//p}' "$0" >&2 && return 2 ;;
    esac
    shift
  done
  for name in $without; do
    [[ " ${full_stages[*]} " == *" $name "* ]] || { echo "no stage $name" >&2; return 2; }
  done
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  for name in "${stages[@]}"; do
    [[ $without != *" $name "* ]] || { printf '\n== %s left out, as asked\n' "$name"; continue; }
    stage "$name"
    ((status == 0)) || { failed=1; break; }
    passed=$((passed + 1))
  done
  printf '\n%d passed, %d failed\n' "$passed" "$failed"
  return "$failed"
}

main "$@"
