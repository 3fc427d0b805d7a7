//! Reads the metrics page. The process has one recorder, so a test that counts uses service names
//! of its own.

use std::{net::SocketAddr, sync::LazyLock};

use lictor_sidecar::metrics::Metrics;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::TEST_TIMEOUT;

/// Returns the recorder of this process, installed by the first caller.
pub(crate) fn install() -> Metrics {
    static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics::install().unwrap());
    METRICS.clone()
}

/// Returns the sum of the values of all lines that begin with `prefix`, if there is one.
pub(crate) async fn count(metrics: SocketAddr, prefix: &str) -> Option<f64> {
    let page = scrape(metrics).await;
    let lines = page.lines().filter(|line| line.starts_with(prefix));
    let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
    lines.map(value).reduce(|sum, value| sum + value)
}

async fn scrape(metrics: SocketAddr) -> String {
    let page = async {
        let mut stream = TcpStream::connect(metrics).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: test\r\n\r\n").await?;
        let mut page = String::new();
        stream.read_to_string(&mut page).await?;
        std::io::Result::Ok(page)
    };
    timeout(TEST_TIMEOUT, page).await.expect("a page in time").unwrap()
}
