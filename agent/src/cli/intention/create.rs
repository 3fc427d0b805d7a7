//! `lictor intention create`.

use std::{collections::BTreeMap, path::Path, process::ExitCode};

use anyhow::Context;
use http::{Method, StatusCode};
use lictor_api::contract::SOURCE_TYPE_CONSUL;
use lictor_api::{
    client::{Answer, Client},
    types::intention::Intention,
    wire,
};

use crate::cli::{Verb, api_flags::ApiFlags, output};

/// Where an intention is named by its source and destination.
const EXACT: &str = "/v1/connect/intentions/exact";

/// Flags of `intention create`.
#[derive(Debug, clap::Args)]
pub struct CreateVerb {
    /// Allow the source (the default)
    #[arg(long)]
    allow: bool,
    /// Deny the source
    #[arg(long)]
    deny: bool,
    /// The arguments are files with intentions as JSON
    #[arg(long)]
    file: bool,
    /// Replace an intention with the same source and destination
    #[arg(long)]
    replace: bool,
    /// Meta as key=value; may be given several times
    #[arg(long)]
    meta: Vec<String>,
    /// SOURCE DESTINATION, or files with -file
    #[arg(required = true)]
    arguments: Vec<String>,
    #[command(flatten)]
    api: ApiFlags,
}

impl Verb for CreateVerb {
    const PATH: &'static str = "intention create";
    const ABOUT: &'static str = "Allow or deny connections from one service to another";
    const DETAILS: &'static str = "\
Examples:
  lictor intention create web db
  lictor intention create -deny '*' db
  lictor intention create -replace -deny web db";

    async fn run(self) -> anyhow::Result<ExitCode> {
        if self.allow && self.deny {
            anyhow::bail!("Only one of -allow or -deny may be specified.");
        }
        let client = self.api.client()?;
        for intention in self.intentions()? {
            self.create(&client, &intention).await.with_context(|| {
                format!("Error creating intention {:?}", super::describe(&intention))
            })?;
            output::line(format!("Created: {}", super::describe(&intention)));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl CreateVerb {
    fn intentions(&self) -> anyhow::Result<Vec<Intention>> {
        if self.file {
            return self.arguments.iter().map(|path| read(Path::new(path))).collect();
        }
        let [source, destination] = &self.arguments[..] else {
            anyhow::bail!("Must specify two arguments: source and destination");
        };
        let mut meta = BTreeMap::new();
        for pair in &self.meta {
            let (key, value) =
                pair.split_once('=').with_context(|| format!("-meta {pair:?} is not key=value"))?;
            meta.insert(key.to_owned(), value.to_owned());
        }
        Ok(vec![Intention {
            source_name: source.clone(),
            destination_name: destination.clone(),
            source_type: SOURCE_TYPE_CONSUL.to_owned(),
            action: Some(super::action(self.deny)),
            meta,
            ..Intention::default()
        }])
    }

    /// Writes one intention. COMPAT: as Consul's command line does, with a POST that refuses an
    /// intention that exists and that, unlike the PUT of an exact pair, takes Meta.
    async fn create(&self, client: &Client, intention: &Intention) -> anyhow::Result<()> {
        let existing = if self.replace { find(client, intention).await? } else { None };
        match existing {
            None => {
                let body = serde_json::to_vec(intention)?;
                client
                    .send(Method::POST, "/v1/connect/intentions", &[], body.into())
                    .await
                    .and_then(Answer::success)?;
            }
            Some(existing) if existing.id.is_empty() => {
                client.put_json(EXACT, &pair(intention), intention).await?;
            }
            Some(existing) => {
                let path = format!("/v1/connect/intentions/{}", existing.id);
                client.put_json(&path, &[], intention).await?;
            }
        }
        Ok(())
    }
}

/// Reads the stored intention with the same source and destination.
async fn find(client: &Client, intention: &Intention) -> anyhow::Result<Option<Intention>> {
    let found = client.get(EXACT, &pair(intention)).await?;
    if found.status == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    Ok(Some(found.success()?.json()?))
}

fn pair(intention: &Intention) -> [(&'static str, &str); 2] {
    [("source", &intention.source_name), ("destination", &intention.destination_name)]
}

fn read(path: &Path) -> anyhow::Result<Intention> {
    let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    wire::from_slice(&text).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Read, Write},
        net::TcpListener,
        thread::{self, JoinHandle},
    };

    use super::*;
    use crate::cli::go_flags::tests::parse;

    /// Serves one request per response (status and body) and returns the requests: the request line
    /// without the version, then the body.
    fn agent(responses: &'static [(&str, &str)]) -> (String, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = thread::spawn(move || {
            let answer = |(status, body): &(&str, &str)| {
                let (stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(&stream);
                let (mut request, mut length) = (String::new(), 0);
                reader.read_line(&mut request).unwrap();
                loop {
                    let mut header = String::new();
                    reader.read_line(&mut header).unwrap();
                    match header.trim_end().split_once(": ") {
                        Some(("content-length", value)) => length = value.parse().unwrap(),
                        Some(_) => {}
                        None => break,
                    }
                }
                let mut sent = vec![0; length];
                reader.read_exact(&mut sent).unwrap();
                let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: ");
                write!(&stream, "{head}{}\r\n\r\n{body}", body.len()).unwrap();
                let line = request.trim_end().trim_end_matches(" HTTP/1.1");
                format!("{line} {}", String::from_utf8(sent).unwrap()).trim_end().to_owned()
            };
            responses.iter().map(answer).collect()
        });
        (address, requests)
    }

    /// Runs the verb against [`agent`] and returns the requests.
    async fn create(words: &[&str], responses: &'static [(&str, &str)]) -> Vec<String> {
        let (address, requests) = agent(responses);
        let words = [&["-http-addr", &address][..], words].concat();
        let ran = parse::<CreateVerb>(&words).unwrap().run().await;
        assert!(ran.is_ok(), "{ran:?}");
        requests.join().unwrap()
    }

    #[tokio::test]
    async fn an_intention_is_posted_with_its_meta() {
        let words = ["-deny", "-meta", "team=a=b", "-meta=ticket=7", "web", "db"];
        let requests = create(&words, &[("200 OK", r#"{"ID":"x"}"#)]).await;
        let body = r#"{"SourceName":"web","DestinationName":"db","SourceType":"consul","Action":"deny","Meta":{"team":"a=b","ticket":"7"}}"#;
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(requests.len(), 1);
        let sent = requests[0].strip_prefix("POST /v1/connect/intentions ").unwrap();
        let sent: serde_json::Value = serde_json::from_str(sent).unwrap();
        for (key, value) in body.as_object().unwrap() {
            assert_eq!(sent.get(key), Some(value), "{sent}");
        }
    }

    #[tokio::test]
    async fn an_intention_is_replaced_under_the_name_it_is_stored_by() {
        let lines = |requests: Vec<String>| -> Vec<String> {
            let line = |request: &String| request.split(" {").next().unwrap_or_default().to_owned();
            requests.iter().map(line).collect()
        };
        let words = ["-replace", "web", "db"];
        let exact = "/v1/connect/intentions/exact?source=web&destination=db";
        let none = create(&words, &[("404 Not Found", ""), ("200 OK", r#"{"ID":"x"}"#)]).await;
        assert_eq!(lines(none), [format!("GET {exact}"), "POST /v1/connect/intentions".to_owned()]);
        let of_entry = create(
            &words,
            &[("200 OK", r#"{"SourceName":"web","DestinationName":"db"}"#), ("200 OK", "true")],
        )
        .await;
        assert_eq!(lines(of_entry), [format!("GET {exact}"), format!("PUT {exact}")]);
        let with_id = create(
            &words,
            &[
                ("200 OK", r#"{"ID":"7","SourceName":"web","DestinationName":"db"}"#),
                ("200 OK", r#"{"ID":"7"}"#),
            ],
        )
        .await;
        assert_eq!(
            lines(with_id),
            [format!("GET {exact}"), "PUT /v1/connect/intentions/7".to_owned()]
        );
    }
}
