#!/bin/bash
# Builds the images and writes them as docker archives: DIR/lictor.tar, lictor-sidecar.tar, lictor-operator.tar.
#
# usage: deploy/images.sh DIR        LICTOR_PROFILE=dev packs debug binaries (default release)
#
# The names are localhost/NAME:VERSION, which is what the chart asks for by default. Binaries come from cargo on
# this machine; the images from docker where its engine answers, else from buildah as root, which needs no engine.
set -euo pipefail
[ $# = 1 ] || { sed -n '4s/^# //p' "$0" >&2; exit 2; }
mkdir -p "$1"; out=$(realpath "$1")
cd "$(dirname "$0")/.."
profile=${LICTOR_PROFILE:-release}
names="lictor lictor-sidecar lictor-operator"
limit=32000000   # bytes of the lictor binary; growth beyond it is a decision

version=$(cargo pkgid -p lictor); version=${version##*[#@]}
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
# the whole workspace, so that nothing is compiled again that the tests have compiled
artifacts=$(cargo build --profile "$profile" --workspace --bins --message-format json-render-diagnostics)
for name in $names; do
  binary=$(jq -r --arg name "$name" 'select(.reason == "compiler-artifact" and .target.name == $name) | .executable // empty' <<< "$artifacts")
  mkdir -p "$work/$name"
  strip -o "$work/$name/$name" "$binary"
  ! readelf -l "$work/$name/$name" | grep -q INTERP || { echo "images.sh: $name is not a static executable" >&2; exit 1; }
done
ln -s lictor "$work/lictor/consul"
size=$(stat -c %s "$work/lictor/lictor")
[ "$profile" != release ] || [ "$size" -lt $limit ] || { echo "images.sh: lictor has $size bytes, more than $limit" >&2; exit 1; }

for name in $names; do
  image=localhost/$name:$version
  build=(--build-context "build=$work" --target "$name" -t "$image" -f deploy/Dockerfile)
  rm -f "$out/$name.tar"
  if docker info >/dev/null 2>&1; then
    docker buildx build -q "${build[@]}" --output "type=docker,dest=$out/$name.tar" "$work" >/dev/null
  else
    store=(--root "$work/.store" --runroot "$work/.run" --storage-driver vfs)
    buildah "${store[@]}" bud -q --isolation chroot "${build[@]}" "$work" >/dev/null
    buildah "${store[@]}" push -q "$image" "docker-archive:$out/$name.tar:$image"
  fi
  echo "$out/$name.tar $image $(stat -c %s "$work/$name/$name") bytes"
done
