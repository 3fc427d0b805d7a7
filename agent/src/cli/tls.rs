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

/// How far `not_before` lies in the past, for agents whose clocks are behind.
const BACKDATE: Duration = Duration::from_secs(60);

/// A certificate and its key, and the files they go to.
struct Pair<'a> {
    certificate: (&'a str, String),
    key: (&'a str, String),
}

impl Pair<'_> {
    /// Writes both files into `dir`, or neither.
    fn save(&self, dir: &Path) -> anyhow::Result<()> {
        let (certificate, pem) = &self.certificate;
        let (key, key_pem) = &self.key;
        create(dir, certificate, pem, 0o644)?;
        if let Err(error) = create(dir, key, key_pem, 0o600) {
            // The certificate was written a moment ago and is of no use without its key.
            return Err(match fs::remove_file(dir.join(certificate)) {
                Ok(()) => error,
                Err(left) => error.context(format!(
                    "{certificate} is left without its key and cannot be removed ({left})"
                )),
            });
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

/// Builds the parameters that authorities and certificates share. They end after `days`, 1 to
/// 36500, but not after `end`.
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

/// Makes a serial number of 127 random bits, which DER encodes without a sign.
fn serial() -> SerialNumber {
    (rand::random::<u128>() >> 1 | 1 << 120).to_be_bytes().to_vec().into()
}

/// Checks that a name consists of letters, digits, `-` and `_`, and with `dots` also of dots between
/// parts of at most 63 bytes, so that it is safe both in a certificate and as the name of a file.
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
