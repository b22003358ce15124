#![allow(clippy::unwrap_used, clippy::disallowed_methods)]
use super::*;

#[test]
fn a_bundle_without_certificates_is_refused_before_anything_is_asked() {
    let certificate = |inner: &str| format!("-----BEGIN CERTIFICATE-----\n{inner}\n-----END CERTIFICATE-----\n");
    let der = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [&[0x30; 1][..], &[0; 200]].concat());
    assert!(has_certificates(certificate(&der).as_bytes()));
    for wrong in [
        String::new(),
        "PEM".into(),
        certificate("AAAA"),
        certificate("?"),
        certificate(&der) + "-----BEGIN CERTIFICATE-----",
    ] {
        assert!(!has_certificates(wrong.as_bytes()), "{wrong}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(http(Some(file.path())).unwrap_err().contains("holds no certificate"));
    assert!(http(Some("/nowhere/ca.pem".as_ref())).unwrap_err().contains("/nowhere/ca.pem"));
    assert!(http(None).is_ok());
}

#[test]
fn waits_and_times_are_those_that_are_configured() {
    let limits = Limits { attempts: 5, ..Limits::default() };
    let (retries, times) = (limits.retries(), limits.timeouts());
    assert_eq!((retries.max_attempts(), retries.initial_backoff()), (5, limits.first_wait));
    assert_eq!(times.connect_timeout(), Some(Duration::from_secs(5)));
    assert_eq!(times.operation_attempt_timeout(), Some(Duration::from_secs(30)));
    assert_eq!(times.operation_timeout(), Some(Duration::from_secs(120)));
}
