//! What loads, and what is reported about what does not.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use lazaret_policy::{Bundle, load};
use serde_json::{Value, json};

use crate::support::{CLOSED, HEAD, findings, folder, lines, load_with, sound};

/// Every folder of `fixtures` holds a policy and what is found in it. `LAZARET_BLESS=1` writes
/// what is found now.
#[test]
fn every_fixture_has_its_findings() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(fixtures)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    cases.sort();
    assert!(cases.len() >= 18, "only {} fixtures", cases.len());
    let mut wrong = String::new();
    for case in cases {
        let found = match load(&case.join("policy.yaml")) {
            Ok((_, warnings)) => ("loads", lines(&warnings, &case)),
            Err(errors) => ("fails", lines(&errors, &case)),
        };
        let mut text = format!("{}\n", found.0);
        for line in found.1 {
            writeln!(text, "{line}").unwrap();
        }
        let expected = case.join("findings.txt");
        if std::env::var_os("LAZARET_BLESS").is_some() {
            std::fs::write(&expected, &text).unwrap();
        }
        let expected = std::fs::read_to_string(&expected).unwrap_or_default();
        if expected != text {
            writeln!(wrong, "{}:\n{text}", case.display()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// What is wrong with a key or a value must not hide what is wrong elsewhere, and must not be
/// reported twice, as what it leads to.
#[test]
fn a_broken_value_hides_nothing_and_leads_to_nothing() {
    let rest = "egress:\n  - name: out\n    to: { hosts: [a.example], ports: [80] }\n    action: inspect\n    exchanges: [{ request: { method: POST, path: /, body: c } }]\n";
    let contract = "contracts: { c: { schema: c.json } }\n";
    let dns = "dns: { resolvers: [192.0.2.53] }\n";
    let sound = format!("{HEAD}{dns}{contract}{rest}");
    assert_eq!(findings(&sound, &[("c.json", CLOSED)]), [""; 0]);
    for (broken, what) in [
        (
            sound.replace("resolvers", "resolver"),
            "unknown key `resolver`",
        ),
        (
            sound.replace("[192.0.2.53]", "192.0.2.53"),
            "must be of type array",
        ),
        (
            sound.replace("192.0.2.53", "192.0.2"),
            "no address of a DNS server",
        ),
        (sound.replace(dns, "dns: []\n"), "must be of type object"),
        (sound.replace(dns, "dnss: {}\n"), "unknown key `dnss`"),
        (
            sound.replace(contract, "contracts: []\n"),
            "must be of type object",
        ),
        (
            sound.replace("contracts:", "contrcts:"),
            "unknown key `contrcts`",
        ),
        (
            sound.replace("{ schema: c.json }", "[]"),
            "must be of type object",
        ),
        (sound.replace("schema:", "shema:"), "unknown key `shema`"),
        (
            sound.replace("schema: c.json", "schema: 1"),
            "must be of type string",
        ),
        (
            sound.replace("hosts: [a.example]", "host: [a.example]"),
            "unknown key `host`",
        ),
        (
            sound.replace("hosts: [a.example]", "hosts: a.example"),
            "must be of type array",
        ),
        (
            sound.replace("[a.example]", "[1]"),
            "must be of type string",
        ),
        (sound.replace("ports: [80]", "ports: [-80]"), "at least"),
        (sound.replace("inspect", "inspct"), "not a value"),
        (
            sound.replace("exchanges:", "exchange:"),
            "unknown key `exchange`",
        ),
        (
            sound.replace("exchanges: [", "exchanges: [7, "),
            "must be of type object",
        ),
        (
            sound.replace("body: c", "body: [c]"),
            "must be of type string",
        ),
        (
            sound.replace("name: out", "name: 1"),
            "must be of type string",
        ),
        (
            sound.replace("- name: out", "- 5\n  - name: out"),
            "must be of type object",
        ),
    ] {
        let found = findings(&broken, &[("c.json", CLOSED)]);
        // A missing key is what an unknown one is about.
        let other: Vec<_> = (found.iter())
            .filter(|line| !line.contains(what) && !line.contains("is missing"))
            .collect();
        assert!(found.len() > other.len(), "{broken}\n{found:#?}");
        assert!(other.is_empty(), "{broken}\n{other:#?}");
        // And with one more thing wrong elsewhere, both are found.
        let more = broken.replace("path: /,", "path: x,");
        let more = findings(&more, &[("c.json", CLOSED)]);
        if broken.contains(" exchanges:") {
            let expected = "a path begins with `/`";
            assert!(
                more.iter().any(|l| l.contains(expected)),
                "{broken}\n{more:#?}"
            );
        }
    }
}

#[test]
fn whole_numbers_may_be_written_as_floats() {
    let text = format!(
        "{HEAD}egress:\n  - name: a\n    to: {{ cidrs: [10.0.0.1], ports: [80.0, 1e2] }}\n    action: direct\n"
    );
    assert_eq!(sound(&text, &[]).egress[0].to.ports, [80, 100]);
    let half = text.replace("80.0", "80.5");
    assert!(findings(&half, &[])[0].contains("must be of type integer"));
}

#[test]
fn sizes_and_depths_have_bounds() {
    let load = |size: &str, depth: &str| {
        let text = format!(
            "{HEAD}ingress:\n  - name: a\n    from: {{ cidrs: [10.0.0.1] }}\n    port: 80\n    action: inspect\n    exchanges: [{{ request: {{ method: GET, path: / }}, response: {{ statuses: [200], body: c }} }}]\ncontracts: {{ c: {{ schema: c.json, max_bytes: {size}, max_depth: {depth} }} }}\n"
        );
        let (policy, _) = load_with(&text, &[("c.json", CLOSED)]).ok()?;
        let contract = &policy.contracts["c"];
        Some((contract.max_bytes, contract.max_depth))
    };
    for (size, bytes) in [
        ("1", 1),
        ("512B", 512),
        ("512 B", 512),
        ("4kB", 4000),
        ("4KiB", 4096),
        ("1MB", 1_000_000),
        ("64MiB", 64 << 20),
        ("67108864", 64 << 20),
    ] {
        assert_eq!(load(size, "1"), Some((bytes, 1)), "{size}");
    }
    for size in [
        "0",
        "0B",
        "-1",
        "1.5KiB",
        "65MiB",
        "1GiB",
        "4 K",
        "KiB",
        "\"\"",
        "67108865",
        "1e99",
        "18446744073709551616",
        "99999999999999999999999MiB",
        "~",
        "[1]",
        "4KiB4",
    ] {
        assert_eq!(load(size, "1"), None, "{size}");
    }
    assert_eq!(load("1", "128"), Some((1, 128)));
    for depth in [
        "0",
        "129",
        "-1",
        "65536",
        "99999999999999999999",
        "x",
        "~",
        "1.5",
    ] {
        assert_eq!(load("1", depth), None, "{depth}");
    }
}

#[test]
fn the_version_of_json_schema_is_respected() {
    let draft7 = |extra: &str| {
        let schema = format!(
            r##"{{"$schema":"http://json-schema.org/draft-07/schema#","type":"array","items":[{{"const":1}}],"additionalItems":false{extra}}}"##
        );
        findings(
            &format!("{HEAD}contracts: {{ c: {{ schema: c.json }} }}\n"),
            &[("c.json", &schema)],
        )
    };
    let about_schema = |found: Vec<String>| -> Vec<String> {
        found
            .into_iter()
            .filter(|l| l.starts_with("c.json"))
            .collect()
    };
    assert_eq!(about_schema(draft7("")), [""; 0]);
    // In 2020-12 a list under `items` is an error.
    let newer = findings(
        &format!("{HEAD}contracts: {{ c: {{ schema: c.json }} }}\n"),
        &[("c.json", r#"{"items":[{"const":1}]}"#)],
    );
    assert!(newer[0].contains("must be of type object or boolean") || newer[0].contains("c.json"));
    // `uuid` became a format in 2019-09.
    assert!(about_schema(draft7(r#","format":"uuid""#))[0].contains("format `uuid`"));
}

#[test]
fn references_reach_other_files() {
    let load = |schema: &str, others: &[(&str, &str)]| {
        let text = format!("{HEAD}contracts: {{ c: {{ schema: schemas/c.json }} }}\n");
        let mut files = vec![("schemas/c.json", schema)];
        files.extend(others);
        let found = findings(&text, &files);
        let errors: Vec<String> = found.into_iter().filter(|l| l.contains("error")).collect();
        errors
    };
    let target = r##"{"$defs":{"x":{"const":1},"a b":{"$anchor":"here","const":2}}}"##;
    for (reference, name) in [
        ("d.json#/$defs/x", "schemas/d.json"),
        ("./d.json#/$defs/x", "schemas/d.json"),
        ("../d.json#/$defs/x", "d.json"),
        ("../other/d.json#/$defs/x", "other/d.json"),
        ("e/../d.json#/$defs/x", "schemas/d.json"),
        ("d.json#/$defs/a%20b", "schemas/d.json"),
        ("d.json#here", "schemas/d.json"),
        ("d%20e+f.json#/$defs/x", "schemas/d e+f.json"),
        ("%64.json#/$defs/x", "schemas/d.json"),
        ("m%C3%BCnchen.json#/$defs/x", "schemas/münchen.json"),
    ] {
        let schema = format!(r#"{{"$ref":"{reference}"}}"#);
        assert_eq!(load(&schema, &[(name, target)]), [""; 0], "{reference}");
    }
    // An `$id` is a name; references still go by file.
    let schema = r#"{"$id":"https://example.com/c","$ref":"d.json#/$defs/x"}"#;
    assert_eq!(load(schema, &[("schemas/d.json", target)]), [""; 0]);
    // A chain over many files, and one over too many.
    let chain = |n: usize| {
        let files: Vec<(String, String)> = (0..n)
            .map(|i| {
                (
                    format!("schemas/f{i}.json"),
                    format!(r#"{{"properties":{{"a":{{"$ref":"f{}.json"}}}}}}"#, i + 1),
                )
            })
            .chain([(format!("schemas/f{n}.json"), r#"{"const":1}"#.to_owned())])
            .collect();
        let files: Vec<_> = files
            .iter()
            .map(|(n, t)| (n.as_str(), t.as_str()))
            .collect();
        load(r#"{"$ref":"f0.json"}"#, &files)
    };
    assert_eq!(chain(40), [""; 0]);
    assert!(chain(80).iter().any(|l| l.contains("at most 64 files")));
}

const WITH_SCHEMAS: &str = "contracts:\n  c: { schema: ../schemas/c.json }\n";

fn tree() -> tempfile::TempDir {
    folder(&[
        ("a/config/policy.yaml", &format!("{HEAD}{WITH_SCHEMAS}")),
        ("a/schemas/c.json", r#"{"$ref":"d.json"}"#),
        ("a/schemas/d.json", r#"{"const":1}"#),
    ])
}

#[test]
fn the_digest_goes_with_the_bytes_not_with_the_place() {
    let digest = |path: &Path| Bundle::read(path).digest();
    let here = tree();
    let there = tree();
    let moved = there.path().join("deeper/than/before");
    std::fs::create_dir_all(&moved).unwrap();
    std::fs::rename(there.path().join("a"), moved.join("z")).unwrap();
    let policy = here.path().join("a/config/policy.yaml");
    let first = digest(&policy);
    assert_eq!(first.len(), 64);
    assert_eq!(digest(&moved.join("z/config/policy.yaml")), first);
    // Another spelling of the same place.
    assert_eq!(
        digest(&here.path().join("a/config/../config/./policy.yaml")),
        first
    );
    // A policy that loads has the digest of its bundle.
    assert_eq!(*load(&policy).unwrap().0.digest, *first);
    // Every byte of every file counts, and every name.
    let mut seen = vec![first.clone()];
    for name in ["config/policy.yaml", "schemas/c.json", "schemas/d.json"] {
        let path = here.path().join("a").join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text} ")).unwrap();
        seen.push(digest(&policy));
        std::fs::remove_file(&path).unwrap();
        seen.push(digest(&policy));
        std::fs::write(&path, &text).unwrap();
        assert_eq!(digest(&policy), first);
    }
    std::fs::write(here.path().join("a/schemas/c.json"), r#"{"$ref":"e.json"}"#).unwrap();
    seen.push(digest(&policy));
    std::fs::rename(
        here.path().join("a/schemas/d.json"),
        here.path().join("a/schemas/e.json"),
    )
    .unwrap();
    seen.push(digest(&policy));
    let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len());
}

/// A relative path must give the digest that the absolute one does, whatever comes first in order.
#[test]
fn the_digest_of_a_relative_path_is_the_same() {
    let policy = Path::new("tests/fixtures/sound/policy.yaml");
    let absolute = Path::new(env!("CARGO_MANIFEST_DIR")).join(policy);
    assert_eq!(
        Bundle::read(policy).digest(),
        Bundle::read(&absolute).digest()
    );
    let up = Path::new("../policy").join(policy);
    assert_eq!(Bundle::read(&up).digest(), Bundle::read(&absolute).digest());
}

/// As the kubelet mounts a ConfigMap: every file a link through `..data`, which is swapped.
#[test]
fn loads_from_a_config_map() {
    use std::os::unix::fs::symlink;
    let mount = tempfile::tempdir().unwrap();
    let version = |name: &str, maximum: u32| {
        let folder = mount.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(
            folder.join("policy.yaml"),
            format!("{HEAD}contracts: {{ c: {{ schema: c.json }} }}\n"),
        )
        .unwrap();
        let schema = json!({"$ref": "d.json", "maximum": maximum});
        std::fs::write(folder.join("c.json"), schema.to_string()).unwrap();
        std::fs::write(folder.join("d.json"), r#"{"type":"integer","minimum":0}"#).unwrap();
    };
    version("..2026_01", 1);
    version("..2026_02", 2);
    symlink("..2026_01", mount.path().join("..data")).unwrap();
    for name in ["policy.yaml", "c.json", "d.json"] {
        symlink(Path::new("..data").join(name), mount.path().join(name)).unwrap();
    }
    let path = mount.path().join("policy.yaml");
    let accepts = |body: &[u8]| {
        let (policy, _) = load(&path).unwrap();
        (
            policy.contracts["c"].judge_body(body).is_ok(),
            policy.digest.clone(),
        )
    };
    let (two, first) = accepts(b"2");
    assert!(!two);
    symlink("..2026_02", mount.path().join("..data_tmp")).unwrap();
    std::fs::rename(mount.path().join("..data_tmp"), mount.path().join("..data")).unwrap();
    let (two, second) = accepts(b"2");
    assert!(two);
    assert_ne!(first, second);
}

#[test]
fn what_is_no_file_is_not_read() {
    let folder = folder(&[]);
    for (path, what) in [
        (Path::new("/dev/zero"), "no file"),
        (folder.path(), "no file"),
        (&folder.path().join("none"), "cannot be read"),
        (Path::new(""), "cannot be read"),
    ] {
        let errors = load(path).unwrap_err().to_string();
        assert!(errors.contains(what), "{}: {errors}", path.display());
    }
    let large = folder.path().join("large");
    std::fs::write(&large, " ".repeat(4 * 1024 * 1024 + 1)).unwrap();
    assert!(
        load(&large)
            .unwrap_err()
            .to_string()
            .contains("is larger than")
    );
}

#[test]
fn findings_can_be_read_by_people_and_by_machines() {
    let folder = folder(&[("policy.yaml", &format!("{HEAD}mode: strict\n"))]);
    let path = folder.path().join("policy.yaml");
    let errors = load(&path).unwrap_err();
    let expected = format!(
        "{}:5:1: error: not a value that is known here (at /mode)\n    help: one of \"enforce\", \"observe\"",
        path.display()
    );
    assert!(errors.to_string().contains(&expected), "{errors}");
    let json: Value = serde_json::to_value(&errors).unwrap();
    assert_eq!(json[1]["severity"], "error");
    assert_eq!(json[1]["line"], 5);
    assert_eq!(json[1]["pointer"], "/mode");
}
