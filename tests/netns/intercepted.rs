//! HTTPS of an app that knows of nothing but one more authority, through real redirection.

use std::os::unix::fs::{PermissionsExt, chown};

use crate::common::{Recorder, SUMMARY};
use crate::lab::{HOME, Lab, NOWHERE, POLICY};
use crate::peers::{Dns, url};
use crate::space::{GATEWAY, at};

#[test]
fn unmodified_curl_is_judged_by_name_and_by_address() {
    let Some(lab) = Lab::new() else { return };
    let _dns = Dns::of_the_lab(&lab);
    let collector = Recorder::no_content_on(lab.home.listen(443));
    let home = Recorder::no_content_on(lab.home.listen(8081));
    let policy = POLICY.replace("ports: [80]", "ports: [443]").replace(
        "    action: inspect\n    exchanges:\n      - request: { method: GET, path: /v1/task }",
        "    action: inspect\n    tls: { pod: intercept }\n    exchanges:\n      - request: { \
         method: GET, path: /v1/task }",
    );
    // What both the gateway and the app see; only the gateway writes there.
    let shared = tempfile::tempdir().unwrap();
    std::fs::set_permissions(shared.path(), PermissionsExt::from_mode(0o755)).unwrap();
    chown(shared.path(), Some(GATEWAY.id), Some(GATEWAY.id)).unwrap();
    let ca = shared.path().join("ca.pem");
    let ca = ca.to_str().unwrap();
    let launch = lab.launch(&policy).args([format!("--ca-publish={ca}")]);
    lab.apply(launch.path(), &[]);
    let gateway = launch.start();
    let mut n = 0;
    for family in [0, 1] {
        let name = ["collector4.pharma.example", "collector6.pharma.example"][family];
        let resolve = format!("{name}:443:[{}]", NOWHERE[family]);
        let by_name = format!("https://{name}/v1/results/t2dm");
        let by_address = url(HOME[family], 8081, "/v1/results/t2dm").replace("http:", "https:");
        let cases = [
            (&by_name, &collector, at(NOWHERE[family], 443)),
            (&by_address, &home, at(HOME[family], 8081)),
        ];
        for (url, peer, meant) in cases {
            for version in ["--http1.1", "--http2"] {
                let ask = |body: &str| {
                    let words = [
                        "curl",
                        "-sS",
                        "--cacert",
                        ca,
                        version,
                        "--resolve",
                        &resolve,
                        "-H",
                        "content-type: application/json",
                        "-w",
                        "%{http_code}",
                        "-d",
                        body,
                        url,
                    ];
                    let output = lab.pod.tool(&words);
                    String::from_utf8(output.stdout).unwrap()
                };
                let last = |n| gateway.wait_verdicts(n).pop().unwrap();
                assert_eq!(ask(SUMMARY), "204", "{version} {url}");
                assert_eq!(peer.requests().len(), 1, "{version} {url}");
                peer.forget();
                let record = last(n + 1);
                assert_eq!(record["verdict"], "released", "{record}");
                assert_eq!(record["destination"], meant.to_string());
                assert_eq!(record["client_tls"]["version"], "1.3");
                let refused = ask("{}");
                assert!(
                    refused.contains("schema-mismatch") && refused.ends_with("422"),
                    "{refused}"
                );
                assert_eq!(last(n + 2)["reason"], "schema-mismatch");
                n += 2;
            }
        }
    }
    assert_eq!((collector.requests().len(), home.requests().len()), (0, 0));
    // An app that trusts only what it always did.
    let words = ["curl", "-sS", "https://10.77.0.1:8081/v1/task"];
    assert_eq!(lab.pod.tool(&words).status.code(), Some(60));
    assert_eq!(gateway.wait_verdicts(n + 1)[n]["reason"], "tls-pinned");
}
