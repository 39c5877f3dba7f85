//! A part's own process: orders come in on standard input, answers go out on standard output. It
//! ends with its standard input, and so with whoever started it.

use std::convert::Infallible;
use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::app::App;
use super::data;
use super::http;
use super::orders::{Answer, Order};
use super::recorder::Recorder;
use crate::cli::print_json;

/// Obeys until there are no more orders.
pub(super) async fn run() -> u8 {
    let mut orders = orders();
    let mut agent = Agent::default();
    while let Some(line) = orders.recv().await {
        let answer = match serde_json::from_str(&line) {
            Ok(order) => agent.obey(order).await,
            Err(error) => Err(error.into()),
        };
        print_json(&answer.unwrap_or_else(|error| Answer::Failed(error.to_string())));
    }
    0
}

/// Reading standard input blocks, so a thread does it.
fn orders() -> UnboundedReceiver<String> {
    let (tell, told) = unbounded_channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    told
}

/// What the orders so far have made of this process.
#[derive(Debug, Default)]
struct Agent {
    app: Option<App>,
    recorder: Option<Recorder>,
}

impl Agent {
    async fn obey(&mut self, order: Order) -> io::Result<Answer> {
        Ok(match order {
            Order::ServePatients { at } => {
                Answer::Listening(vec![serve(at, Pages::Patients).await?])
            }
            Order::ServeApp { at, network } => {
                let app = self.app.insert(App::new(network));
                Answer::Listening(vec![serve(at, Pages::App(app.clone())).await?])
            }
            Order::Behave(behaviour) => {
                self.app()?.behave(behaviour);
                Answer::Done
            }
            Order::Try(attempt) => self.app()?.attempt(attempt).await?,
            Order::Record { tcp, udp } => {
                let (recorder, addresses) = Recorder::start(&tcp, &udp).await?;
                self.recorder = Some(recorder);
                Answer::Listening(addresses)
            }
            Order::Take => match &mut self.recorder {
                Some(recorder) => Answer::Taken(recorder.take()),
                None => return Err(io::Error::other("nothing is recorded here")),
            },
            Order::Get { to, path } => {
                let request = http::get(&path, &to.to_string()).map_err(io::Error::other)?;
                Answer::Got(http::send(to, request).await?)
            }
        })
    }

    fn app(&self) -> io::Result<&App> {
        self.app
            .as_ref()
            .ok_or_else(|| io::Error::other("this is not the app"))
    }
}

/// What a server has.
#[derive(Debug)]
enum Pages {
    Patients,
    App(App),
}

impl Pages {
    async fn page(&self, path: &str) -> io::Result<Option<String>> {
        match self {
            Self::App(app) => app.answer(path).await,
            Self::Patients if path == "/patients" => {
                Ok(Some(serde_json::to_string(&data::patients())?))
            }
            Self::Patients => Ok(None),
        }
    }
}

async fn serve(at: SocketAddr, pages: Pages) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(at).await?;
    let at = listener.local_addr()?;
    let pages = Arc::new(pages);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let pages = Arc::clone(&pages);
            let service = service_fn(move |request| respond(Arc::clone(&pages), request));
            // Whatever fails here is seen by the client.
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok(at)
}

async fn respond(
    pages: Arc<Pages>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = match pages.page(request.uri().path()).await {
        Ok(Some(page)) => (StatusCode::OK, page),
        Ok(None) => (StatusCode::NOT_FOUND, "{}".to_owned()),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}
