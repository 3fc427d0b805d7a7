#!/bin/bash
# Runs the fault suite once per planted bug (agent/core/src/planted.rs) and prints what found each, as rows of RELIABILITY.md.
#
# usage: tests/cluster/planted.sh [BUG...]      as root; LICTOR_CLUSTER_FAULTS bounds the search (default 60)
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cargo build --quiet --release -p lictor --features planted-bugs
# the planted binary stays out of the way of everything that is shipped
target=$(cargo metadata --format-version 1 --no-deps | jq -r .target_directory)
cp "$(find "$target" -path '*/release/lictor' -type f -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2)" "$dir/lictor"
suite=$(cargo test --quiet --release -p lictor-tests --test cluster --no-run --message-format json | jq -r 'select(.executable and .target.name == "cluster") | .executable')

bugs=("$@")
[ ${#bugs[@]} -gt 0 ] || mapfile -t bugs < <(sed -n '/^pub enum Bug/,/^}/s/^    \([A-Z][A-Za-z]*\),/\1/p' agent/core/src/planted.rs)
echo "| planted bug | found by | operations | faults | seconds |"
echo "|---|---|---|---|---|"
for bug in "${bugs[@]}"; do
  report=$dir/$bug.json start=$SECONDS
  LICTOR_PLANTED=$bug LICTOR_BIN_DIR=$dir LICTOR_CLUSTER_REPORT=$report LICTOR_CLUSTER_FAULTS=${LICTOR_CLUSTER_FAULTS:-60} \
    timeout 900 "$suite" --exact suite::nothing_is_lost_and_everything_has_an_order_under_faults >"$dir/$bug.log" 2>&1 && found="**not found**" || found=
  if [ -s "$report" ]; then
    : "${found:=$(jq -r '.violations[0] // "the run ended" | split("\n")[0] | .[0:90]' "$report")}"
    echo "| $bug | $found | $(jq .operations.asked "$report") | $(jq .proven "$report") | $((SECONDS - start)) |"
  else
    : "${found:=$(grep -m1 -A1 panicked "$dir/$bug.log" | tail -1 | cut -c1-90)}"
    echo "| $bug | $found | | | $((SECONDS - start)) |"
  fi
done
