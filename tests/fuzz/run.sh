#!/bin/bash
# Runs fuzz targets for longer than a test does, one after the other.
#
# usage: tests/fuzz/run.sh TARGET SECONDS     one target of tests/fuzz/main.rs
#        tests/fuzz/run.sh all SECONDS        each of them
#
# A failure prints the input as a line for tests/fuzz/corpus/TARGET.txt. PROFILE=dev builds without optimization.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${1:?usage: run.sh TARGET|all SECONDS} seconds=${2:?usage: run.sh TARGET|all SECONDS}
targets=$target
if [ "$target" = all ]; then targets=$(cd tests/fuzz/corpus && ls -- *.txt | sed 's/\.txt$//'); fi
export BOLERO_RANDOM_TEST_TIME_MS=$((seconds * 1000)) BOLERO_RANDOM_MAX_LEN=512
failed=
for target in $targets; do
  cargo test --quiet --profile "${PROFILE:-release}" -p lictor-fuzz --test fuzz -- --exact "$target" || failed="$failed $target"
done
[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }
