//! The examples that we give, and the published schema of the policy file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lazaret_policy::compile::{load_schema, policy_schema};
use lazaret_policy::judge::{BodyHead, Violation};
use lazaret_policy::source::Document;
use lazaret_policy::{Contract, Reason, load};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    files.sort();
    files
}

/// The example policies; the site policy beside them is none.
fn policies() -> Vec<PathBuf> {
    let mut policies = files(&root().join("config"), ".yaml");
    policies.retain(|path| !path.ends_with("site.yaml"));
    policies
}

/// `LAZARET_BLESS=1` writes the schema anew.
#[test]
fn the_published_schema_is_current() {
    let path = root().join("schemas/policy.schema.json");
    let current = format!("{:#}\n", policy_schema());
    if std::env::var_os("LAZARET_BLESS").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(published == current, "run this test with LAZARET_BLESS=1");
}

#[test]
fn the_published_schema_is_a_schema() {
    let schema = policy_schema();
    assert!(jsonschema::draft202012::meta::is_valid(&schema));
    assert_eq!(schema["$id"], "urn:lazaret:policy:v1");
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    assert!(schema["title"].is_string());
    // No key is left open, none may be null, and each says what it is for.
    let text = schema.to_string();
    assert!(!text.contains("null"), "{text}");
    let definitions = schema["$defs"].as_object().unwrap().values();
    for object in definitions
        .chain([&schema])
        .filter(|d| d["type"] == "object")
    {
        assert_eq!(object["additionalProperties"], false, "{object}");
        for (key, property) in object["properties"].as_object().unwrap() {
            assert!(property["description"].is_string(), "{key}");
        }
    }
}

#[test]
fn every_example_policy_loads_without_findings_and_fits_the_schema() {
    let schema = jsonschema::options().build(&policy_schema()).unwrap();
    let policies = policies();
    assert!(policies.len() >= 3);
    for path in policies {
        let (_, warnings) = load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        assert!(warnings.is_empty(), "{warnings}");
        let document = Document::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let errors: Vec<_> = schema
            .iter_errors(&document.value)
            .map(|e| e.to_string())
            .collect();
        assert!(errors.is_empty(), "{}: {errors:?}", path.display());
    }
}

/// The contracts of all examples, by the name of their schema file.
fn contracts() -> BTreeMap<String, std::sync::Arc<Contract>> {
    let mut contracts = BTreeMap::new();
    for path in policies() {
        let document = Document::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let (policy, _) = load(&path).unwrap();
        for (name, contract) in &policy.contracts {
            let file = &document.value["contracts"][&**name]["schema"];
            let file = Path::new(file.as_str().unwrap()).file_name().unwrap();
            let schema = file.to_string_lossy().replace(".schema.json", "");
            contracts.insert(schema, contract.clone());
        }
    }
    contracts
}

/// The reasons of each refused payload, in the order of their codes.
fn expected(folder: &Path) -> BTreeMap<String, Vec<String>> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Reasons {
        One(String),
        Several(Vec<String>),
    }
    let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let expected: BTreeMap<String, Reasons> = serde_json::from_str(&text).unwrap();
    let reasons = |reasons| match reasons {
        Reasons::One(reason) => vec![reason],
        Reasons::Several(reasons) => reasons,
    };
    (expected.into_iter())
        .map(|(payload, all)| (payload, reasons(all)))
        .collect()
}

#[test]
fn every_example_payload_gets_its_verdict() {
    let folder = root().join("tests/payloads");
    let expected = expected(&folder);
    let mut reasons = BTreeSet::new();
    let mut judged = 0;
    // All that is wrong at once: one rule changed can change many verdicts.
    let mut wrong = Vec::new();
    for (schema, of_policy) in contracts() {
        // The reasons are those under the limits that a contract has when it gives none.
        let path = root().join(format!("schemas/{schema}.schema.json"));
        let (contract, _) = load_schema(&path, 64 * 1024, 32).unwrap();
        let payloads = files(&folder.join(&schema), ".json");
        assert!(payloads.len() >= 10, "{schema}");
        for path in payloads {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let body = std::fs::read(&path).unwrap();
            let head = BodyHead {
                content_type: Some("application/json"),
                content_encoding: None,
            };
            let verdict = contract.judge(head, &body);
            let key = format!("{schema}/{name}");
            if of_policy.judge_body(&body).is_ok() != verdict.is_ok() {
                wrong.push(format!("{key}: the policy's contract judges otherwise"));
            }
            match (verdict, expected.get(&key)) {
                (Ok(released), None) if name.starts_with("pass-") => {
                    let once = released.bytes;
                    assert_eq!(contract.judge_body(&once).unwrap(), once, "{key}");
                }
                (Err(violations), Some(listed)) if name.starts_with("fail-") => {
                    judged += 1;
                    let found: BTreeSet<Reason> = violations.iter().map(|v| v.reason).collect();
                    let mut codes: Vec<_> = found.iter().map(|r| r.code()).collect();
                    codes.sort_unstable();
                    if codes != *listed {
                        wrong.push(format!("{key}: {codes:?}, not {listed:?}"));
                    }
                    // A refusal by the schema is explained.
                    let mismatch = |v: &Violation| v.reason == Reason::SchemaMismatch;
                    let mut of_schema = violations.iter().filter(|v| mismatch(v));
                    assert!(of_schema.all(|v| v.keyword.is_some()), "{key}");
                    reasons.extend(found);
                }
                (verdict, listed) => wrong.push(format!("{key}: {verdict:?}, listed: {listed:?}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(judged, expected.len(), "every listed payload is judged");
    // All disclosure rules that an example contract has.
    for reason in [
        Reason::SdcCell,
        Reason::SdcPointer,
        Reason::SdcMinCount,
        Reason::SdcMarker,
        Reason::SdcPrecision,
        Reason::SdcContributors,
        Reason::SdcRate,
        Reason::SdcModel,
        Reason::SdcSurvival,
        Reason::SdcRows,
        Reason::SdcRowsSorted,
        Reason::SdcInconsistent,
        Reason::SdcNested,
        Reason::SdcRecoverable,
    ] {
        assert!(reasons.contains(&reason), "no example for {reason}");
    }
}
