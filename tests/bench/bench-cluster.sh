# Three servers on one machine beside three etcd members: writes through the leader, reads of three kinds beside a hyper
# server of a fixed body, DNS at a server and at a client agent beside NSD, watchers of one key, failover at default settings.
# Needs python3 besides what the others need.
cluster_lictor() { # starts three servers on 127.0.0.2 to 127.0.0.4 and waits for a leader
  for i in 2 3 4; do
    spawn "$BIN/lictor" agent -server -bootstrap-expect 3 -node server$i -bind 127.0.0.$i -client 127.0.0.$i -data-dir "$work/cluster/$i" \
      -retry-join 127.0.0.2 -retry-join 127.0.0.3 -log-level error -http-port 28500 -dns-port 28600 -grpc-port -1 -grpc-tls-port -1 \
      -server-port 28300 -serf-lan-port 28301 -serf-wan-port -1 -config-file "$work/limits.json"
    servers[$i]=${started[-1]}
  done
  wait_for curl -sf 127.0.0.2:28500/v1/agent/ready; wait_for curl -sf 127.0.0.4:28500/v1/agent/ready
  sleep 2
}
cluster_dns() { # a server that follows and a client agent beside NSD; then what the two hold when idle
  local leader=$1 follower i; local -A pids=()
  for i in 2 3 4; do [ "127.0.0.$i" = "$leader" ] || follower=127.0.0.$i pids[server]=${servers[$i]}; done
  spawn "$BIN/lictor" agent -node client9 -bind 127.0.0.9 -client 127.0.0.9 -data-dir "$work/cluster/client" -retry-join 127.0.0.2 -log-level error \
    -http-port 28500 -dns-port 28600 -grpc-port -1 -grpc-tls-port -1 -serf-lan-port 28301
  pids[client]=${started[-1]}
  wait_for curl -sf 127.0.0.9:28500/v1/status/leader
  for i in $(seq 10); do
    curl -sf -X PUT -d "{\"ID\":\"web$i\",\"Name\":\"web\",\"Address\":\"10.0.0.$i\",\"Port\":80,\"Check\":{\"TTL\":\"1h\",\"Status\":\"passing\"}}" \
      127.0.0.9:28500/v1/agent/service/register
  done
  for i in "$follower" 127.0.0.9; do
    wait_for sh -c "test \$(dig +short @$i -p 28600 +bufsize=4096 web.service.consul | wc -l) -eq 10"
  done
  start_nsd
  pids[peer]=${started[-1]}
  dns_rounds web.service server=$follower:28600 client=127.0.0.9:28600 peer=127.0.0.1:28653
  for i in server client; do
    PEER=NSD compare "DNS A web.service at a $i, queries/s" $i peer
    PEER=NSD compare "  CPU us per query" $i.cpu peer.cpu
  done
  kill "${pids[peer]}"
  sleep 30
  echo "idle memory (PSS), after the load above: server that follows $(pss "${pids[server]}"), client agent $(pss "${pids[client]}")"
}
leader_of() { curl -sf "$1/v1/status/leader" | tr -d '"' | cut -d: -f1; }
rate() { awk '/Requests\/sec/ { print $2 }'; }
p50_ms() { awk '/50%/ { v = $2; if (v ~ /us$/) print v / 1000; else if (v ~ /ms$/) print v + 0; else print v * 1000 }'; }
bench_cluster() {
  local value value64 leader api address who; declare -A servers=()
  echo '{"limits":{"http_max_conns_per_client":10000}}' > "$work/limits.json"
  value=$(head -c 192 /dev/zero | base64 -w0) value64=$(head -c 256 /dev/zero | base64 -w0)
  cluster_lictor
  local peers=a=http://127.0.0.5:28380,b=http://127.0.0.6:28380,c=http://127.0.0.7:28380 name=a
  for i in 5 6 7; do
    spawn etcd --enable-v2 --name $name --data-dir "$work/etcd$i" --listen-client-urls http://127.0.0.$i:28379 --advertise-client-urls http://127.0.0.$i:28379 \
      --listen-peer-urls http://127.0.0.$i:28380 --initial-advertise-peer-urls http://127.0.0.$i:28380 --initial-cluster $peers --initial-cluster-state new --log-level error
    name=$(echo $name | tr ab bc)
  done
  wait_for curl -sf 127.0.0.5:28379/health
  sleep 2
  leader=$(leader_of 127.0.0.2:28500)
  local etcd_leader
  etcd_leader=$(for i in 5 6 7; do curl -sf 127.0.0.$i:28379/v2/stats/self | jq -r --arg i "127.0.0.$i" 'select(.state == "StateLeader") | $i'; done)
  # etcd twice: its v2 API, which is HTTP down to consensus, and the JSON gateway of v3, whose keys are base64
  cat > put.lua <<C
local id = 0
function setup(thread) thread:set("id", id); id = id + 1 end
function init(args) n = 0; api = args[1] end
function request()
  n = (n + 1) % 1000
  if api == "v2" then return wrk.format("PUT", "/v2/keys/bench/" .. id .. "/" .. n, {["Content-Type"] = "application/x-www-form-urlencoded"}, "value=$value") end
  if api == "v3" then return wrk.format("POST", "/v3/kv/put", {}, string.format('{"key":"bench%03d","value":"%s"}', n, "$value64")) end
  return wrk.format("PUT", "/v1/kv/bench/" .. id .. "/" .. n, {}, "$value" .. n .. os.clock())
end
C
  for clients in 64 1; do
    rm -f rate.* p50.*
    for _ in $(seq "$ROUNDS"); do
      for api in lictor v2 v3; do
        [ $api = lictor ] && address=$leader:28500 || address=$etcd_leader:28379
        wrk --latency -t1 -c$clients -d"$SECONDS_EACH" -s put.lua "http://$address" -- $api > out; rate < out >> rate.$api; p50_ms < out >> p50.$api
      done
    done
    for api in v2 v3; do
      PEER="etcd $api" compare "3 servers, PUT, $clients clients, req/s" rate.lictor rate.$api
      PEER="etcd $api" compare "3 servers, PUT, $clients clients, p50 ms" p50.lictor p50.$api
    done
  done
  curl -sf -X PUT -d "$value" "$leader:28500/v1/kv/get" > /dev/null
  local body; body=$(curl -sf "$leader:28500/v1/kv/get"); body=${body:0:-1}
  spawn "$BIN/lictor" demo app -listen 127.0.0.8:28020 -prefix "$body"
  wait_for curl -sf 127.0.0.8:28020/
  rm -f hyper default consistent stale follower
  for _ in $(seq "$ROUNDS"); do
    wrk -t1 -c64 -d"$SECONDS_EACH" "http://127.0.0.8:28020/" | rate >> hyper
    wrk -t1 -c64 -d"$SECONDS_EACH" "http://$leader:28500/v1/kv/get" | rate >> default
    wrk -t1 -c64 -d"$SECONDS_EACH" "http://$leader:28500/v1/kv/get?consistent" | rate >> consistent
    wrk -t1 -c64 -d"$SECONDS_EACH" "http://$leader:28500/v1/kv/get?stale" | rate >> stale
  done
  PEER=hyper compare "GET default at the leader, 64 clients" default hyper
  PEER=default compare "GET consistent, 64 clients" consistent default
  PEER=default compare "GET stale, 64 clients" stale default
  cluster_dns "$leader"
  python3 "$here/cluster.py" watchers "$leader:28500" 5000 "$(for i in 2 3 4; do [ "127.0.0.$i" = "$leader" ] && echo "${servers[$i]}"; done)"
  python3 "$here/cluster.py" failover "${KILLS:-30}" "${servers[2]}" "${servers[3]}" "${servers[4]}"
}
