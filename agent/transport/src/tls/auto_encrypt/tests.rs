use std::sync::Mutex;

use lictor_config::Source;

use super::*;

#[derive(Debug, thiserror::Error)]
#[error("not yet")]
struct NotYet;

/// Fails once, then answers with something that ends in ten hours.
struct Flaky {
    asked: Mutex<u32>,
    stop: CancellationToken,
}

const LIFE: Duration = Duration::from_secs(36_000);

impl Issuer for Flaky {
    type Error = NotYet;

    async fn sign(&self, request: SignRequest) -> Result<SignAnswer, NotYet> {
        let mut asked = self.asked.lock().unwrap();
        *asked += 1;
        match *asked {
            1 => return Err(NotYet),
            3 => self.stop.cancel(),
            _ => {}
        }
        let end = SystemTime::now() + LIFE;
        let not_after = end.duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
        Ok(SignAnswer { chain: vec![request.csr], not_after })
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_asks_again_until_it_is_answered_and_renews() {
    let stop = CancellationToken::new();
    let issuer = Flaky { asked: Mutex::new(0), stop: stop.clone() };
    let source = Source {
        data_dir: Some("/nowhere".into()),
        bind_addr: Some("127.0.0.1".into()),
        node_name: Some("node1".into()),
        ..Source::default()
    };
    let config = Arc::new(lictor_config::build(source, false, Vec::new()).unwrap());
    let started = tokio::time::Instant::now();
    keep(Arc::default(), issuer, config, stop).await;
    let waited = started.elapsed();
    assert!(waited > LIFE.mul_f64(0.64) && waited < LIFE.mul_f64(0.76), "{waited:?}");
}
