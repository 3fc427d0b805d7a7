//! What the demo shows, step by step; every step checks what it claims.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use lictor_api::types::intention::{Intention, IntentionAction};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    app::fetch,
    print::{answer, command, holds, step},
    stage::{SERVICES, Stage},
};
use crate::cli::resolve;

/// The chain's response, in the workshop's words.
const ANSWER: &str = "HashiCorp Japan";
/// How long a change of an intention may take to be enforced.
const INTENTION_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs every step in order.
pub(super) async fn show(stage: &mut Stage) -> anyhow::Result<()> {
    start(stage).await?;
    chain(stage).await?;
    certificates(stage)?;
    dns(stage).await?;
    intention(stage).await
}

async fn start(stage: &mut Stage) -> anyhow::Result<()> {
    answer("hashicorpjapan-app --> hashi-app");
    answer("                  `--> corp-app --> japan-app        each arrow is mutual TLS");
    step(1, "An agent, four applications, a sidecar for each");
    stage.start_agent().await.context("starting the agent")?;
    let (http, dns) = (stage.http.context("no agent")?, stage.dns.context("no agent")?);
    answer(&format!("agent               HTTP http://{http}   DNS {dns}"));
    for service in &SERVICES {
        stage.start_actor(service).await.with_context(|| format!("starting {}", service.name))?;
        let actor = stage.actor(service.name)?;
        let upstreams: Vec<String> = service
            .upstreams
            .iter()
            .zip(&actor.local_ports)
            .map(|(name, local)| format!("{name} at {local}"))
            .collect();
        answer(&format!(
            "{:<19} application {}   sidecar {}   {}",
            service.name,
            actor.app,
            actor.public,
            upstreams.join(", ")
        ));
    }
    stage.wait_until_healthy().await?;
    holds("every application and sidecar is registered and passes its check");
    Ok(())
}

/// Requests the chain's response through three mutual TLS hops.
async fn chain(stage: &Stage) -> anyhow::Result<()> {
    step(2, "The chain answers through the mesh");
    let text = ask(stage).await?;
    ensure!(text == ANSWER, "the chain answered {text:?}, not {ANSWER:?}");
    answer(&text);
    holds("three hops, each with a certificate on both sides");
    Ok(())
}

async fn ask(stage: &Stage) -> anyhow::Result<String> {
    let url = format!("http://{}/", stage.actor("hashicorpjapan-app")?.app);
    command(&format!("curl {url}"));
    let (status, body) = fetch(&url.parse()?).await?;
    ensure!(status.is_success(), "{} {}", status.as_u16(), body.trim_end());
    Ok(body)
}

fn certificates(stage: &Stage) -> anyhow::Result<()> {
    step(3, "Certificates, made in memory and renewed at 70% of their life");
    for actor in &stage.actors {
        let leaf = actor
            .sidecar
            .certificate()
            .with_context(|| format!("{} has no certificate", actor.service.name))?;
        let id = leaf.spiffe_id.to_string();
        ensure!(
            id.ends_with(&format!("/svc/{}", actor.service.name)),
            "{} has the certificate of {id}",
            actor.service.name
        );
        let left = leaf
            .not_after
            .duration_since(SystemTime::now())
            .context("the certificate has expired")?;
        answer(&format!("{id}   valid for {} h", left.as_secs().div_ceil(3600)));
    }
    holds("each names its service; the key never left its sidecar");
    Ok(())
}

async fn dns(stage: &Stage) -> anyhow::Result<()> {
    step(4, "Names in DNS: healthy instances only");
    let server = stage.dns.context("no agent")?;
    let japan = stage.actor("japan-app")?;
    for (name, kind) in [
        ("japan-app.service.consul.", "A"),
        ("japan-app.service.consul.", "SRV"),
        ("japan-app.connect.consul.", "SRV"),
    ] {
        command(&format!("dig @{} -p {} +noall +answer {name} {kind}", server.ip(), server.port()));
        let records = resolve::records(server, name, kind).await?;
        records.iter().for_each(|record| answer(record));
        let expected = match (name.contains(".connect."), kind) {
            (_, "A") => japan.app.ip().to_string(),
            (true, _) => japan.public.port().to_string(),
            (false, _) => japan.app.port().to_string(),
        };
        ensure!(
            records.iter().any(|record| record.contains(&expected)),
            "{name} {kind} does not say {expected}: {records:?}"
        );
    }
    holds("the addresses and ports above");
    Ok(())
}

/// Denies a connection and sees an open one closed and new ones refused, then allows it again.
async fn intention(stage: &Stage) -> anyhow::Result<()> {
    step(5, "An intention set to deny closes open connections, too");
    let corp = stage.actor("corp-app")?;
    let mut open = keep_alive(corp.local_ports[0])
        .await
        .context("opening a connection from corp-app to japan-app")?;
    command("lictor intention create -deny corp-app japan-app");
    let changed = Instant::now();
    set(stage, IntentionAction::Deny).await?;
    let closed = timeout(INTENTION_TIMEOUT, open.read(&mut [0; 1])).await;
    ensure!(
        matches!(closed, Ok(Ok(0) | Err(_))),
        "the open connection outlived the intention by {INTENTION_TIMEOUT:?}"
    );
    holds(&format!("the open connection was closed after {} ms", changed.elapsed().as_millis()));
    match ask(stage).await {
        Ok(text) => anyhow::bail!("the chain still answered {text:?}"),
        Err(error) => answer(&format!("{error:#}")),
    }
    holds("the same request is refused");
    command("lictor intention delete corp-app japan-app");
    let query = [("source", "corp-app"), ("destination", "japan-app")];
    stage.client()?.delete("/v1/connect/intentions/exact", &query).await?;
    let allowed = async {
        while !fetch(&format!("http://{}/", corp.app).parse()?).await?.0.is_success() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::Ok(())
    };
    timeout(INTENTION_TIMEOUT, allowed).await.context("the request stayed refused")??;
    let text = ask(stage).await?;
    ensure!(text == ANSWER, "the chain answered {text:?}, not {ANSWER:?}");
    answer(&text);
    holds("allowed again");
    Ok(())
}

async fn set(stage: &Stage, action: IntentionAction) -> anyhow::Result<()> {
    let query = [("source", "corp-app"), ("destination", "japan-app")];
    let intention = Intention { action: Some(action), ..Intention::default() };
    stage.client()?.put_json("/v1/connect/intentions/exact", &query, &intention).await?;
    Ok(())
}

/// Opens a connection and keeps it open after one request.
async fn keep_alive(address: std::net::SocketAddr) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())
        .await?;
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\nok") {
        let mut buffer = [0; 512];
        let read =
            timeout(INTENTION_TIMEOUT, stream.read(&mut buffer)).await.context("no answer")??;
        ensure!(read > 0, "the connection was closed");
        seen.extend_from_slice(&buffer[..read]);
    }
    Ok(stream)
}

/// Prints what to try while the demo stays up.
pub(super) fn invite(stage: &Stage) {
    let (Some(http), Some(dns), Ok(chain)) =
        (stage.http, stage.dns, stage.actor("hashicorpjapan-app"))
    else {
        return;
    };
    step(6, "Try it");
    command(&format!("curl http://{}/", chain.app));
    command(&format!("dig @{} -p {} corp-app.service.consul SRV", dns.ip(), dns.port()));
    command(&format!("lictor members -http-addr {http}"));
    command(&format!("lictor intention create -http-addr {http} -deny '*' hashi-app"));
    command(&format!("curl http://{http}/v1/health/connect/japan-app?pretty"));
    answer("");
    answer("Ctrl-C ends everything.");
}
