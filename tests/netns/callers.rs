//! Callers from home in TLS, redirected by the kernel, in both families.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};

use crate::common::raw::End;
use crate::common::{CANARY, Launch, Recorder, Reply, SUMMARY, contains};
use crate::lab::{Lab, POD, POLICY};
use crate::space::{GATEWAY, run};

const NAME: &str = "results.hospital.example";
const HOME: &str = "spiffe://pharma.example/home";

/// Writes `clients.pem`, `NAME.pem` and `NAME.key` for each of these, with this name.
fn make(dir: &Path, leaves: &[(&str, SanType, ExtendedKeyUsagePurpose)]) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&key).unwrap();
    fs::write(dir.join("clients.pem"), root.pem()).unwrap();
    let issuer = Issuer::new(params, key);
    for (file, name, usage) in leaves {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name.clone()];
        params.extended_key_usages = vec![usage.clone()];
        let cert = params.signed_by(&key, &issuer).unwrap();
        fs::write(dir.join(format!("{file}.pem")), cert.pem()).unwrap();
        let path = dir.join(format!("{file}.key"));
        fs::write(&path, key.serialize_pem()).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o400)).unwrap();
    }
}

#[test]
fn callers_in_tls_are_told_apart_by_what_they_show() {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let Some(lab) = Lab::new() else { return };
    let (app, says) = Recorder::scripted_on(lab.pod.listen(8000));
    says.say(Reply::json(SUMMARY));
    let tls = format!(
        "port: 8000\n    tls: {{ cert: server.pem, key: server.key, \
         client: {{ roots: clients.pem, identities: [\"{HOME}\"] }} }}\n"
    );
    let policy = POLICY.replace("port: 8000\n", &tls);
    assert_ne!(policy, POLICY);
    let launch = Launch::new(&policy);
    let uri = |uri: &str| SanType::URI(uri.try_into().unwrap());
    make(
        launch.path(),
        &[
            (
                "server",
                SanType::DnsName(NAME.try_into().unwrap()),
                ServerAuth,
            ),
            ("home", uri(HOME), ClientAuth),
            ("other", uri("spiffe://pharma.example/other"), ClientAuth),
        ],
    );
    let launch = lab.in_pod(launch.owner(GATEWAY.id, GATEWAY.id), &[]);
    lab.apply(launch.path(), &[]);
    let gateway = launch.start();
    let file = |name: &str| gateway.path(name).display().to_string();
    let curl = |to: &str, shown: &[&str]| {
        let literal = if to.contains(':') {
            format!("[{to}]")
        } else {
            to.to_owned()
        };
        let (resolved, root) = (format!("{NAME}:8000:{literal}"), file("clients.pem"));
        let url = format!("https://{NAME}:8000/summary");
        let mut words = vec!["curl", "-sS", "--max-time", "20", "-w", "\n%{http_code}"];
        words.extend(["--resolve", &resolved, "--cacert", &root, &url]);
        words.extend(shown);
        let output = run(&lab.home.command_as_root(&words));
        String::from_utf8(output.stdout).unwrap()
    };
    let [home, other] =
        ["home", "other"].map(|who| [file(&format!("{who}.pem")), file(&format!("{who}.key"))]);
    let mut n = 0;
    for to in POD {
        says.say(Reply::json(SUMMARY));
        let seen = curl(to, &["--cert", &home[0], "--key", &home[1]]);
        assert_eq!(seen, format!("{SUMMARY}\n200"), "{to}");
        n += 1;
        let asked = app.requests().len();
        for shown in [&["--cert", &other[0], "--key", &other[1]][..], &[]] {
            assert_eq!(curl(to, shown), "\n000", "{to}");
            // It is told before it is recorded.
            n += 1;
            gateway.wait_verdicts(n);
        }
        let mut plain = lab.home.dial(to, 8000);
        plain.send(format!(
            "GET /summary HTTP/1.1\r\nHost: {NAME}:8000\r\n\r\n"
        ));
        assert_eq!(plain.rest(), (Vec::new(), End::Reset), "{to}");
        n += 1;
        gateway.wait_verdicts(n);
        assert_eq!(app.requests().len(), asked, "{to}");

        // In TLS, too, a caller is told one reason for whatever the app answers.
        says.say(Reply::json(&format!("{{\"patient\":\"{CANARY}\"}}")));
        let seen = curl(to, &["--cert", &home[0], "--key", &home[1]]);
        assert!(
            seen.contains("response-refused") && seen.ends_with("\n502"),
            "{seen}"
        );
        assert!(!contains(seen.as_bytes(), CANARY), "{seen}");

        n += 1;
        let records = gateway.wait_verdicts(n).split_off(n - 5);
        let told = |field: &str| records.iter().map(|r| r[field].clone()).collect::<Vec<_>>();
        let reasons = [
            None,
            Some("tls-client-certificate"),
            Some("tls-client-certificate"),
            Some("tls-required"),
            Some("schema-mismatch"),
        ];
        let reasons = reasons.map(serde_json::Value::from);
        assert_eq!(told("reason"), reasons, "{records:#?}");
        for i in [0, 4] {
            assert_eq!(records[i]["client_tls"]["identity"], HOME);
        }
        assert_eq!(
            records[1]["refused_peer"]["identity"],
            "spiffe://pharma.example/other"
        );
    }
}
