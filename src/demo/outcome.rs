//! What an attempt came to, and whether that is what it must come to.

use lazaret_policy::{Direction, Reason};
use serde::Serialize;
use serde_json::Value;

use super::data::ID_PREFIX;
use super::orders::{Answer, Got, Taken};
use super::step::{Expected, Step};

/// Whether something got out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    Released,
    Refused,
}

/// What an attempt came to.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outcome {
    /// From 1.
    pub(super) step: usize,
    #[serde(serialize_with = "direction")]
    pub(super) direction: Direction,
    pub(super) tried: &'static str,
    pub(super) verdict: Verdict,
    /// The code of the gateway, or what the kernel said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    pub(super) why: String,
    /// How much of a body the other side has got.
    pub(super) received_bytes: usize,
    /// The status that the sender of the request has got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    /// What is not as it must be.
    pub(super) mismatches: Vec<String>,
}

impl Verdict {
    /// As it stands in records and metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Refused => "refused",
        }
    }
}

impl Outcome {
    /// Of a request of the app: what it was answered, and what came to the other side.
    pub(super) fn of_request(
        number: usize,
        step: &Step,
        answer: &Answer,
        taken: &Taken,
        canonical: &str,
    ) -> Self {
        let (head, body) = taken.text.split_once("\r\n\r\n").unwrap_or_default();
        let mut seen = Self::new(number, step);
        match answer {
            Answer::Got(got) => {
                seen.judge(got);
                if seen.verdict == Verdict::Released {
                    let names = head.lines().skip(1).filter_map(|line| line.split_once(':'));
                    let names: Vec<&str> = names.map(|(name, _)| name).collect();
                    seen.why = format!(
                        "{} arrived of {} sent, under {}",
                        size(body, canonical),
                        got.sent_bytes,
                        names.join(", "),
                    );
                }
            }
            Answer::Stopped(error) => {
                seen.reason = Some("kernel".to_owned());
                seen.why = error.clone();
            }
            other => seen.mismatch(format!("the app was let do it: {other:?}")),
        }
        seen.received_bytes = match seen.verdict {
            Verdict::Released => body.len(),
            Verdict::Refused => taken.bytes,
        };
        seen.compare(step.expected, body, canonical);
        if taken.text.contains(ID_PREFIX) {
            seen.mismatch("the other side has got patient data".to_owned());
        }
        seen
    }

    /// Of an answer to a caller. From `outside` no reason of the application's answer is told.
    pub(super) fn of_response(
        number: usize,
        step: &Step,
        got: &Got,
        canonical: &str,
        outside: bool,
    ) -> Self {
        let expected = match step.expected {
            Expected::Refused(Reason::SchemaMismatch) if outside => {
                Expected::Refused(Reason::ResponseRefused)
            }
            expected => expected,
        };
        let mut seen = Self::new(number, step);
        seen.judge(got);
        if seen.verdict == Verdict::Released {
            seen.received_bytes = got.body.len();
            seen.why = format!("{} arrived", size(&got.body, canonical));
        } else if got.body.contains("violations") {
            seen.mismatch("the caller was told more than the reason".to_owned());
        }
        let body = match seen.verdict {
            Verdict::Released => &*got.body,
            Verdict::Refused => "",
        };
        seen.compare(expected, body, canonical);
        if got.body.contains(ID_PREFIX) {
            seen.mismatch("the caller has got patient data".to_owned());
        }
        seen
    }

    fn new(number: usize, step: &Step) -> Self {
        Self {
            step: number,
            direction: step.act.direction(),
            tried: step.tried,
            verdict: Verdict::Refused,
            reason: None,
            why: String::new(),
            received_bytes: 0,
            status: None,
            mismatches: Vec::new(),
        }
    }

    /// A problem document is the gateway's; anything else came from the other side.
    fn judge(&mut self, got: &Got) {
        self.status = Some(got.status);
        if got.media_type != "application/problem+json" {
            self.verdict = Verdict::Released;
            if got.status != 200 {
                self.mismatch(format!("status {}", got.status));
            }
            return;
        }
        let problem: Value = serde_json::from_str(&got.body).unwrap_or_default();
        self.reason = problem["reason"].as_str().map(str::to_owned);
        let violation = &problem["violations"][0];
        self.why = match (violation["pointer"].as_str(), violation["message"].as_str()) {
            (Some(""), Some(message)) => message.to_owned(),
            (Some(pointer), Some(message)) => format!("{pointer}: {message}"),
            _ => problem["title"].as_str().unwrap_or_default().to_owned(),
        };
    }

    fn compare(&mut self, expected: Expected, body: &str, canonical: &str) {
        let (verdict, reason) = match expected {
            Expected::Released => (Verdict::Released, None),
            Expected::Refused(reason) => (Verdict::Refused, Some(reason.code())),
            Expected::Stopped => (Verdict::Refused, Some("kernel")),
        };
        if self.verdict != verdict || self.reason.as_deref() != reason {
            self.mismatch(format!(
                "expected {} {}",
                verdict.as_str(),
                reason.unwrap_or_default()
            ));
        }
        match verdict {
            Verdict::Released if body != canonical => {
                self.mismatch("what arrived is not the canonical aggregate".to_owned());
            }
            Verdict::Refused if self.received_bytes > 0 => {
                self.mismatch("something arrived".to_owned());
            }
            _ => {}
        }
    }

    fn mismatch(&mut self, what: String) {
        self.mismatches.push(what);
    }
}

fn size(body: &str, canonical: &str) -> String {
    let form = if body == canonical { "canonical " } else { "" };
    format!("{} {form}bytes", body.len())
}

fn direction<S: serde::Serializer>(direction: &Direction, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(direction.as_str())
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::demo::attempt::Attempt;
    use crate::demo::step::Act;

    fn outcome(expected: Expected, answer: &Answer, received: &str) -> Outcome {
        let step = Step {
            tried: "",
            act: Act::Send(Attempt::Aggregate),
            expected,
        };
        let taken = Taken {
            bytes: received.len(),
            text: received.to_owned(),
        };
        Outcome::of_request(1, &step, answer, &taken, "{}")
    }

    fn released() -> Answer {
        Answer::Got(Got {
            status: 200,
            ..Got::default()
        })
    }

    fn refused(reason: &str) -> Answer {
        Answer::Got(Got {
            status: 403,
            media_type: "application/problem+json".to_owned(),
            body: format!(r#"{{"reason":"{reason}"}}"#),
            sent_bytes: 0,
        })
    }

    #[test]
    fn only_what_must_be_is_taken_as_such() {
        let path = Expected::Refused(Reason::PathNotAllowed);
        let stopped = || Answer::Stopped(String::new());
        for (expected, answer, received, fits) in [
            (Expected::Released, released(), "POST\r\n\r\n{}", true),
            (Expected::Released, released(), "POST\r\n\r\n{ }", false),
            (Expected::Released, released(), "POST HA-\r\n\r\n{}", false),
            (Expected::Released, released(), "", false),
            (Expected::Released, refused("path-not-allowed"), "", false),
            (path, refused("path-not-allowed"), "", true),
            (path, refused("path-not-allowed"), "x", false),
            (path, refused("host-not-allowed"), "", false),
            (path, released(), "POST\r\n\r\n{}", false),
            (path, stopped(), "", false),
            (Expected::Stopped, stopped(), "", true),
            (Expected::Stopped, Answer::Done, "", false),
            (Expected::Stopped, stopped(), "x", false),
        ] {
            let seen = outcome(expected, &answer, received);
            assert_eq!(
                seen.mismatches.is_empty(),
                fits,
                "{expected:?} {answer:?} {received}: {:?}",
                seen.mismatches
            );
        }
    }
}
