//! The keys of a policy about encryption: what they mean, what is refused, and where.

use std::path::Path;

use lazaret_policy::{
    AppTls, Bundle, EgressTls, Identity, PodTls, Policy, Roots, TlsVersion, capacity, load,
};

use crate::support::{findings, folder, load_with, sound};

/// The first four lines: plain text is refused wherever it is not said where it may go.
const HEAD: &str = "apiVersion: lazaret/v1\nkind: Policy\n\
    metadata: { name: p, producer: a, consumer: b }\ndns: { resolvers: [10.0.0.53] }\n";

const ROOT: &str = include_str!("../pem/root.pem");
const CRL: &str = include_str!("../pem/root.crl");
const FILES: &[(&str, &str)] = &[("root.pem", ROOT), ("root.crl", CRL)];

const PIN: &str = "sha256/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

const EXCHANGE: &str = "exchanges: [{ request: { method: GET, path: / } }]";

/// An egress rule in lines 5 to 10, its `to` in line 7, its `tls` in line 9 or 10.
fn out(to: &str, action: &str, tls: &str) -> String {
    let exchanges = match action {
        "inspect" => format!("    {EXCHANGE}\n"),
        _ => String::new(),
    };
    let tls = match tls {
        "" => String::new(),
        tls => format!("    tls: {tls}\n"),
    };
    format!("egress:\n  - name: out\n    to: {to}\n    action: {action}\n{exchanges}{tls}")
}

/// Ingress rules; each with its `from` and the lines behind it.
fn into(rules: &[(&str, &str)]) -> String {
    let mut text = "ingress:\n".to_owned();
    for (i, (from, rest)) in rules.iter().enumerate() {
        text += &format!("  - name: in{i}\n    from: {{ cidrs: [{from}] }}\n    {rest}\n");
    }
    text
}

/// An inspected port with this `tls`, in the fourth line.
fn served(tls: &str) -> String {
    let exchange = "{ request: { method: GET, path: / }, response: { statuses: [404] } }";
    let tls = match tls {
        "" => String::new(),
        tls => format!("\n    tls: {tls}"),
    };
    format!("port: 8443\n    action: inspect\n    exchanges: [{exchange}]{tls}")
}

fn check(name: &str, text: &str, files: &[(&str, &str)], expected: &[&str]) {
    let found = findings(text, files);
    let fits = found.len() == expected.len()
        && (found.iter().zip(expected)).all(|(found, expected)| found.contains(expected));
    assert!(fits, "{name}: {found:#?}\nexpected: {expected:#?}");
}

#[test]
fn every_key_has_its_meaning() {
    let text = format!(
        "{HEAD}internal: {{ cidrs: [10.96.0.0/12, \"fd00:1::/32\"] }}
egress:
  - name: all
    to: {{ hosts: [a.example], ports: [443] }}
    action: inspect
    {EXCHANGE}
    tls:
      pod: intercept
      peer:
        min: \"1.2\"
        roots: roots/root.pem
        spki: [\"{PIN}\"]
        identities: [\"spiffe://pharma.example/ns/a_b/sa/C-1.x\", \"dns:Other.Example\"]
        client: {{ cert: tls/client.pem, key: /etc/keys/client.key }}
        crls: [root.crl, twice.crl]
  - name: usual
    to: {{ hosts: [b.example], ports: [443] }}
    action: inspect
    {EXCHANGE}
    tls: {{ peer: {{}} }}
  - name: broker
    to: {{ hosts: [c.example], ports: [5671] }}
    action: tunnel
    tls: sni
  - name: inside
    to: {{ cidrs: [10.96.0.1], ports: [80] }}
    action: direct
{}",
        into(&[
            (
                "192.0.2.0/24",
                &served(
                    "{ cert: tls/server.pem, key: tls/server.key, min: \"1.2\", app: tls, client: \
                     { roots: roots/root.pem, identities: [\"dns:caller.example\"], crls: [root.crl] } }"
                )
            ),
            (
                "198.51.100.1",
                &served("{ cert: ./tls/server.pem, key: tls/server.key, min: \"1.2\", app: tls }")
            ),
        ])
    );
    let twice = format!("a remark\n{CRL}another\n\n{CRL}");
    let files = [
        ("roots/root.pem", ROOT),
        ("root.crl", CRL),
        ("twice.crl", &twice),
    ];
    let folder = folder(&files);
    let path = folder.path().join("policy.yaml");
    std::fs::write(&path, text).unwrap();
    let (policy, warnings) = load(&path).unwrap_or_else(|e| panic!("{e}"));
    assert!(warnings.is_empty(), "{warnings}");
    assert!(policy.require_encryption);
    let internal: Vec<_> = policy.internal.iter().map(ToString::to_string).collect();
    assert_eq!(internal, ["10.96.0.0/12", "fd00:1::/32"]);

    let [all, usual, broker, inside] = &*policy.egress else {
        panic!()
    };
    assert_eq!(all.tls.pod, PodTls::Intercept);
    let peer = all.tls.peer.as_ref().unwrap();
    assert_eq!(peer.min, TlsVersion::V12);
    let Roots::Given(roots) = &peer.roots else {
        panic!()
    };
    assert!(roots.len() == 1 && roots[0].starts_with(&[0x30, 0x82]));
    let pin: Vec<u8> = (0..32).collect();
    assert_eq!(peer.pins, [<[u8; 32]>::try_from(pin).unwrap()]);
    assert_eq!(
        peer.identities,
        [
            Identity::Uri("spiffe://pharma.example/ns/a_b/sa/C-1.x".into()),
            Identity::Dns("other.example".parse().unwrap())
        ]
    );
    let client = peer.client.as_ref().unwrap();
    assert_eq!(client.cert, folder.path().join("tls/client.pem"));
    assert_eq!(client.key, Path::new("/etc/keys/client.key"));
    assert_eq!(peer.crls.len(), 3);
    assert!(peer.crls.iter().all(|crl| *crl == peer.crls[0]));

    let peer = usual.tls.peer.as_ref().unwrap();
    assert_eq!((usual.tls.pod, peer.min), (PodTls::None, TlsVersion::V13));
    assert_eq!(peer.roots, Roots::System);
    assert!(peer.pins.is_empty() && peer.identities.is_empty() && peer.crls.is_empty());
    assert!(peer.client.is_none());
    assert!(broker.sni && !inside.sni && !all.sni);
    assert_eq!(broker.tls, EgressTls::default());

    let served = policy.ingress[0].tls.as_ref().unwrap();
    assert_eq!(served.pair.key, folder.path().join("tls/server.key"));
    assert_eq!((served.min, served.app), (TlsVersion::V12, AppTls::Tls));
    let client = served.client.as_ref().unwrap();
    assert_eq!(client.roots, *roots);
    assert_eq!(client.identities[0].to_string(), "dns:caller.example");
    assert_eq!(client.crls.len(), 1);
    // Callers are told apart by their addresses: what they must show may differ.
    assert!(policy.ingress[1].tls.as_ref().unwrap().client.is_none());

    let capacity = capacity::policy(&policy);
    let bits = |i: usize| capacity.rules[i].n.bits();
    assert_eq!((bits(2), bits(3)), (None, None));
    assert!(bits(0).is_some());
}

#[test]
fn each_wrong_key_of_an_egress_rule_is_one_error() {
    let hosts = "{ hosts: [a.example], ports: [443] }";
    let peer = |key: &str| format!("{{ peer: {{ {key} }} }}");
    let identity = |name: &str| peer(&format!("identities: [\"{name}\"]"));
    let long = format!("spiffe://a/{}", "x".repeat(2048));
    let domain = format!("spiffe://{}/x", "a".repeat(256));
    for (to, action, tls, expected) in [
        (
            hosts,
            "tunnel",
            "{ peer: {} }".to_owned(),
            "9:5 error: the gateway speaks TLS itself only with `inspect` | `tls: sni`",
        ),
        (
            "{ cidrs: [10.0.0.1], ports: [443] }",
            "direct",
            "{}".into(),
            "9:5 error: the gateway speaks TLS itself only with",
        ),
        (
            hosts,
            "inspect",
            "sni".into(),
            "10:5 error: `sni` lets TLS pass unopened, and `inspect` looks into it",
        ),
        (
            "{ cidrs: [10.0.0.1], ports: [443] }",
            "direct",
            "sni".into(),
            "9:5 error: `direct` is the kernel's, which knows no server names",
        ),
        (
            "{ cidrs: [10.0.0.1], ports: [443] }",
            "tunnel",
            "sni".into(),
            "9:5 error: `sni` needs names to compare the server name with | list `hosts`",
        ),
        (hosts, "tunnel", "SNI".into(), "9:5 error: must match ^sni$"),
        (
            hosts,
            "tunnel",
            "[sni]".into(),
            "9:5 error: must be of type",
        ),
        (
            hosts,
            "inspect",
            "{ pod: passthrough }".into(),
            "error: not a value that is known here | one of \"none\", \"intercept\"",
        ),
        (
            "{ cidrs: [10.0.0.1, 10.0.0.0/24], ports: [443] }",
            "inspect",
            "{ pod: intercept, peer: {} }".into(),
            "10:12 error: `intercept` needs names or addresses",
        ),
        (
            hosts,
            "inspect",
            "{ pear: {} }".into(),
            "10:12 error: unknown key `pear` | did you mean `peer`?",
        ),
        (
            hosts,
            "inspect",
            peer("min: 1.3"),
            "10:20 error: not a value that is known here | one of \"1.2\", \"1.3\"",
        ),
        (
            hosts,
            "inspect",
            peer("min: \"1.1\""),
            "10:20 error: not a value that is known here",
        ),
        (
            hosts,
            "inspect",
            peer("spki: [\"sha256/AAAA\"]"),
            "10:27 error: `sha256/AAAA` is no pin | `sha256/`",
        ),
        (
            hosts,
            "inspect",
            peer(&format!("spki: [\"{}\"]", &PIN[7..])),
            "is no pin",
        ),
        (
            hosts,
            "inspect",
            peer(&format!("spki: [\"{}\"]", PIN.replace('=', ""))),
            "is no pin",
        ),
        // Another spelling of the same bytes.
        (
            hosts,
            "inspect",
            peer(&format!("spki: [\"{}\"]", PIN.replace("8=", "9="))),
            "is no pin",
        ),
        (
            hosts,
            "inspect",
            peer(&format!("spki: [\"{}\"]", PIN.replace("256", "1"))),
            "is no pin",
        ),
        // An empty list would read as "nothing", and mean "anything".
        (
            hosts,
            "inspect",
            peer("spki: []"),
            "10:20 error: at least 1 items",
        ),
        (
            hosts,
            "inspect",
            peer("identities: []"),
            "10:20 error: at least 1 items",
        ),
        (
            hosts,
            "inspect",
            peer("crls: []"),
            "10:20 error: at least 1 items",
        ),
        (
            hosts,
            "inspect",
            identity("a.example"),
            "10:33 error: `a.example` is no name of a certificate: it begins with",
        ),
        (
            hosts,
            "inspect",
            identity("dns:*.a.example"),
            "each label of a host name",
        ),
        (
            hosts,
            "inspect",
            identity("dns:192.0.2.1"),
            "an IP address is not a host name",
        ),
        (
            hosts,
            "inspect",
            identity("https://a.example/x"),
            "it begins with",
        ),
        (
            hosts,
            "inspect",
            identity("SPIFFE://a.example/x"),
            "it begins with",
        ),
        (
            hosts,
            "inspect",
            identity("spiffe://a.example"),
            "the path of a SPIFFE ID",
        ),
        (
            hosts,
            "inspect",
            identity("spiffe://a.example/"),
            "the path of a SPIFFE ID",
        ),
        (
            hosts,
            "inspect",
            identity("spiffe://a.example/x/"),
            "the path of a SPIFFE ID",
        ),
        (
            hosts,
            "inspect",
            identity("spiffe://a.example/x//y"),
            "the path of a SPIFFE ID",
        ),
        (
            hosts,
            "inspect",
            identity("spiffe://a.example/x/../y"),
            "the path of a SPIFFE ID",
        ),
        (
            hosts,
            "inspect",
            identity("spiffe://a.example/%41"),
            "the path of a SPIFFE ID",
        ),
        (
            hosts,
            "inspect",
            identity("spiffe://a.example/*"),
            "the path of a SPIFFE ID",
        ),
        (
            hosts,
            "inspect",
            identity("spiffe://a.example/x?y"),
            "the path of a SPIFFE ID",
        ),
        (
            hosts,
            "inspect",
            identity("spiffe:///x"),
            "a trust domain is",
        ),
        (
            hosts,
            "inspect",
            identity("spiffe://A.example/x"),
            "a trust domain is",
        ),
        (
            hosts,
            "inspect",
            identity("spiffe://a.example:443/x"),
            "a trust domain is",
        ),
        (
            hosts,
            "inspect",
            identity("spiffe://u@a.example/x"),
            "a trust domain is",
        ),
        (hosts, "inspect", identity(&domain), "a trust domain is"),
        (hosts, "inspect", identity(&long), "at most 2048 bytes"),
        (
            hosts,
            "inspect",
            peer("client: { cert: c.pem }"),
            "10:20 error: the key `key` is missing",
        ),
        (
            hosts,
            "inspect",
            peer("client: { cert: c.pem, key: \"\" }"),
            "error: this is no path",
        ),
        (
            hosts,
            "inspect",
            peer("roots: missing.pem"),
            "10:20 error: `missing.pem` cannot be read",
        ),
        (
            hosts,
            "inspect",
            peer("roots: /etc/root.pem"),
            "10:20 error: `/etc/root.pem` is no path relative to the policy file",
        ),
        (
            hosts,
            "inspect",
            peer("roots: \"https://a.example/root.pem\""),
            "is no path relative",
        ),
        (
            hosts,
            "inspect",
            peer("crls: [root.crl, missing.crl]"),
            "10:37 error: `missing.crl` cannot be read",
        ),
        (
            hosts,
            "inspect",
            peer("crls: [system]"),
            "`system` cannot be read",
        ),
    ] {
        let text = HEAD.to_owned() + &out(to, action, &tls) + "require_encryption: false\n";
        check(&tls, &text, FILES, &[expected]);
    }
}

#[test]
fn each_wrong_key_of_an_ingress_rule_is_one_error() {
    let pair = "cert: s.pem, key: s.key";
    let client = |key: &str| served(&format!("{{ {pair}, client: {{ {key} }} }}"));
    let opaque = |action: &str| format!("port: 8443\n    action: {action}\n    tls: {{ {pair} }}");
    for (rest, expected) in [
        (
            opaque("tunnel"),
            "10:5 error: the gateway speaks TLS itself only with `inspect` | remove it",
        ),
        (
            opaque("direct"),
            "10:5 error: the gateway speaks TLS itself only with `inspect` | remove it",
        ),
        (
            served("{ cert: s.pem }"),
            "11:5 error: the key `key` is missing",
        ),
        (
            served("{ cert: \"\", key: s.key }"),
            "11:12 error: this is no path",
        ),
        (served("sni"), "11:5 error: must be of type object"),
        (
            served(&format!("{{ {pair}, app: https }}")),
            "not a value that is known here | one of \"plain\", \"tls\"",
        ),
        (
            served(&format!("{{ {pair}, pod: none }}")),
            "unknown key `pod`",
        ),
        (
            client("identities: [\"dns:a.example\"]"),
            "error: the key `roots` is missing",
        ),
        (
            client("roots: system"),
            "the system's authorities vouch for anyone's certificate",
        ),
        (
            client("roots: root.pem, identities: []"),
            "at least 1 items",
        ),
        (
            client("roots: root.pem, identities: [\"dns:*.a.example\"]"),
            "is no name of a certificate",
        ),
        (
            client("roots: root.crl"),
            "root.crl:1:1 error: `X509 CRL` does not belong here",
        ),
        (
            client("roots: root.pem, crls: [root.pem]"),
            "root.pem:1:1 error: `CERTIFICATE` does not belong here",
        ),
        (
            client("roots: root.pem, crls: [gone]"),
            "error: `gone` cannot be read",
        ),
    ] {
        let text = HEAD.to_owned() + &into(&[("192.0.2.1", &rest)]);
        let text = text + "require_encryption: false\n";
        check(&rest, &text, FILES, &[expected]);
    }
}

/// Whatever could make a revocation list disappear is an error.
#[test]
fn what_is_wrong_with_a_pem_file_has_its_place() {
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let half = "-----BEGIN X509 CRL-----\nMIHN\n";
    let lines: Vec<&str> = CRL.lines().collect();
    let without = |n: usize| {
        let kept = (lines.iter().enumerate()).filter(|(i, _)| *i != n);
        kept.map(|(_, line)| format!("{line}\n"))
            .collect::<String>()
    };
    for (text, expected) in [
        (
            String::new(),
            vec!["f.crl:1:1 error: there is no `X509 CRL` here | PEM: sections"],
        ),
        ("nothing\n".into(), vec!["f.crl:1:1 error: there is no"]),
        (
            half.into(),
            vec!["f.crl:1:1 error: `X509 CRL` begins here and does not end"],
        ),
        (
            format!("{half}{CRL}"),
            vec!["f.crl:1:1 error: `X509 CRL` begins here and does not end"],
        ),
        (
            without(0),
            vec!["f.crl:6:1 error: this line neither begins nor ends anything"],
        ),
        (
            without(1),
            vec!["f.crl:1:1 error: this `X509 CRL` cannot be used"],
        ),
        (
            format!("{CRL}{}", CRL.replacen("-----BEGIN", "----BEGIN", 1)),
            vec![
                "f.crl:8:1 error: this line neither",
                "f.crl:14:1 error: this line neither",
            ],
        ),
        (
            CRL.replace("END X509 CRL", "END CRL"),
            vec!["f.crl:1:1 error: `X509 CRL` begins here and does not end"],
        ),
        (
            CRL.replace("MIHN", "MI-N"),
            vec!["f.crl:1:1 error: this `X509 CRL` is not Base64"],
        ),
        (
            CRL.replace("MIHN", "MIHM"),
            vec!["f.crl:1:1 error: this `X509 CRL` cannot be used"],
        ),
        (
            format!("\u{feff}{CRL}"),
            vec!["f.crl:1:1 error: this line", "f.crl:7:1 error: this line"],
        ),
        (
            format!("{CRL}{key}{ROOT}"),
            vec![
                "f.crl:8:1 error: `PRIVATE KEY` does not belong here",
                "f.crl:11:1 error: `CERTIFICATE` does not belong here",
            ],
        ),
        (
            format!("{CRL}{}", CRL.replace("X509 CRL", "CERTIFICATE")),
            vec!["f.crl:8:1 error: `CERTIFICATE` does not"],
        ),
    ] {
        // Named by two rules, and reported once.
        let both = "{ peer: { crls: [f.crl] } }";
        let rules = out("{ hosts: [a.example], ports: [443] }", "inspect", both)
            + &out("{ hosts: [b.example], ports: [443] }", "inspect", both)
                .replace("egress:\n", "")
                .replace("name: out", "name: b");
        let policy = HEAD.to_owned() + &rules;
        check(&text, &policy, &[("f.crl", &text)], &expected);
    }
    // DOS line ends and white space are no errors.
    let policy = HEAD.to_owned()
        + &out(
            "{ hosts: [a.example], ports: [443] }",
            "inspect",
            "{ peer: { crls: [f.crl] } }",
        );
    let dos = CRL.replace('\n', " \r\n");
    sound(&policy, &[("f.crl", &dos)]);
    // A root that is no certificate, and one that is one of another kind.
    let policy = policy.replace("crls: [f.crl]", "roots: f.pem");
    let as_root = CRL.replace("X509 CRL", "CERTIFICATE");
    for (text, expected) in [
        (
            as_root.as_str(),
            "f.pem:1:1 error: this `CERTIFICATE` cannot be used",
        ),
        (
            &ROOT.replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
            "`TRUSTED CERTIFICATE` does not belong",
        ),
        (CRL, "`X509 CRL` does not belong here"),
    ] {
        check(text, &policy, &[("f.pem", text)], &[expected]);
    }
    for many in [
        "-----\n".to_owned(),
        "-----BEGIN X-----\n-----END X-----\n".to_owned(),
    ] {
        let found = findings(&policy, &[("f.pem", &many.repeat(100_000))]);
        assert_eq!(found.len(), 100);
    }
    let binary = folder(&[("policy.yaml", &policy)]);
    std::fs::write(binary.path().join("f.pem"), [0x30, 0x82, 0xff]).unwrap();
    let errors = load(&binary.path().join("policy.yaml")).unwrap_err();
    assert!(
        errors.to_string().contains("`f.pem` is not UTF-8"),
        "{errors}"
    );
}

#[test]
fn there_are_not_too_many_pem_files() {
    let names: Vec<String> = (0..65).map(|i| format!("{i}.crl")).collect();
    let tls = format!("{{ peer: {{ crls: [{}] }} }}", names.join(", "));
    let text = HEAD.to_owned() + &out("{ hosts: [a.example], ports: [443] }", "inspect", &tls);
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), CRL)).collect();
    check(
        "65",
        &text,
        &files,
        &["`64.crl` is not read: a policy has at most 64 PEM files"],
    );
}

/// Which plain text is refused, and what to do about it.
#[test]
fn plain_text_stays_inside() {
    let internal =
        "internal: { cidrs: [10.96.0.0/12, 192.0.2.0/25, 192.0.2.128/25, \"fd00::/16\"] }\n";
    let pinned = HEAD.replace(
        "resolvers: [10.0.0.53]",
        "resolvers: [10.0.0.53], hosts: { in.example: [10.96.0.1, \"fd00::1\"], out.example: [10.96.0.1, 203.0.113.1], lo.example: [127.0.0.1] }",
    );
    let leaves = "error: `out` lets plain text leave `internal`";
    let goes_on = "`out` takes TLS from the app and goes on in plain text";
    for (to, action, tls, expected) in [
        ("{ cidrs: [10.96.0.0/12], ports: [80] }", "direct", "", None),
        (
            "{ cidrs: [10.111.255.255, \"fd00:1::/32\"], ports: [80] }",
            "tunnel",
            "",
            None,
        ),
        // Two internal networks together hold it.
        (
            "{ cidrs: [192.0.2.0/24], ports: [80] }",
            "inspect",
            "",
            None,
        ),
        (
            "{ cidrs: [10.96.0.0/11], ports: [80] }",
            "direct",
            "",
            Some(leaves),
        ),
        (
            "{ cidrs: [10.96.0.1, 203.0.113.1], ports: [80] }",
            "tunnel",
            "",
            Some(leaves),
        ),
        (
            "{ cidrs: [10.112.0.0], ports: [80] }",
            "inspect",
            "",
            Some(leaves),
        ),
        (
            "{ cidrs: [0.0.0.0/0], ports: [80] }",
            "inspect",
            "",
            Some(leaves),
        ),
        // Loopback is the pod, and an address of the pod may lead anywhere.
        (
            "{ cidrs: [127.0.0.1], ports: [80] }",
            "inspect",
            "",
            Some(leaves),
        ),
        (
            "{ cidrs: [\"::1\"], ports: [80] }",
            "direct",
            "",
            Some(leaves),
        ),
        (
            "{ hosts: [lo.example], ports: [80] }",
            "inspect",
            "",
            Some(leaves),
        ),
        // What a resolver will say proves nothing.
        (
            "{ hosts: [a.example], ports: [80] }",
            "inspect",
            "",
            Some(leaves),
        ),
        (
            "{ hosts: [in.example, a.example], ports: [80] }",
            "inspect",
            "",
            Some(leaves),
        ),
        (
            "{ hosts: [out.example], ports: [80] }",
            "tunnel",
            "",
            Some(leaves),
        ),
        ("{ hosts: [in.example], ports: [80] }", "tunnel", "", None),
        (
            "{ hosts: [a.example], cidrs: [10.96.0.0/16], ports: [80] }",
            "inspect",
            "",
            None,
        ),
        (
            "{ hosts: [a.example], cidrs: [10.96.0.0/16, 203.0.113.1], ports: [80] }",
            "inspect",
            "",
            Some(leaves),
        ),
        (
            "{ hosts: [in.example], cidrs: [203.0.113.1], ports: [80] }",
            "inspect",
            "",
            None,
        ),
        // Encrypted.
        (
            "{ hosts: [a.example], ports: [443] }",
            "tunnel",
            "sni",
            None,
        ),
        (
            "{ hosts: [a.example], ports: [443] }",
            "inspect",
            "{ peer: {} }",
            None,
        ),
        (
            "{ cidrs: [203.0.113.1], ports: [443] }",
            "inspect",
            "{ pod: intercept, peer: {} }",
            None,
        ),
        (
            "{ hosts: [a.example], ports: [443] }",
            "inspect",
            "{}",
            Some(leaves),
        ),
        (
            "{ hosts: [a.example], ports: [443] }",
            "inspect",
            "{ pod: intercept }",
            Some(goes_on),
        ),
        (
            "{ hosts: [in.example], ports: [443] }",
            "inspect",
            "{ pod: intercept }",
            None,
        ),
    ] {
        let text = pinned.clone() + &out(to, action, tls) + internal;
        let expected: Vec<&str> = expected.into_iter().collect();
        check(&format!("{to} {action} {tls}"), &text, &[], &expected);
        // Without the demand it may go; but what the app encrypted is worth a warning.
        let text = text + "require_encryption: false\n";
        let warned: Vec<&str> = expected.into_iter().filter(|e| *e == goes_on).collect();
        check(
            &format!("{to} {action} {tls}, not required"),
            &text,
            &[],
            &warned,
        );
        if !warned.is_empty() {
            assert!(load_with(&text, &[]).is_ok());
        }
    }
}

#[test]
fn the_three_ways_out_are_named() {
    let three =
        "or list all of `to.cidrs` under `internal.cidrs`, or write `require_encryption: false`";
    for (to, action, tls, expected) in [
        ("{ cidrs: [203.0.113.1], ports: [80] }", "inspect", "", format!("7:5 error: `out` lets plain text leave `internal` | give `tls.peer`, {three}")),
        ("{ cidrs: [203.0.113.1], ports: [80] }", "tunnel", "", format!("list `hosts` and give `tls: sni`, {three}")),
        ("{ cidrs: [203.0.113.1], ports: [80] }", "direct", "", format!("use `inspect` with `tls.peer`, or `tunnel` with `tls: sni`, {three}")),
        ("{ hosts: [a.example], ports: [80] }", "tunnel", "", "give `tls: sni`, or list what its names resolve to in `to.cidrs` and under `internal.cidrs`, or write `require_encryption: false`".into()),
        ("{ hosts: [a.example], ports: [443] }", "inspect", "{ pod: intercept }", "10:12 error: `out` takes TLS from the app and goes on in plain text, which may leave `internal` | give `tls.peer`".into()),
    ] {
        check(to, &(HEAD.to_owned() + &out(to, action, tls)), &[], &[&expected]);
    }
}

#[test]
fn answers_in_plain_text_stay_inside() {
    let internal = "internal: { cidrs: [10.200.0.0/16] }\n";
    let tls = "{ cert: s.pem, key: s.key }";
    let opaque = |action: &str| format!("port: 1\n    action: {action}");
    let leaves = "error: `in0` answers in plain text to callers outside `internal`";
    for (from, rest, expected) in [
        ("10.200.1.0/24", served(""), None),
        ("10.200.1.0/24", opaque("direct"), None),
        (
            "10.0.0.0/8",
            served(""),
            Some(format!(
                "7:5 {leaves} | give `tls`, or list all of `from.cidrs` under `internal.cidrs`, or write `require_encryption: false`"
            )),
        ),
        ("10.0.0.0/8", served(tls), None),
        (
            "10.200.0.0/16, 192.0.2.1",
            opaque("tunnel"),
            Some(format!("7:5 {leaves} | use `inspect` with `tls`, or")),
        ),
        (
            "192.0.2.1",
            opaque("direct"),
            Some(format!("7:5 {leaves} | use `inspect` with `tls`, or")),
        ),
        ("127.0.0.1", served(""), Some(leaves.to_owned())),
    ] {
        let text = HEAD.to_owned() + &into(&[(from, &rest)]) + internal;
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        check(&format!("{from} {rest}"), &text, &[], &expected);
        check(
            "not required",
            &(text + "require_encryption: false\n"),
            &[],
            &[],
        );
    }
}

/// What is wrong with these keys is not reported once more as plain text that leaves.
#[test]
fn a_broken_key_leads_to_nothing() {
    let rule = out("{ cidrs: [203.0.113.1], ports: [80] }", "inspect", "");
    for (more, expected) in [
        (
            "internal: { cidrs: [0.0.0.0/0] }",
            "`0.0.0.0/0` is everything | list networks, or write `require_encryption: false`",
        ),
        ("internal: { cidrs: [\"::/0\"] }", "`::/0` is everything"),
        (
            "internal: { cidrs: [127.0.0.0/8] }",
            "`127.0.0.0/8` holds loopback, which is the pod and never internal | remove it",
        ),
        ("internal: { cidrs: [64.0.0.0/2] }", "holds loopback"),
        ("internal: { cidrs: [127.1.2.3] }", "holds loopback"),
        ("internal: { cidrs: [\"::1\"] }", "holds loopback"),
        ("internal: { cidrs: [\"::/8\"] }", "holds loopback"),
        (
            "internal: { cidrs: [10.96.0.1/12] }",
            "has bits behind its prefix",
        ),
        ("internal: { cidrs: x }", "must be of type array"),
        ("internal: [10.0.0.0/8]", "must be of type object"),
        ("internal: { cidr: [10.0.0.0/8] }", "unknown key `cidr`"),
        ("intern: { cidrs: [203.0.113.1] }", "unknown key `intern`"),
        ("require_encryption: no", "must be of type boolean"),
        (
            "require_encrypton: false",
            "unknown key `require_encrypton`",
        ),
    ] {
        check(more, &format!("{HEAD}{rule}{more}\n"), &[], &[expected]);
    }
    let tls = out(
        "{ hosts: [a.example], ports: [80] }",
        "inspect",
        "{ peer: { roots: gone } }",
    );
    check(
        "roots",
        &(HEAD.to_owned() + &tls),
        &[],
        &["`gone` cannot be read"],
    );
    let tls = out("{ hosts: [a.example], ports: [80] }", "inspect", "{}").replace("tls:", "tsl:");
    check(
        "tsl",
        &(HEAD.to_owned() + &tls),
        &[],
        &["unknown key `tsl`"],
    );
}

#[test]
fn everything_is_reported_in_one_run() {
    let text = HEAD.to_owned()
        + &out(
            "{ hosts: [a.example], ports: [443] }",
            "inspect",
            "{ peer: { min: \"1.0\", roots: gone, spki: [x], identities: [y], crls: [root.pem] } }",
        )
        + "  - { name: plain, to: { cidrs: [192.0.2.1], ports: [80] }, action: direct }\n"
        + "  - { name: sni, to: { cidrs: [192.0.2.2], ports: [80] }, action: tunnel, tls: sni }\n"
        + &into(&[(
            "192.0.2.0/24",
            &served("{ cert: s.pem, key: s.key, client: { roots: system } }"),
        )])
        + &into(&[(
            "198.51.100.0/24",
            &served("{ cert: s.pem, key: s.key, app: x }"),
        )])
        .replace("ingress:\n", "")
        .replace("in0", "in1")
        + "internal: { cidrs: [10.0.0.0/8] }\n";
    let found = findings(&text, FILES);
    for expected in [
        "10:20 error: not a value",
        "10:32 error: `gone` cannot be read",
        "10:52 error: `x` is no pin",
        "10:69 error: `y` is no name",
        "root.pem:1:1 error: `CERTIFICATE`",
        "11:20 error: `plain` lets plain text",
        "12:75 error: `sni` needs names",
        "the system's authorities",
        "one of \"plain\", \"tls\"",
    ] {
        let n = found.iter().filter(|line| line.contains(expected)).count();
        assert_eq!(n, 1, "{expected}: {found:#?}");
    }
    assert_eq!(found.len(), 9, "{found:#?}");
}

/// Inspection and tunnels by name share a port where the ClientHello tells them apart, and there
/// only.
#[test]
fn rules_on_one_port_are_told_apart_by_server_name() {
    let rule = |name: &str, action: &str, tls: &str| {
        let host = format!("{{ hosts: [{name}.example], ports: [443] }}");
        let rule = out(&host, action, tls).replace("egress:\n", "");
        rule.replace("name: out", &format!("name: {name}"))
    };
    let intercept = ("inspect", "{ pod: intercept, peer: {} }");
    let plain = ("inspect", "{ peer: {} }");
    let sni = ("tunnel", "sni");
    let opaque = ("tunnel", "");
    for (a, b, ok) in [
        (intercept, sni, true),
        (sni, intercept, true),
        (sni, sni, true),
        (intercept, plain, true),
        (opaque, opaque, true),
        (plain, sni, false),
        (sni, plain, false),
        (opaque, sni, false),
        (sni, opaque, false),
        (opaque, intercept, false),
        (intercept, opaque, false),
    ] {
        let rules = rule("a", a.0, a.1) + &rule("b", b.0, b.1);
        let text = format!("{HEAD}egress:\n{rules}require_encryption: false\n");
        let wrong = ["`b` is told from another rule on this port by its name only"];
        check(
            &format!("{a:?} {b:?}"),
            &text,
            &[],
            if ok { &[] } else { &wrong },
        );
    }
    // An opaque tunnel by address would be a way around the names.
    let address = "  - { name: c, to: { cidrs: [192.0.2.0/24], ports: [443] }, action: tunnel }\n";
    let rules = rule("a", sni.0, sni.1) + address;
    let pinned = HEAD.replace(
        "resolvers: [10.0.0.53]",
        "hosts: { a.example: [192.0.2.1] }",
    );
    let text = format!("{pinned}egress:\n{rules}require_encryption: false\n");
    check(
        "by address",
        &text,
        &[],
        &["error: addresses of the names of `a` are in the networks of `c`"],
    );
}

#[test]
fn a_port_has_one_certificate() {
    let base = "cert: s.pem, key: s.key";
    let with = |tls: &str| {
        let tls = match tls {
            "" => served(""),
            tls => served(&format!("{{ {tls} }}")),
        };
        HEAD.to_owned()
            + &into(&[
                ("192.0.2.1", &served(&format!("{{ {base} }}"))),
                ("192.0.2.2", &tls),
            ])
            + "require_encryption: false\n"
    };
    let differs = |what: &str| {
        format!(
            "error: the rules of port 8443 differ in {what} | write the same as in ingress rule 0, `in0`; only `client` may differ"
        )
    };
    for (tls, what) in [
        (base.to_owned(), None),
        (format!("{base}, client: {{ roots: root.pem }}"), None),
        (base.replace("key: s", "key: t"), Some("`cert` and `key`")),
        (base.replace("cert: s", "cert: t"), Some("`cert` and `key`")),
        (format!("{base}, min: \"1.2\""), Some("`min`")),
        (format!("{base}, app: tls"), Some("`app`")),
        (String::new(), Some("`tls`")),
    ] {
        let expected = what.map(differs);
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        check(&tls, &with(&tls), FILES, &expected);
        check(
            "another port",
            &with(&tls).replacen("8443", "8444", 1),
            FILES,
            &[],
        );
    }
}

#[test]
fn roots_and_revocation_lists_are_part_of_the_digest_and_keys_are_not() {
    let text = HEAD.to_owned()
        + &out(
            "{ hosts: [a.example], ports: [443] }",
            "inspect",
            "{ peer: { roots: root.pem, crls: [root.crl], client: { cert: c.pem, key: c.key } } }",
        )
        + &into(&[(
            "192.0.2.1",
            &served("{ cert: s.pem, key: s.key, client: { roots: in.pem } }"),
        )]);
    let files = [
        ("policy.yaml", text.as_str()),
        FILES[0],
        FILES[1],
        ("in.pem", ROOT),
    ];
    let folder = folder(&files);
    let path = folder.path().join("policy.yaml");
    let digest = || Bundle::read(&path).digest();
    let first = digest();
    let (policy, _): (Policy, _) = load(&path).unwrap();
    assert_eq!(*policy.digest, first);
    for name in ["c.pem", "c.key", "s.pem", "s.key"] {
        std::fs::write(folder.path().join(name), "secret").unwrap();
        assert_eq!(digest(), first, "{name}");
    }
    for name in ["root.pem", "root.crl", "in.pem"] {
        let path = folder.path().join(name);
        let before = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{before}\n")).unwrap();
        assert_ne!(digest(), first, "{name}");
        std::fs::remove_file(&path).unwrap();
        assert_ne!(digest(), first, "{name}");
        std::fs::write(&path, before).unwrap();
        assert_eq!(digest(), first, "{name}");
    }
}
