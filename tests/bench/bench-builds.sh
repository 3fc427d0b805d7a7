# Two builds of lictor side by side: what a change or a profile costs. BIN is the one under test, BEFORE the directory of the other.
# Medians of alternated rounds, and CPU per operation, which hardly depends on what else the machine does.
start_build() { # NAME BIN PORT
  spawn "$2/lictor" agent -server -bootstrap-expect 1 -node node1 -bind 127.0.0.1 -data-dir "$work/data-$1" -log-level error \
    -http-port "$3" -dns-port $(($3 + 1)) -grpc-port -1 -grpc-tls-port -1 -serf-lan-port $(($3 + 2)) -server-port $(($3 + 3)) -serf-wan-port -1
  pids[$1]=${started[-1]}
  wait_for curl -sf "localhost:$3/v1/agent/ready"
  curl -sf -X PUT -d "$(head -c 192 /dev/zero | base64 -w0)" "localhost:$3/v1/kv/get" > /dev/null
  for i in $(seq 50); do
    curl -sf -X PUT -d "{\"ID\":\"web$i\",\"Name\":\"web\",\"Address\":\"10.0.0.$i\",\"Port\":80,\"Check\":{\"TTL\":\"1h\",\"Status\":\"passing\"}}" \
      "localhost:$3/v1/agent/service/register"
  done
  wait_for sh -c "test \$(curl -sf localhost:$3/v1/health/service/web | jq length) -eq 50"
}
# http_rounds NAME CLIENTS PATH [SCRIPT]: requests per second and CPU us per request
http_rounds() {
  local who before
  rm -f ours* peer*
  for _ in $(seq "$ROUNDS"); do
    for who in ours peer; do
      before=$(cpu ${pids[$who]})
      wrk -t1 -c"$2" -d"$SECONDS_EACH" ${4:+-s "$4"} "http://127.0.0.1:${port[$who]}$3" > out
      awk '/Requests\/sec/ { print $2 }' out >> $who
      awk -v used="$(cpu ${pids[$who]})" -v before="$before" '/requests in/ { print (used - before) / $1 * 1e6 }' out >> $who.cpu
    done
  done
  compare "$1, $2 clients, requests/s" ours peer
  compare "  CPU us per request" ours.cpu peer.cpu
}
bench_builds() {
  local -A pids=() port=([ours]=28500 [peer]=28700)
  PEER=before
  start_build ours "$BIN" 28500; start_build peer "$(realpath "$BEFORE")" 28700
  cat > put.lua <<C
function request() n = ((n or 0) + 1) % 1000; return wrk.format("PUT", "/v1/kv/bench/" .. n, {}, string.rep("x", 256) .. os.clock()) end
C
  for clients in 1 64; do
    http_rounds "KV PUT" $clients / put.lua
    http_rounds "KV GET" $clients /v1/kv/get
  done
  http_rounds "health of 50 instances" 16 /v1/health/service/web
  for name in web.service node1.node; do
    dns_rounds "$name" ours=127.0.0.1:28501 peer=127.0.0.1:28701
    compare "DNS A $name, queries/s" ours peer
    compare "  CPU us per query" ours.cpu peer.cpu
  done
}
