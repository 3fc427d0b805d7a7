# AGENTS (200) agents in one pool on this machine: how long until all know all, whether anybody is taken for failed within
# MINUTES (10), and the processor time of an idle agent. Needs python3; three of the agents are servers.
bench_pool() {
  local agents=${AGENTS:-200} i address role begun
  ulimit -n "$(ulimit -Hn)"
  begun=$(date +%s%N)
  for i in $(seq "$agents"); do
    address=127.1.$((i / 250)).$((i % 250 + 1)) role=()
    [ "$i" -gt 3 ] || role=(-server -bootstrap-expect 3 -server-port 28300 -serf-wan-port -1)
    spawn "$BIN/lictor" agent "${role[@]}" -node "agent$i" -bind "$address" -client "$address" -data-dir "$work/pool/$i" -log-level error \
      -retry-join 127.1.0.2 -retry-join 127.1.0.3 -retry-join 127.1.0.4 -retry-interval 5s \
      -http-port 28500 -dns-port -1 -grpc-port -1 -grpc-tls-port -1 -serf-lan-port 28301
  done
  python3 "$here/pool.py" "$agents" "$begun" "${MINUTES:-10}" "${started[@]}"
}
