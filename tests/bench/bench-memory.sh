# Idle memory: proportional set size, half a minute after the start.
pss() { awk '/^Pss:/ { printf "%.1f MiB", $2 / 1024 }' "/proc/$1/smaps_rollup"; }
bench_memory() {
  spawn "$BIN/lictor" agent -server -bootstrap-expect 1 -node node1 -bind 127.0.0.1 -data-dir "$work/memory" -log-level error \
    -http-port 28500 -dns-port 28600 -grpc-port -1 -grpc-tls-port -1
  agent=${started[-1]}
  wait_for curl -sf localhost:28500/v1/agent/ready
  curl -sf -X PUT -d '{"Name":"web","Port":1,"Connect":{"SidecarService":{"Port":28021}}}' localhost:28500/v1/agent/service/register
  spawn "$BIN/lictor-sidecar" --server http://127.0.0.1:28500 --sidecar-for web --log-level error
  sidecar=${started[-1]}
  wait_for bash -c 'exec 3<>/dev/tcp/127.0.0.1/28021'
  sleep 30
  echo "idle memory (PSS)                  agent $(pss "$agent")   sidecar $(pss "$sidecar")"
}
