//! The examples that we give, and the published schema of the policy file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lazaret_policy::compile::{load_schema, policy_schema};
use lazaret_policy::judge::BodyHead;
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
    let policies = files(&root().join("config"), ".yaml");
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
    for path in files(&root().join("config"), ".yaml") {
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

#[test]
fn every_example_payload_gets_its_verdict() {
    let folder = root().join("tests/payloads");
    let expected = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let expected: BTreeMap<String, String> = serde_json::from_str(&expected).unwrap();
    let mut reasons = BTreeMap::new();
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
            let judged = contract.judge(head, &body);
            let key = format!("{schema}/{name}");
            assert_eq!(of_policy.judge_body(&body).is_ok(), judged.is_ok(), "{key}");
            if name.starts_with("pass-") {
                let released = judged.unwrap_or_else(|v| panic!("{key}: {v:?}"));
                assert_eq!(contract.judge_body(&released).unwrap(), released, "{key}");
                assert!(!expected.contains_key(&key));
                continue;
            }
            let violations = judged.expect_err(&key);
            let reason = Reason::from_code(&expected[&key]).expect("it is a reason");
            let as_expected = violations.iter().all(|v| v.reason == reason);
            assert!(as_expected, "{key}: {violations:?}");
            // A refusal by the schema is explained.
            assert!(reason != Reason::SchemaMismatch || violations[0].keyword.is_some());
            *reasons.entry(reason).or_insert(0) += 1;
        }
    }
    let listed: usize = reasons.values().sum();
    assert_eq!(listed, expected.len(), "every listed payload is judged");
    assert!(reasons.len() >= 5, "{reasons:?}");
}
