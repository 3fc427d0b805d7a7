#!/bin/bash
# The Kubernetes suite, from a checkout to the verdict: images, a cluster, a real helm install, the claims.
#
# usage: tests/kubernetes/run.sh         as root; makes a single-node cluster and takes it away again
#        KUBECONFIG=FILE LICTOR_REGISTRY=REGISTRY [LICTOR_TOOLS_IMAGE=IMAGE] tests/kubernetes/run.sh
#                                        on a cluster that can pull REGISTRY/lictor:VERSION and so on
#        LICTOR_KEEP=1                   leaves the cluster and what a failed step left in it
#        LICTOR_PROFILE=dev              packs debug binaries
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
PATH=$("$here/tools.sh"):$PATH; export PATH

if [ -z "${KUBECONFIG:-}" ]; then
  work=$(mktemp -d)
  export LICTOR_KUBE_DIR=$work/cluster
  finish() {
    if [ -n "${LICTOR_KEEP:-}" ]; then echo "kept: eval \"\$($here/cluster up $LICTOR_KUBE_DIR)\"; $here/cluster down $LICTOR_KUBE_DIR"; return; fi
    "$here/cluster" down; rm -rf "$work"
  }
  trap finish EXIT
  "$here/../../deploy/images.sh" "$work/images"
  settings=$("$here/cluster" up); eval "$settings"
  "$here/cluster" load "$work"/images/*.tar
fi
cd "$here/../.."
LICTOR_TEST_CLUSTER=1 cargo test -p lictor-tests --test kubernetes --profile "${LICTOR_PROFILE:-release}" -- --nocapture
