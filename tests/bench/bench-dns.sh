# DNS A of a service with 10 instances, and of a node, beside NSD with static records (one server process).
bench_dns() {
  spawn "$BIN/lictor" agent -dev -node node1 -log-level error -http-port 28500 -dns-port 28600 -grpc-port -1 -grpc-tls-port -1
  local -A pids=([ours]=${started[-1]})
  wait_for curl -sf localhost:28500/v1/agent/ready
  for i in $(seq 10); do
    curl -sf -X PUT -d "{\"ID\":\"web$i\",\"Name\":\"web\",\"Address\":\"10.0.0.$i\",\"Port\":80,\"Check\":{\"TTL\":\"1h\",\"Status\":\"passing\"}}" \
      localhost:28500/v1/agent/service/register
  done
  wait_for sh -c 'test $(dig +short @127.0.0.1 -p 28600 +bufsize=4096 web.service.consul | wc -l) -eq 10'
  mkdir -p nsd
  { echo '$ORIGIN consul.'; echo '@ 0 SOA ns.consul. hostmaster.consul. 1 3600 600 86400 0'; echo '@ 0 NS ns.consul.'; echo 'ns 0 A 127.0.0.1'
    echo 'node1.node 0 A 127.0.0.1'; for i in 1 2 3; do echo "web.service 0 A 10.0.0.$i"; done; } > nsd/zone
  cat > nsd/conf <<C
server:
  ip-address: 127.0.0.1@28653
  server-count: 1
  username: ""
  rrl-ratelimit: 0
  zonesdir: "$work/nsd"
  database: ""
  pidfile: "$work/nsd/pid"
  xfrdfile: "$work/nsd/xfrd"
  zonelistfile: "$work/nsd/list"
  logfile: "$work/nsd/log"
remote-control:
  control-enable: no
zone:
  name: consul.
  zonefile: zone
C
  spawn nsd -d -c nsd/conf
  wait_for sh -c 'dig +short @127.0.0.1 -p 28653 node1.node.consul | grep -q .'
  pids[peer]=${started[-1]}
  PEER=NSD
  for name in web.service node1.node; do
    echo "$name.consul A" > queries; rm -f ours* peer*
    for _ in $(seq "$ROUNDS"); do
      for server in ours:28600 peer:28653; do
        local who=${server%:*} before; before=$(cpu $(family ${pids[$who]}))
        dnsperf -s 127.0.0.1 -p "${server#*:}" -d queries -c 4 -l "$SECONDS_EACH" 2>/dev/null > out
        awk '/Queries per second/ { print $4 }' out >> "$who"
        awk -v used="$(cpu $(family ${pids[$who]}))" -v before="$before" '/Queries completed/ { print (used - before) / $3 * 1e6 }' out >> "$who.cpu"
      done
    done
    compare "DNS A $name, queries/s" ours peer
    compare "  CPU us per query" ours.cpu peer.cpu
  done
}
