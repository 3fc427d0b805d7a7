//! Compares settings that share a key or whose default is another setting, so that the error of a
//! rejected reload names the key that was changed and not every setting that follows from it.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use super::{
    Changes,
    runtime::{Listen, RuntimeConfig},
};

/// Compares settings whose default is another setting; if only that one changes, it alone is named.
pub(super) fn defaults(old: &RuntimeConfig, new: &RuntimeConfig, changes: &mut Changes) {
    fn named<T: PartialEq>(pair: [&T; 2], default: [&T; 2]) -> bool {
        pair[0] != pair[1] && pair != default
    }
    let bind = [&old.bind_addr, &new.bind_addr];
    let lan = [&old.advertise_addr, &new.advertise_addr];
    for (key, pair, default) in [
        ("advertise_addr", lan, bind),
        ("advertise_addr_wan", [&old.advertise_addr_wan, &new.advertise_addr_wan], lan),
        ("serf_lan", [&old.serf_lan_bind, &new.serf_lan_bind], bind),
        ("serf_wan", [&old.serf_wan_bind, &new.serf_wan_bind], bind),
    ] {
        if named(pair, default) {
            changes.restart.push(key);
        }
    }
    let primary = [&old.primary_datacenter, &new.primary_datacenter];
    if named(primary, [&old.datacenter, &new.datacenter]) {
        changes.restart.push("primary_datacenter");
    }
    let under = |config: &RuntimeConfig| {
        let dir = config.data_dir.as_ref()?;
        (config.snapshots.as_ref()?.path == dir.join("snapshots")).then_some(())
    };
    let mut snapshots = [old.snapshots.clone(), new.snapshots.clone()];
    if let [Some(before), Some(after)] = &mut snapshots
        && under(old).and(under(new)).is_some()
    {
        after.path.clone_from(&before.path);
    }
    if snapshots[0] != snapshots[1] {
        changes.restart.push("snapshot");
    }
}

/// Compares listening addresses. If those of all protocols change, the key is `client_addr`.
pub(super) fn listeners(old: &Listen, new: &Listen, same_role: bool, changes: &mut Changes) {
    let Listen { http: _, http_unix: _, https: _, grpc: _, grpc_tls: _, dns: _ } = old;
    let ports = |list: &[SocketAddr]| list.iter().map(SocketAddr::port).collect::<BTreeSet<_>>();
    let ips = |list: &[SocketAddr]| list.iter().map(SocketAddr::ip).collect::<Vec<IpAddr>>();
    let protocols = [
        ("ports.dns", "addresses.dns", &old.dns, &new.dns),
        ("ports.http", "addresses.http", &old.http, &new.http),
        ("ports.https", "addresses.https", &old.https, &new.https),
        ("ports.grpc", "addresses.grpc", &old.grpc, &new.grpc),
        ("ports.grpc_tls", "addresses.grpc_tls", &old.grpc_tls, &new.grpc_tls),
    ];
    let (mut kept, mut moved) = (0, Vec::new());
    for (port, address, old, new) in protocols {
        if ports(old) != ports(new) && (same_role || port != "ports.grpc_tls") {
            changes.restart.push(port);
        }
        match (ips(old), ips(new)) {
            (old, new) if old.is_empty() || new.is_empty() => {}
            (old, new) if old == new => kept += 1,
            _ => moved.push(address),
        }
    }
    let sockets = old.http_unix != new.http_unix;
    if sockets && !moved.contains(&"addresses.http") {
        moved.push("addresses.http");
    }
    match (kept, moved.len()) {
        (0, 2..) => changes.restart.push("client_addr"),
        _ => changes.restart.extend(moved),
    }
}
