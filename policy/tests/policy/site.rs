//! The site policy: what loads, what is reported, and that no policy gets around it.

use std::path::Path;

use lazaret_policy::compile::{load_site, site_schema};
use lazaret_policy::source::Document;
use lazaret_policy::{Bundle, Site, load, load_with_site};

use crate::support::{HEAD, folder, lines};

const SITE: &str = "apiVersion: lazaret/v1\nkind: Site\n";

/// What is found in a site policy.
fn findings(text: &str) -> Vec<String> {
    let folder = folder(&[("site.yaml", text)]);
    match load_site(&folder.path().join("site.yaml")) {
        Ok(_) => Vec::new(),
        Err(errors) => lines(&errors, folder.path()),
    }
}

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn what_is_left_out_is_as_usual_and_the_example_says_the_same() {
    let folder = folder(&[("site.yaml", SITE)]);
    assert_eq!(
        load_site(&folder.path().join("site.yaml")).unwrap(),
        Site::default()
    );
    let example = root().join("config/site.yaml");
    assert_eq!(load_site(&example).unwrap(), Site::default());
    // The example names every key, and an editor with the published schema accepts it.
    let document = Document::parse(&std::fs::read_to_string(&example).unwrap()).unwrap();
    let schema = site_schema();
    for key in schema["properties"].as_object().unwrap().keys() {
        assert!(document.value.get(key).is_some(), "{key}");
    }
    assert!(
        jsonschema::validator_for(&schema)
            .unwrap()
            .is_valid(&document.value)
    );
}

/// `LAZARET_BLESS=1` writes the schema anew.
#[test]
fn the_published_schema_is_current() {
    let path = root().join("schemas/site.schema.json");
    let current = format!("{:#}\n", site_schema());
    if std::env::var_os("LAZARET_BLESS").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(published == current, "run this test with LAZARET_BLESS=1");
}

#[test]
fn every_value_can_be_set() {
    let text = format!(
        "{SITE}k_floor: 7\nk: 12\nzero: deny\ndf_floor: 20\nparam_ratio: 0.2\nnk: {{ n: 3, k: 0.8 }}\n\
         p: 0.5\nmax_bits: 1000\nmax_bytes: 1MiB\nhorizon: 2w\ndraft: 2020-12\n"
    );
    let folder = folder(&[("site.yaml", &text)]);
    let site = load_site(&folder.path().join("site.yaml")).unwrap();
    assert_eq!((site.k_floor, site.k, site.df_floor), (7, 12, 20));
    assert_eq!(
        (site.nk.n, site.max_bits, site.max_bytes),
        (3, 1000, 1 << 20)
    );
    assert_eq!(site.horizon.as_secs(), 14 * 86_400);
    assert!((site.p - 0.5).abs() < 1e-9 && (site.param_ratio - 0.2).abs() < 1e-9);
}

#[test]
fn all_errors_are_reported_at_once_with_their_places() {
    let text = "apiVersion: lazaret/v2\nkind: Policy\nk_flor: 5\nk_floor: 2\nnk: { n: 0 }\nzero: allow\n\
                max_bytes: lots\nhorizon: 400\ndraft: 2019-09\n";
    let found = findings(text);
    let mut places: Vec<&str> = found.iter().map(|f| f.split(' ').next().unwrap()).collect();
    places.dedup();
    let expected = [
        "site.yaml:1:1",
        "site.yaml:2:1",
        "site.yaml:3:1",
        "site.yaml:4:1",
        "site.yaml:5:1",
        "site.yaml:5:7",
        "site.yaml:6:1",
        "site.yaml:7:1",
        "site.yaml:8:1",
        "site.yaml:9:1",
    ];
    assert_eq!(places, expected, "{found:#?}");
    assert!(
        found.iter().any(|f| f.contains("did you mean `k_floor`?")),
        "{found:#?}"
    );
    for (text, what) in [
        (format!("{SITE}k: 6\nk_floor: 7\n"), "below the lowest"),
        (format!("{SITE}param_ratio: 1.5\n"), "at most"),
        (format!("{SITE}horizon: 0d\n"), "must match"),
        (format!("{SITE}max_bytes: 100000MiB\n"), "not a usable size"),
        ("[]".into(), "must be of type object"),
        (String::new(), "empty"),
    ] {
        let found = findings(&text).join("\n");
        assert!(found.contains(what), "{text}: {found}");
    }
}

const CONTRACT: &str = r#"{"type": "object", "required": ["n"], "additionalProperties": false,
 "sdcCapacity": {"maxBits": 99}, "properties": {"n": {"type": "integer", "maximum": 9999,
  "sdcMinCount": {"min": 10, "zero": "deny"}}}}"#;

const PLAIN: &str = r#"{"type": "object", "required": ["n"], "additionalProperties": false,
 "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9999}}}"#;

fn policy(contract: &str) -> String {
    format!(
        "{HEAD}strict_schemas: true\negress:\n  - name: out\n    to: {{ cidrs: [192.0.2.1], ports: [80] }}\n    \
         action: inspect\n    exchanges: [{{ request: {{ method: POST, path: /, body: sent }}, \
         response: {{ statuses: [200], body: got }} }}]\n\
         contracts:\n  sent: {{ schema: {contract} }}\n  got: {{ schema: plain.json }}\n"
    )
}

#[test]
fn a_policy_holds_to_its_site() {
    let text = policy("c.json");
    let strict = format!("{SITE}k_floor: 20\nk: 20\n");
    let small = format!("{SITE}max_bytes: 1KiB\n");
    let files = [
        ("policy.yaml", text.as_str()),
        ("c.json", CONTRACT),
        ("plain.json", PLAIN),
        ("site.yaml", SITE),
        ("strict.yaml", &strict),
        ("small.yaml", &small),
        ("broken.yaml", "k: 1\n"),
    ];
    let folder = folder(&files);
    let at = |name: &str| folder.path().join(name);
    let errors = |site: &str| {
        let errors = load_with_site(&at("policy.yaml"), Some(&at(site))).unwrap_err();
        lines(&errors, folder.path()).join("\n")
    };
    assert!(load(&at("policy.yaml")).is_ok());
    // What only comes into the pod needs no disclosure rules.
    assert!(load_with_site(&at("policy.yaml"), Some(&at("site.yaml"))).is_ok());
    assert!(errors("strict.yaml").contains("the site asks for 20"));
    assert!(errors("small.yaml").contains("more than the site policy allows"));
    assert!(errors("broken.yaml").contains("broken.yaml:1:1 error"));
    assert!(errors("gone.yaml").contains("cannot be read"));
    // What leaves does, with a site policy.
    std::fs::write(at("policy.yaml"), policy("plain.json")).unwrap();
    assert!(load(&at("policy.yaml")).is_ok());
    assert!(errors("site.yaml").contains("a number without a disclosure rule"));
}

#[test]
fn the_site_policy_and_the_code_lists_are_part_of_the_digest() {
    let contract = CONTRACT.replace(
        "\"sdcCapacity\"",
        &format!("\"$comment\": \"\", \"$defs\": {{\"c\": {{\"sdcCodelist\": {{\"list\": \"codes@sha256:{}\"}}}}}}, \"sdcCapacity\"", "0".repeat(64)),
    );
    let text = policy("c.json");
    let files = [
        ("policy.yaml", text.as_str()),
        ("c.json", &contract),
        ("plain.json", PLAIN),
        ("site.yaml", SITE),
        ("codes", "I\n"),
    ];
    let folder = folder(&files);
    let at = |name: &str| folder.path().join(name);
    let digest = |site: Option<&str>| {
        Bundle::read_with_site(&at("policy.yaml"), site.map(at).as_deref()).digest()
    };
    let alone = Bundle::read(&at("policy.yaml")).digest();
    assert_eq!(digest(None), alone);
    let with_site = digest(Some("site.yaml"));
    assert_ne!(with_site, alone);
    std::fs::write(at("site.yaml"), format!("{SITE}k: 11\n")).unwrap();
    assert_ne!(digest(Some("site.yaml")), with_site);
    std::fs::write(at("codes"), "II\n").unwrap();
    assert_ne!(digest(None), alone);
}
