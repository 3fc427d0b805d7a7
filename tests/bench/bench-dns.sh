# DNS A of a service with 10 instances, and of a node, beside NSD with static records (one server process).
start_nsd() {
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
}
# dns_rounds NAME WHO=ADDRESS:PORT...: queries per second and CPU us per query, one line per round in files WHO and WHO.cpu;
# the process of WHO is pids[WHO]
dns_rounds() {
  local name=$1 server who address before; shift
  echo "$name.consul A" > queries
  for server in "$@"; do rm -f "${server%=*}" "${server%=*}.cpu"; done
  for _ in $(seq "$ROUNDS"); do
    for server in "$@"; do
      who=${server%=*} address=${server#*=}
      before=$(cpu $(family ${pids[$who]}))
      dnsperf -s "${address%:*}" -p "${address#*:}" -d queries -c 4 -l "$SECONDS_EACH" 2>/dev/null > out
      awk '/Queries per second/ { print $4 }' out >> "$who"
      awk -v used="$(cpu $(family ${pids[$who]}))" -v before="$before" '/Queries completed/ { print (used - before) / $3 * 1e6 }' out >> "$who.cpu"
    done
  done
}
bench_dns() {
  spawn "$BIN/lictor" agent -dev -node node1 -log-level error -http-port 28500 -dns-port 28600 -grpc-port -1 -grpc-tls-port -1
  local -A pids=([ours]=${started[-1]})
  wait_for curl -sf localhost:28500/v1/agent/ready
  for i in $(seq 10); do
    curl -sf -X PUT -d "{\"ID\":\"web$i\",\"Name\":\"web\",\"Address\":\"10.0.0.$i\",\"Port\":80,\"Check\":{\"TTL\":\"1h\",\"Status\":\"passing\"}}" \
      localhost:28500/v1/agent/service/register
  done
  wait_for sh -c 'test $(dig +short @127.0.0.1 -p 28600 +bufsize=4096 web.service.consul | wc -l) -eq 10'
  start_nsd
  pids[peer]=${started[-1]}
  for name in web.service node1.node; do
    dns_rounds "$name" ours=127.0.0.1:28600 peer=127.0.0.1:28653
    PEER=NSD compare "DNS A $name, queries/s" ours peer
    PEER=NSD compare "  CPU us per query" ours.cpu peer.cpu
  done
}
