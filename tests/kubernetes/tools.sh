#!/bin/bash
# Makes sure that this machine has what a real Kubernetes needs, and prints the directory of its binaries.
#
# usage: tools.sh        (as root where Debian packages are missing; Go >= 1.25 where binaries are missing)
#
# Debian packages are installed only if absent. Kubernetes, helm and CoreDNS are compiled once, from the modules
# pinned in tools/go.mod and below, into ${XDG_CACHE_HOME:-~/.cache}/lictor/kube-VERSION.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

helm=helm.sh/helm/v3/cmd/helm@v3.19.4
coredns=github.com/coredns/coredns@v1.14.2
kubernetes=$(awk '{ sub(/^require /, "") } $1 == "k8s.io/kubernetes" { print $2; exit }' "$here/tools/go.mod")
bin=${XDG_CACHE_HOME:-$HOME/.cache}/lictor/kube-${kubernetes#v}

# program:package, a program standing for its package
missing=
for pair in containerd:containerd runc:runc /usr/lib/cni/bridge:containernetworking-plugins iptables:iptables \
  conntrack:conntrack etcd:etcd-server busybox:busybox-static openssl:openssl buildah:buildah dig:dnsutils jq:jq \
  ip:iproute2 nsenter:util-linux; do
  command -v "${pair%:*}" >/dev/null || missing="$missing ${pair#*:}"
done
if [ -n "$missing" ]; then
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
    { echo "tools.sh: these Debian packages are missing and only root can install them:$missing" >&2; exit 1; }
  # policy-rc.d: packages must not start daemons of their own beside the cluster's
  policy=/usr/sbin/policy-rc.d
  [ -e $policy ] && policy= || { printf '#!/bin/sh\nexit 101\n' > $policy; chmod +x $policy; trap 'rm -f "$policy"' EXIT; }
  apt-get update -q >&2
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $missing >&2
fi

mkdir -p "$bin"
exec 9> "$bin/.lock"; flock 9
if [ "$(cat "$bin/VERSION" 2>/dev/null)" != "$kubernetes" ] || [ ! -x "$bin/helm" ] || [ ! -x "$bin/coredns" ]; then
  command -v go >/dev/null || { echo "tools.sh: go (>= 1.25) is needed once, to compile Kubernetes $kubernetes" >&2; exit 1; }
  export CGO_ENABLED=0 GOFLAGS=-trimpath GOBIN=$bin
fi
if [ "$(cat "$bin/VERSION" 2>/dev/null)" != "$kubernetes" ]; then
  echo "tools.sh: compiling Kubernetes $kubernetes into $bin, once; about six minutes on two cores" >&2
  minor=${kubernetes#v1.}; minor=${minor%%.*}
  version=k8s.io/component-base/version
  (cd "$here/tools" && go build -o "$bin/" -ldflags "-s -w -X $version.gitVersion=$kubernetes -X $version.gitMajor=1 \
    -X $version.gitMinor=$minor -X k8s.io/client-go/pkg/version.gitVersion=$kubernetes" \
    k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kubelet,kube-proxy,kubectl})
  echo "$kubernetes" > "$bin/VERSION"
fi
for tool in "$helm" "$coredns"; do
  name=${tool%@*}; name=${name##*/}
  [ ! -x "$bin/$name" ] || continue
  echo "tools.sh: compiling $name into $bin, once; a few minutes" >&2
  # the version that `helm template` assumes without a cluster
  version=helm.sh/helm/v3/pkg/chartutil
  go install -ldflags "-s -w -X $version.k8sVersionMajor=1 -X $version.k8sVersionMinor=${kubernetes:3:2}" "$tool"
done
echo "$bin"
