//! What a certificate says beside its chain: names and key, held against what the policy wants.
//! It never replaces the verification of the chain.

use lazaret_policy::Identity;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The most certificates that may come with an end-entity certificate. The library tries to put them
/// in every order, each with all that its extensions list, before it looks at any signature: a dozen
/// that name each other as issuers hold up a thread for seconds, in the name of nobody.
pub const MAX_INTERMEDIATES: usize = 4;

/// Whether an end-entity certificate (DER) has one of these names in its `subjectAltName`; any will
/// do if none is wanted, as a policy that lists none says. A name is there or not: wildcards match
/// nothing, and a certificate with two URIs has no SPIFFE ID (X509-SVID §2).
pub fn identities_match(cert: &[u8], wanted: &[Identity]) -> bool {
    if wanted.is_empty() {
        return true;
    }
    let Ok((_, cert)) = X509Certificate::from_der(cert) else {
        return false;
    };
    // One that is there twice is none.
    let Ok(Some(names)) = cert.subject_alternative_name() else {
        return false;
    };
    let names = &names.value.general_names;
    let mut uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let id = match (uris.next(), uris.next()) {
        (Some(uri), None) => Some(uri),
        _ => None,
    };
    let has_dns = |wanted: &str| {
        (names.iter())
            .any(|name| matches!(name, GeneralName::DNSName(n) if n.eq_ignore_ascii_case(wanted)))
    };
    wanted.iter().any(|wanted| match wanted {
        Identity::Dns(host) => has_dns(host.as_str()),
        Identity::Uri(uri) => id == Some(uri),
    })
}

/// SHA-256 over the `SubjectPublicKeyInfo` of a certificate (DER); `None` if it cannot be read.
pub fn spki_sha256(cert: &[u8]) -> Option<[u8; 32]> {
    let (_, cert) = X509Certificate::from_der(cert).ok()?;
    Some(Sha256::digest(cert.public_key().raw).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cert(names: &[&str]) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names = (names.iter())
            .map(|name| match name.contains("://") {
                true => rcgen::SanType::URI((*name).try_into().unwrap()),
                false => rcgen::SanType::DnsName((*name).try_into().unwrap()),
            })
            .collect();
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn an_identity_is_one_name_of_the_certificate() {
        const ID: &str = "spiffe://pharma.example/collector";
        let table: &[(&[&str], &[&str], bool)] = &[
            (&["a.example"], &[], true),
            (&["a.example"], &["dns:a.example"], true),
            (&["A.Example"], &["dns:a.example"], true),
            (&["a.example"], &["dns:b.example", "dns:a.example"], true),
            (&["a.example"], &["dns:b.example"], false),
            (&["*.example"], &["dns:a.example"], false),
            (&["xa.example"], &["dns:a.example"], false),
            (&[], &["dns:a.example"], false),
            (&[ID], &[ID], true),
            (&["b.example", ID], &[ID], true),
            (&[ID], &["spiffe://pharma.example/other"], false),
            (&[ID], &["spiffe://pharma.example/collector/x"], false),
            (&["spiffe://PHARMA.example/collector"], &[ID], false),
            (&["spiffe://pharma.example/Collector"], &[ID], false),
            (&[ID, "spiffe://pharma.example/other"], &[ID], false),
            (&[ID, "https://pharma.example/"], &[ID], false),
            (&["pharma.example"], &[ID], false),
        ];
        for (has, wanted, expected) in table {
            let wanted: Vec<Identity> = wanted.iter().map(|id| id.parse().unwrap()).collect();
            let found = identities_match(&cert(has), &wanted);
            assert_eq!(found, *expected, "{has:?} {wanted:?}");
        }
        assert!(!identities_match(
            b"no",
            &["dns:a.example".parse().unwrap()]
        ));
        assert_eq!(spki_sha256(b"no"), None);
    }
}
