//! `lictor tls ...`: an authority for agents and certificates signed by it, as files.
//!
//! COMPAT: names and places of the files are Consul's, so that its guides can be followed. INVARIANT:
//! nothing is ever overwritten, keys are readable by their owner only, and a client's certificate
//! carries no server's name.

pub mod ca;
pub mod cert;
pub mod secret;

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context, bail};
use rcgen::{CertificateParams, DistinguishedName, DnType, SerialNumber};

use super::output;

/// How far `not_before` lies back, for agents whose clocks are behind.
const BACKDATE: Duration = Duration::from_secs(60);

/// A certificate and its key, and the files they go to.
struct Pair<'a> {
    certificate: (&'a str, String),
    key: (&'a str, String),
}

impl Pair<'_> {
    /// Writes both files into `dir`, or none.
    fn save(&self, dir: &Path) -> anyhow::Result<()> {
        let (certificate, pem) = &self.certificate;
        let (key, key_pem) = &self.key;
        create(dir, certificate, pem, 0o644)?;
        if let Err(error) = create(dir, key, key_pem, 0o600) {
            // It was made a moment ago and is of no use alone.
            fs::remove_file(dir.join(certificate)).ok();
            return Err(error);
        }
        output::line(format!("==> Saved {certificate}"));
        output::line(format!("==> Saved {key}"));
        Ok(())
    }
}

fn create(dir: &Path, name: &str, text: &str, mode: u32) -> anyhow::Result<()> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(dir.join(name));
    let mut file = match opened {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{name} already exists.")
        }
        opened => opened.with_context(|| format!("writing {name}"))?,
    };
    file.write_all(text.as_bytes()).with_context(|| format!("writing {name}"))
}

/// What authorities and certificates have in common.
fn params(
    names: Vec<String>,
    common_name: &str,
    days: u64,
    end: Option<SystemTime>,
) -> anyhow::Result<CertificateParams> {
    if days == 0 {
        bail!("-days must be at least 1");
    }
    let now = SystemTime::now();
    let not_after = now
        .checked_add(Duration::from_secs(days.saturating_mul(86_400)))
        .filter(|_| days <= 365 * 100)
        .context("-days must be at most 36500")?;
    let mut params = CertificateParams::new(names).context("naming the certificate")?;
    params.not_before = (now - BACKDATE).into();
    params.not_after = end.map_or(not_after, |end| end.min(not_after)).into();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.serial_number = Some(serial());
    Ok(params)
}

/// 127 random bits, none of them a sign.
fn serial() -> SerialNumber {
    (rand::random::<u128>() >> 1 | 1 << 120).to_be_bytes().to_vec().into()
}

/// Letters, digits, `-` and `_`, with dots between parts where `dots` says so: what can stand in a
/// name of a certificate and in the name of a file.
fn check_name(flag: &str, name: &str, dots: bool) -> anyhow::Result<()> {
    let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
    let part = |part: &str| !part.is_empty() && part.len() <= 63 && part.bytes().all(legal);
    let valid = if dots { name.split('.').all(part) } else { part(name) };
    if !valid {
        bail!("-{flag} {name:?} is not a DNS name");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
