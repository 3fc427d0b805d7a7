#!/bin/bash
# Process 1 of the namespaces that `cluster up` makes: starts every part of a single-node Kubernetes, then waits.
#
# usage: node.sh DIR BIN ADDRESS CGROUP     (started by `cluster up` only)
#
# It never ends by itself: `cluster down` ends it, and the kernel ends everything below it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
D=$1 B=$2 IP=$3 CGROUP=$4
NODE=node1 PODS=10.244.0.0/16 SERVICES=10.96.0.0/16 DNS=10.96.0.10
export PATH=$B:$PATH KUBECONFIG=$D/admin.kubeconfig
cd "$D"

part() { # name command...: one part of the cluster, its output in log/
  local name=$1; shift
  "$@" > "log/$name.log" 2>&1 < /dev/null &
}
wait_for() { # seconds what command...
  local seconds=$1 what=$2; shift 2
  for _ in $(seq $((seconds * 5))); do "$@" >/dev/null 2>&1 && return; sleep 0.2; done
  echo "gave up waiting for $what"; exit 1
}

# --- a place of its own: what the daemons write outside DIR lands in memory and goes with the namespace
mount --make-rshared /
for hidden in /run /var/lib /var/log; do mount -t tmpfs -o mode=755 lictor-kube "$hidden"; done
mkdir -p /run/lock /run/netns
wait_for 10 "the interface from outside" ip link show "lk${CGROUP##*-}p"
ip link set lo up
ip link set "lk${CGROUP##*-}p" name eth0
ip addr add "$IP/30" dev eth0
ip link set eth0 up
ip route add $SERVICES dev eth0   # Service addresses need a route to be rewritten; a stray packet dies here
echo 1 > /proc/sys/net/ipv4/ip_forward
if [ -e /proc/sys/net/bridge/bridge-nf-call-iptables ]; then echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables; fi
find /sys/fs/cgroup -maxdepth 1 -mindepth 1 -type d -exec test -e {}/cgroup.procs \; -exec mkdir -p {}/"$CGROUP" \;
if [ -e /sys/fs/cgroup/cgroup.procs ]; then mkdir -p "/sys/fs/cgroup/$CGROUP"; fi
if [ -e /sys/fs/cgroup/cpuset/cpuset.cpus ]; then   # version 1: a new cpuset starts without CPUs
  for file in cpuset.cpus cpuset.mems; do cat "/sys/fs/cgroup/cpuset/$file" > "/sys/fs/cgroup/cpuset/$CGROUP/$file"; done
fi

# --- certificates and kubeconfigs
certificate() { # name subject [subjectAltName]
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$2" -keyout "pki/$1.key" -out "pki/$1.csr" 2>/dev/null
  printf 'basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n%s\n' \
    "${3:+subjectAltName=$3}" > "pki/$1.ext"
  openssl x509 -req -in "pki/$1.csr" -CA pki/ca.crt -CAkey pki/ca.key -CAcreateserial -days 30 \
    -extfile "pki/$1.ext" -out "pki/$1.crt" 2>/dev/null
}
kubeconfig() { # name
  kubectl --kubeconfig "$1.kubeconfig" config set-cluster c --server "https://$IP:6443" --certificate-authority pki/ca.crt --embed-certs
  kubectl --kubeconfig "$1.kubeconfig" config set-credentials u --client-certificate "pki/$1.crt" --client-key "pki/$1.key" --embed-certs
  kubectl --kubeconfig "$1.kubeconfig" config set-context c --cluster c --user u
  kubectl --kubeconfig "$1.kubeconfig" config use-context c
}
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=kube-ca -keyout pki/ca.key -out pki/ca.crt 2>/dev/null
certificate apiserver /CN=kube-apiserver "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.96.0.1,IP:$IP"
certificate kubelet "/O=system:nodes/CN=system:node:$NODE" "DNS:$NODE,IP:$IP"
certificate admin /O=system:masters/CN=admin
certificate controllers /CN=system:kube-controller-manager
certificate scheduler /CN=system:kube-scheduler
certificate proxy /CN=system:kube-proxy
openssl genrsa -out pki/accounts.key 2048 2>/dev/null
openssl rsa -in pki/accounts.key -pubout -out pki/accounts.pub 2>/dev/null
for name in admin controllers scheduler kubelet proxy; do kubeconfig $name >/dev/null; done

# --- control plane
part etcd etcd --data-dir "$D/etcd" --log-level warn
part apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 --service-cluster-ip-range=$SERVICES --allow-privileged \
  --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --client-ca-file=pki/ca.crt \
  --tls-cert-file=pki/apiserver.crt --tls-private-key-file=pki/apiserver.key \
  --service-account-issuer=https://kubernetes.default.svc \
  --service-account-key-file=pki/accounts.pub --service-account-signing-key-file=pki/accounts.key \
  --advertise-address="$IP" --kubelet-preferred-address-types=InternalIP --kubelet-certificate-authority=pki/ca.crt \
  --kubelet-client-certificate=pki/admin.crt --kubelet-client-key=pki/admin.key

# --- containerd of its own, while the API server starts
cat > containerd.toml <<TOML
version = 2
root = "$D/containerd"
state = "$D/run/containerd"
[grpc]
  address = "$D/run/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/lictor-test-tools:1"
  restrict_oom_score_adj = true # where lowering scores is not allowed
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$D/cni"
TOML
mkdir -p cni
cat > cni/10-bridge.conflist <<JSON
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$PODS"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
JSON
part containerd containerd -c containerd.toml
"$here/image.sh" "$B" "$D/tools.tar"
wait_for 30 containerd ctr -a run/containerd.sock version
ctr -a run/containerd.sock -n k8s.io images import tools.tar

wait_for 90 kube-apiserver kubectl get --raw /readyz
part controllers kube-controller-manager --kubeconfig=controllers.kubeconfig --leader-elect=false --use-service-account-credentials \
  --service-account-private-key-file=pki/accounts.key --root-ca-file=pki/ca.crt
part scheduler kube-scheduler --kubeconfig=scheduler.kubeconfig --leader-elect=false

# --- the node
cat > kubelet.yaml <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $D/pki/ca.crt}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP
failSwapOn: false
clusterDNS: [$DNS]
clusterDomain: cluster.local
resolvConf: $D/resolv.conf
tlsCertFile: $D/pki/kubelet.crt
tlsPrivateKeyFile: $D/pki/kubelet.key
containerRuntimeEndpoint: unix://$D/run/containerd.sock
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
podLogsDir: $D/pod-logs
syncFrequency: 5s # how soon a changed ConfigMap reaches pods; a minute by default
YAML
echo "nameserver 127.0.0.1" > resolv.conf
part kubelet kubelet --config=kubelet.yaml --kubeconfig=kubelet.kubeconfig --hostname-override=$NODE --node-ip="$IP" --root-dir="$D/kubelet"
cat > proxy.yaml <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $D/proxy.kubeconfig}
mode: iptables
iptables: {minSyncPeriod: 100ms}
hostnameOverride: $NODE
clusterCIDR: $PODS
conntrack: {maxPerCore: 0}
YAML
part proxy kube-proxy --config=proxy.yaml

# --- what every cluster has: cluster DNS, and a default class of volumes
mkdir -m 0777 -p volumes/{0..9}
kubectl apply -f "$here/cluster-dns.yaml" -f - <<YAML
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: standard, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
$(for i in {0..9}; do cat <<VOLUME
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: volume-$i}
spec:
  capacity: {storage: 20Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: standard
  persistentVolumeReclaimPolicy: Retain
  hostPath: {path: $D/volumes/$i}
VOLUME
done)
YAML
wait_for 60 "the node" kubectl get node $NODE
kubectl wait --for=condition=Ready node/$NODE --timeout=90s
kubectl -n kube-system rollout status deployment/coredns --timeout=90s
touch ready
wait
