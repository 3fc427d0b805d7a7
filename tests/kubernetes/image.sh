#!/bin/bash
# Packs the one image that the cluster itself and the suite's client pods run: busybox, dig, openssl, CoreDNS.
#
# usage: image.sh BIN OUT.tar      BIN holds coredns; the result is localhost/lictor-test-tools:1
set -euo pipefail
bin=$1 out=$2
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/root/{bin,tmp}

cp "$(command -v busybox)" "$work/root/bin/busybox"
for applet in $(busybox --list); do [ "$applet" = busybox ] || ln -s busybox "$work/root/bin/$applet"; done
ln -f "$bin/coredns" "$work/root/bin/coredns" 2>/dev/null || cp "$bin/coredns" "$work/root/bin/coredns"
for program in dig openssl; do   # dynamic: their libraries come along, at the paths they are linked to
  path=$(command -v $program)
  cp --remove-destination "$path" "$work/root/bin/$program"
  ldd "$path" | grep -o '/[^ ]*' | while read -r library; do
    [ -e "$work/root$library" ] || install -D "$library" "$work/root$library"
  done
done
printf 'FROM scratch\nCOPY root /\nENV PATH=/bin\nENTRYPOINT ["/bin/sleep", "2147483647"]\n' > "$work/Dockerfile"

image=localhost/lictor-test-tools:1
buildah="buildah --root $work/storage --runroot $work/runroot --storage-driver vfs"
$buildah bud -q --isolation chroot -t $image -f "$work/Dockerfile" "$work" >/dev/null
rm -f "$out"
$buildah push -q $image "docker-archive:$out:$image"
