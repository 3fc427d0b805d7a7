#!/bin/bash
# Builds the Debian package: DIR/lictor_VERSION_ARCH.deb.
#
# usage: deploy/debian.sh DIR        LICTOR_BIN_DIR=DIR packs the lictor in there instead of building it
#                                    LICTOR_PROFILE=dev packs a debug binary (default release)
#
# What it installs is listed in README.md. The binary comes from cargo, for this machine's architecture, and is
# static: the package depends on nothing but useradd. dpkg-deb is all else that is needed.
set -euo pipefail
[ $# = 1 ] || { sed -n '4,5s/^# //p' "$0" >&2; exit 2; }
mkdir -p "$1"; out=$(realpath "$1")
given=${LICTOR_BIN_DIR:+$(realpath "$LICTOR_BIN_DIR")}
cd "$(dirname "$0")/.."

work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
if [ -n "$given" ]; then
  binary=$given/lictor
else
  artifacts=$(cargo build --profile "${LICTOR_PROFILE:-release}" -p lictor --message-format json-render-diagnostics)
  binary=$(jq -r 'select(.reason == "compiler-artifact" and .target.name == "lictor") | .executable // empty' <<< "$artifacts")
fi

umask 022
root=$work/root
install -D "$binary" "$root/usr/bin/lictor"
strip "$root/usr/bin/lictor"
ln -s lictor "$root/usr/bin/consul"
install -D -m 644 deploy/systemd/consul.service -t "$root/lib/systemd/system"
ln -s consul.service "$root/lib/systemd/system/lictor.service"
install -D -m 644 deploy/debian/consul.json -t "$root/etc/consul.d"
install -D -m 644 LICENSE "$root/usr/share/doc/lictor/copyright"
complete() { # SHELL FILE
  install -d "$root/usr/share/$(dirname "$2")"
  "$root/usr/bin/lictor" completion "$1" > "$root/usr/share/$2"
}
complete bash bash-completion/completions/lictor
complete fish fish/vendor_completions.d/lictor.fish
complete zsh zsh/vendor-completions/_lictor

version=$("$root/usr/bin/lictor" version | sed -n 's/^Revision lictor-//p')
arch=$(dpkg --print-architecture)
install -D -t "$root/DEBIAN" deploy/debian/{postinst,prerm,postrm}
echo /etc/consul.d/consul.json > "$root/DEBIAN/conffiles"
cat > "$root/DEBIAN/control" <<END
Package: lictor
Version: $version
Architecture: $arch
Maintainer: the lictor authors
Section: net
Priority: optional
Depends: passwd
Provides: consul
Conflicts: consul
Replaces: consul
Installed-Size: $(du -sk "$root/usr" | cut -f 1)
Description: service mesh that speaks Consul
 An agent that keeps the catalog, health checks, KV, DNS and the mesh's certificates, with Consul's HTTP API,
 command line, JSON configuration and DNS names. The command, the unit and the directories have Consul's names.
END
package=$out/lictor_${version}_$arch.deb
dpkg-deb --root-owner-group --build "$root" "$package" >/dev/null
echo "$package"
