//! The only place where a refusal becomes an answer: a problem document of RFC 9457.

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use lazaret_policy::judge::Violation;
use lazaret_policy::{Direction, Reason};
use serde::Serialize;

use crate::http::payload::Payload;

/// The media type of RFC 9457 §3.
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Why an exchange was refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The one reason.
    pub reason: Reason,
    /// What is wrong with the body, if it is the body.
    pub violations: Vec<Violation>,
    /// Which message was refused.
    pub message: Message,
}

/// One of the two messages of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// The request.
    Request,
    /// The response.
    Response,
}

#[derive(Serialize)]
struct Problem<'p> {
    r#type: &'p str,
    title: &'static str,
    status: u16,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'p str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    violations: &'p [Violation],
}

impl Refusal {
    /// A request was refused.
    pub fn request(reason: Reason) -> Self {
        Self {
            reason,
            violations: Vec::new(),
            message: Message::Request,
        }
    }

    /// A response was refused.
    pub fn response(reason: Reason) -> Self {
        Self {
            reason,
            violations: Vec::new(),
            message: Message::Response,
        }
    }

    /// A body was refused; the first violation gives the reason.
    pub fn body(message: Message, violations: Vec<Violation>) -> Self {
        Self {
            reason: violations.first().map_or(Reason::Internal, |v| v.reason),
            violations,
            message,
        }
    }

    /// Whether what the client sends behind the refused message must not be read as a message: it
    /// was written for another reading of this one, or for the switch that it asked for (RFC 9112
    /// §6.3, RFC 9931).
    pub fn ends_connection(&self) -> bool {
        self.message == Message::Request
            && matches!(
                self.reason,
                Reason::HttpMalformed
                    | Reason::FramingAmbiguous
                    | Reason::ConnectNotAllowed
                    | Reason::UpgradeNotAllowed
                    | Reason::ExpectationNotAllowed
                    | Reason::HostMissing
                    | Reason::HostMismatch
            )
    }

    /// The status of the answer.
    pub fn status(&self) -> u16 {
        match self.message {
            Message::Request => self.reason.status(),
            Message::Response => self.reason.response_status(),
        }
    }
}

/// The answer to the client. Inside the pod it says all that is known; to a caller from outside it
/// gives the code and nothing that the payload has had a part in.
pub fn refusal(refusal: &Refusal, direction: Direction, rule: Option<&str>) -> Response<Payload> {
    let explain = direction == Direction::Egress;
    let status = refusal.status();
    let r#type = format!("urn:lazaret:reason:{}", refusal.reason.code());
    let problem = Problem {
        r#type: &r#type,
        title: refusal.reason.text(),
        status,
        reason: refusal.reason.code(),
        rule: rule.filter(|_| explain),
        violations: if explain { &refusal.violations } else { &[] },
    };
    // A struct of strings and numbers: it cannot fail to be written.
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut response = Response::new(Payload::whole(Bytes::from(body)));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, PROBLEM);
    response
}
