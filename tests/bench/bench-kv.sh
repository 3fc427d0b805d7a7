# KV PUT and GET over HTTP beside etcd's v2 HTTP API: 256-byte values, durable, one server each.
bench_kv() {
  spawn "$BIN/lictor" agent -server -bootstrap-expect 1 -node node1 -bind 127.0.0.1 -data-dir "$work/lictor" -log-level error \
    -http-port 28500 -dns-port -1 -grpc-port -1 -grpc-tls-port -1
  spawn etcd --enable-v2 --data-dir "$work/etcd" --listen-client-urls http://127.0.0.1:28379 --advertise-client-urls http://127.0.0.1:28379 \
    --listen-peer-urls http://127.0.0.1:28380 --initial-advertise-peer-urls http://127.0.0.1:28380 --initial-cluster default=http://127.0.0.1:28380 --log-level error
  wait_for curl -sf localhost:28500/v1/agent/ready
  wait_for curl -sf localhost:28379/health
  value=$(head -c 192 /dev/zero | base64 -w0)
  cat > put.lua <<C
local id = 0
function setup(thread) thread:set("id", id); id = id + 1 end
function init(args) n = 0; etcd = args[1] == "etcd" end
function request()
  n = (n + 1) % 1000
  if etcd then
    return wrk.format("PUT", "/v2/keys/bench/" .. id .. "/" .. n, {["Content-Type"] = "application/x-www-form-urlencoded"}, "value=$value")
  end
  return wrk.format("PUT", "/v1/kv/bench/" .. id .. "/" .. n, {}, "$value" .. n .. os.clock())
end
C
  curl -sf -X PUT -d "$value" localhost:28500/v1/kv/get > /dev/null; curl -sf -X PUT -d "value=$value" localhost:28379/v2/keys/get > /dev/null
  for clients in 1 64; do
    rm -f ours peer
    for _ in $(seq "$ROUNDS"); do
      wrk -t1 -c$clients -d"$SECONDS_EACH" -s put.lua http://127.0.0.1:28500 -- lictor | awk '/Requests\/sec/ { print $2 }' >> ours
      wrk -t1 -c$clients -d"$SECONDS_EACH" -s put.lua http://127.0.0.1:28379 -- etcd | awk '/Requests\/sec/ { print $2 }' >> peer
    done
    PEER=etcd compare "KV PUT, $clients clients, requests/s" ours peer
    rm -f ours peer
    for _ in $(seq "$ROUNDS"); do
      wrk -t1 -c$clients -d"$SECONDS_EACH" http://127.0.0.1:28500/v1/kv/get | awk '/Requests\/sec/ { print $2 }' >> ours
      wrk -t1 -c$clients -d"$SECONDS_EACH" http://127.0.0.1:28379/v2/keys/get | awk '/Requests\/sec/ { print $2 }' >> peer
    done
    PEER=etcd compare "KV GET, $clients clients, requests/s" ours peer
  done
}
