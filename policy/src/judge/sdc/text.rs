//! `sdcText`: no text, and no member name, looks as if it held an identifier of a person.
//!
//! A tripwire, not a guarantee: names cannot be matched, and a sender who wants to can write any
//! number in words. So a text must be bounded all the same.

use serde_json::{Map, Value};

use self::folded::Folded;
use super::{Findings, Rule};
use crate::Reason;

mod classes;
mod folded;
mod phone;

/// A kind of identifiers: the name that a contract gives it, and whether a text holds one.
type Class = (&'static str, fn(&Folded) -> bool);

/// The kinds of identifiers.
const CLASSES: &[Class] = &[
    ("codiceFiscale", classes::codice_fiscale),
    ("nhsNumber", classes::nhs_number),
    ("iban", classes::iban),
    ("ssn", classes::ssn),
    ("date", classes::date),
    ("email", classes::email),
    ("phone", phone::phone),
    ("uuid", classes::uuid),
    ("longDigits", classes::long_digits),
    ("hexBlob", classes::hex_blob),
    ("base64Blob", classes::base64_blob),
];

/// `sdcText`, for the value at which it stands and everything in it.
pub(crate) struct Text {
    forbidden: Vec<Class>,
}

impl Rule for Text {
    fn new(value: &Value, _: &Map<String, Value>) -> Result<Self, String> {
        let members = super::params::members("sdcText", value, &["forbid"], &[])?;
        let names = members["forbid"].as_array();
        let Some(names) = names.filter(|names| !names.is_empty()) else {
            return Err("`forbid` of `sdcText` is a list of kinds of identifiers".into());
        };
        let mut forbidden: Vec<Class> = Vec::new();
        for name in names {
            let class = CLASSES.iter().find(|class| name.as_str() == Some(class.0));
            let Some(class) = class else {
                let known: Vec<_> = CLASSES.iter().map(|class| class.0).collect();
                let known = known.join(", ");
                return Err(format!("`sdcText` knows no {name}, only: {known}"));
            };
            if forbidden.iter().any(|other| other.0 == class.0) {
                return Err(format!("`forbid` of `sdcText` has {name} twice"));
            }
            forbidden.push(*class);
        }
        Ok(Self { forbidden })
    }

    fn check(&self, value: &Value, found: &mut Findings) {
        let mut search = Search {
            rule: self,
            folded: Folded::default(),
            way: Vec::new(),
            found,
        };
        search.value(value);
    }
}

/// A walk over a value. It recurses: the reader of payloads bounds their depth.
struct Search<'s, 'v> {
    rule: &'s Text,
    folded: Folded,
    way: Vec<Step<'v>>,
    found: &'s mut Findings,
}

/// A step on the way to a value.
enum Step<'v> {
    Name(&'v str),
    Index(usize),
}

impl<'v> Search<'_, 'v> {
    fn value(&mut self, value: &'v Value) {
        match value {
            Value::String(text) => {
                self.text(text);
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.below(Step::Index(index), item);
                }
            }
            Value::Object(members) => {
                for (name, member) in members {
                    // A pointer to a member with such a name would repeat the name: the object is
                    // named instead, and what is below waits until the name is mended.
                    if self.text(name) {
                        self.below(Step::Name(name), member);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn below(&mut self, step: Step<'v>, value: &'v Value) {
        if self.found.enough() {
            return;
        }
        self.way.push(step);
        self.value(value);
        self.way.pop();
    }

    /// Whether a text is clean; what it is not, is found.
    fn text(&mut self, text: &str) -> bool {
        self.folded.read(text);
        let folded = &self.folded;
        let found = |class: &&Class| class.1(folded);
        let mut classes = self
            .rule
            .forbidden
            .iter()
            .filter(found)
            .map(|class| class.0);
        let Some(first) = classes.next() else {
            return true;
        };
        let mut pointer = String::new();
        for step in &self.way {
            pointer = match step {
                Step::Name(name) => crate::source::join(&pointer, name),
                Step::Index(index) => crate::source::join(&pointer, index),
            };
        }
        let message = || {
            let classes: Vec<_> = std::iter::once(first).chain(classes).collect();
            let classes = classes.join(", ");
            format!("a text without what looks like an identifier ({classes})")
        };
        self.found.push(Reason::SdcText, pointer, message);
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn rule(classes: &[&str]) -> Text {
        Text::new(&json!({"forbid": classes}), &Map::new()).unwrap()
    }

    fn all() -> Text {
        let names: Vec<_> = CLASSES.iter().map(|class| class.0).collect();
        rule(&names)
    }

    /// The kinds that a text holds.
    fn kinds(text: &str) -> Vec<&'static str> {
        let mut folded = Folded::default();
        folded.read(text);
        let kinds = CLASSES.iter().filter(|class| class.1(&folded));
        kinds.map(|class| class.0).collect()
    }

    #[test]
    fn identifiers_are_found_and_nothing_else() {
        let rows: &[(&str, &[&str])] = &[
            ("weekend rows left out, see protocol 3", &[]),
            ("", &[]),
            ("n = 412 of 1 230 in 2026-W40, 12.5 % (was 11.25 %)", &[]),
            (
                "hospital_a, ICD-10 I21.4, ITC4, protocol v1.10.2, 2024/2025",
                &[],
            ),
            ("cases 120 130 140 in weeks 10-12; 100 000 rows", &[]),
            ("18-44, 45-64, 65+", &[]),
            // Codice fiscale.
            ("outlier RSSMRA85T10A562S checked", &["codiceFiscale"]),
            ("rss mra 85t10 a562s", &["codiceFiscale"]),
            ("xxRSSMRA85T10A562Syy", &["codiceFiscale"]),
            ("RSSMRA85T10A562T", &[]),
            ("RSSMRA85F10A562S", &[]),
            // Omocodia: the last digit, 2, is an N, and the check letter follows it.
            ("RSSMRA85T10A56NH", &["codiceFiscale"]),
            ("RSSMRA85T10A56NS", &[]),
            ("RSS\u{200b}MRA85T1\u{ff10}A562S", &["codiceFiscale"]),
            // NHS number.
            ("patient 943 476 5919 again", &["nhsNumber", "phone"]),
            ("9434765919", &["nhsNumber", "phone", "longDigits"]),
            ("943-476-5919", &["nhsNumber", "phone"]),
            ("19 43 47 65 91 9", &["nhsNumber"]),
            ("943 476 5918", &["phone"]),
            (
                "\u{669}\u{664}\u{663}\u{664}\u{667}\u{666}5919",
                &["nhsNumber", "phone", "longDigits"],
            ),
            // IBAN.
            // Ten of its digits are an NHS number by chance, as of one in eleven of ten digits.
            ("pay GB82 WEST 1234 5698 7654 32", &["nhsNumber", "iban"]),
            (
                "GB82WEST12345698765432",
                &["nhsNumber", "iban", "phone", "longDigits"],
            ),
            (
                "xGB82WEST12345698765432x",
                &["nhsNumber", "iban", "phone", "longDigits"],
            ),
            (
                "it60 x054 2811 1010 0000 0123 456",
                &["nhsNumber", "iban", "phone"],
            ),
            ("GB83 WEST 1234 5698 7654 32", &["nhsNumber"]),
            (
                "XX82WEST12345698765432",
                &["nhsNumber", "phone", "longDigits"],
            ),
            // Social security number.
            ("id 078-05-1120", &["ssn", "phone"]),
            ("078\u{2011}05\u{2011}1120", &["ssn", "phone"]),
            ("666-05-1120", &[]),
            ("000-05-1120", &["phone"]),
            ("900-05-1120", &[]),
            // Dates.
            ("born 12/05/1985", &["date"]),
            ("born 31.5.1985", &["date"]),
            ("born 5-31-1985", &["date"]),
            ("born 1985-05-12.", &["date"]),
            ("1985/5/1", &["date"]),
            ("99/99/1985", &[]),
            ("1985-13-12", &[]),
            ("0/5/1985", &[]),
            ("12/05/1085", &[]),
            ("1985-05", &[]),
            // Mail.
            ("ask m.rossi@hospital.example", &["email"]),
            ("ask M.ROSSI\u{ff20}hospital\u{ff0e}example", &["email"]),
            ("\u{e9}@\u{4f60}.\u{597d}", &["email"]),
            ("@hospital.example", &[]),
            ("3 @ 4.50", &[]),
            ("x@localhost", &[]),
            // Telephone.
            ("call +39 06 7654321", &["phone"]),
            ("+1 (212) 555-0123", &["phone"]),
            ("212.555.0123", &["phone"]),
            ("347 1234567", &["phone"]),
            ("02/1234567", &["phone"]),
            ("020 7946 0958", &["phone"]),
            ("+12 and 345", &[]),
            // Machine-made.
            (
                "550e8400-e29b-41d4-a716-446655440000",
                &["phone", "uuid", "longDigits"],
            ),
            ("550e8400-e29b-41d4-a716-44665544ffff", &["uuid"]),
            ("550e8400-e29b-41d4-a716-44665544fff", &[]),
            ("00112233a", &[]),
            ("12345678 and 123456789", &["longDigits"]),
            ("deadbeefdeadbeefdeadbeefdeadbeef", &["hexBlob"]),
            ("deadbeefdeadbeefdeadbeefdeadbee", &[]),
            ("ZGVhZGJlZWZkZWFkYmVlZmRlYWRiZWVmZGVh+/Zm", &["base64Blob"]),
            ("ZGVhZGJlZWZkZWFkYmVlZmRlYWRiZWVmZGVh+/Z", &[]),
        ];
        let wrong: Vec<_> = (rows.iter())
            .map(|(text, expected)| (*text, kinds(text), expected.to_vec()))
            .filter(|(_, found, expected)| found != expected)
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn texts_and_names_are_searched_at_every_depth() {
        let (mail, found) = ("m.rossi@hospital.example", |value: &Value| {
            let found = Findings::of(&rule(&["date", "email"]), value);
            assert_eq!(
                Findings::any(&rule(&["date", "email"]), value),
                !found.is_empty()
            );
            assert!(
                found
                    .iter()
                    .all(|finding| finding.reason == Reason::SdcText)
            );
            let pointers = found.into_iter().map(|finding| finding.pointer);
            pointers.collect::<Vec<_>>()
        });
        for (value, expected) in [
            (json!(mail), vec![""]),
            (
                json!({"a/b": [1, {"c": mail}], "d": mail}),
                vec!["/a~1b/1/c", "/d"],
            ),
            (json!({"a": {mail: {"b": mail}, "c": 1}}), vec!["/a"]),
            (json!({"a": ["b", 12, null, true]}), vec![]),
            (json!("9434765919"), vec![]),
        ] {
            assert_eq!(found(&value), expected, "{value}");
        }
        let finding = Findings::of(&rule(&["date", "email"]), &json!(mail)).remove(0);
        assert!(finding.message.ends_with("(email)"), "{}", finding.message);
    }

    #[test]
    fn a_name_does_not_reach_into_the_message() {
        let value = json!({"a\u{1f}b": "m.rossi@hospital.example"});
        let error = Findings::of(&all(), &value)
            .remove(0)
            .into_error()
            .to_string();
        let read = crate::judge::sdc::Finding::read(&error).unwrap();
        assert_eq!(read.pointer, "/a*b");
        assert!(
            read.message.starts_with("a text without"),
            "{}",
            read.message
        );
    }

    #[test]
    fn broken_values_are_refused() {
        for (value, why) in [
            (json!(["email"]), "needs an object with `forbid`"),
            (json!({"forbid": []}), "a list of kinds"),
            (json!({"forbid": "email"}), "a list of kinds"),
            (
                json!({"forbid": ["name"]}),
                "knows no \"name\", only: codiceFiscale, ",
            ),
            (json!({"forbid": [1]}), "knows no 1"),
            (json!({"forbid": ["email", "email"]}), "twice"),
            (
                json!({"forbid": ["email"], "allow": []}),
                "no member `allow`",
            ),
        ] {
            let error = Text::new(&value, &Map::new()).err().expect("an error");
            assert!(error.contains(why), "{error}");
        }
    }

    /// One of each, as a person would write it.
    const SAMPLES: &[(&str, &str)] = &[
        ("codiceFiscale", "RSSMRA85T10A562S"),
        ("nhsNumber", "943 476 5919"),
        ("iban", "GB82 WEST 1234 5698 7654 32"),
        ("ssn", "078-05-1120"),
        ("date", "12/05/1985"),
        ("email", "m.rossi@hospital.example"),
        ("phone", "+39 06 1234567"),
        ("uuid", "550e8400-e29b-41d4-a716-446655440000"),
        ("longDigits", "123456789"),
        ("hexBlob", "deadbeefdeadbeefdeadbeefdeadbeef"),
        ("base64Blob", "ZGVhZGJlZWZkZWFkYmVlZmRlYWRiZWVmZGVh+/Zm"),
    ];

    /// Writes a character as something that looks like it.
    fn disguised(c: char, how: u8) -> String {
        let wide = |c: char| char::from_u32(c as u32 + 0xfee0).unwrap_or(c);
        match how % 7 {
            0 if c.is_ascii_graphic() => Some(wide(c).into()),
            1 if c.is_ascii_digit() => char::from_u32(0x0660 + (c as u32 - 0x30)).map(String::from),
            2 if c.is_ascii_digit() => {
                char::from_u32(0x1d7ce + (c as u32 - 0x30)).map(String::from)
            }
            3 => Some(format!("{c}\u{200b}")),
            4 if c.is_alphanumeric() => Some(format!("{c}\u{301}")),
            5 if c == '-' => Some("\u{2011}".into()),
            6 => Some(c.to_ascii_lowercase().into()),
            _ => None,
        }
        .unwrap_or_else(|| c.into())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn an_identifier_is_found_wherever_it_stands(
            before in ".{0,40}",
            after in ".{0,40}",
            sample in prop::sample::select(SAMPLES),
            how in prop::collection::vec(any::<u8>(), 48),
        ) {
            let (class, sample) = sample;
            // What begins or ends a telephone number decides whether it is one.
            prop_assume!(class != "phone" || !(before.clone() + &after).chars().any(|c| c.is_numeric()));
            let hidden: String = sample.chars().zip(how).map(|(c, how)| disguised(c, how)).collect();
            let text = format!("{before}{hidden}{after}");
            prop_assert!(kinds(&text).contains(&class), "{} in {:?}", class, text);
        }

        #[test]
        fn any_text_is_searched(text in any::<String>(), rest in r"[A-Z0-9@+. /()\-]{0,80}") {
            let value = json!({&text: [rest.clone(), format!("{text}{rest}")]});
            Findings::of(&all(), &value);
        }
    }
}
