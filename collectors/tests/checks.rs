//! The checks that host collectors carry, through the real evaluator: what each one says of rows that must pass, fail or stay unknown.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, sync::Arc};

use collectors::{
    contract::{Collector, Population},
    host::{access::Host, built_in, config::HostConfig},
    testing::{FakeEvidence, MemoryRecords},
};
use controls::{Evaluator, Results, parse_checks};
use serde_json::{Value, json};

fn all() -> Vec<Arc<dyn Collector>> {
    built_in(&Host::new("/", None), &HostConfig::default())
}

fn evaluate(
    collector: &str,
    parameters: &Value,
    rows: &[(&str, Value)],
    populations: &BTreeMap<String, Population>,
) -> Results {
    let all = all();
    let spec = all.iter().find(|c| c.spec().id == collector).unwrap().spec().clone();
    let mut evaluator = Evaluator::new(&parse_checks(&spec.checks).unwrap(), parameters).unwrap();
    for (kind, row) in rows {
        assert!(spec.kinds.iter().any(|known| known == kind), "{collector} has no kind {kind}");
        evaluator.record(kind, row);
    }
    let populations = populations.iter().map(|(kind, population)| {
        (kind.clone(), serde_json::from_value(serde_json::to_value(population).unwrap()).unwrap())
    });
    evaluator.finish(&populations.collect())
}

/// `pass`, `fail`, `unknown`, `exempt` or `outside` for one row of a whole list.
fn told(collector: &str, check: &str, parameters: Value, kind: &str, mut row: Value) -> &'static str {
    row["id"] = json!("x");
    row["as_of"] = Value::Null;
    row["exchange"] = json!(1);
    let populations = BTreeMap::from([(kind.to_string(), Population::Whole)]);
    let results = evaluate(collector, &parameters, &[(kind, row)], &populations);
    let result = results.checks.iter().find(|result| result.id == check).unwrap_or_else(|| panic!("no check {check}"));
    match (result.pass, result.fail, result.unknown, result.exempt) {
        (1, 0, 0, 0) => "pass",
        (0, 1, 0, 0) => "fail",
        (0, 0, 1, 0) => "unknown",
        (0, 0, 0, 1) => "exempt",
        (0, 0, 0, 0) => "outside",
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_check_is_accepted_and_asks_of_a_declared_kind() {
    for collector in all() {
        let spec = collector.spec();
        for check in parse_checks(&spec.checks).unwrap_or_else(|error| panic!("{}: {error:?}", spec.id)) {
            assert!(spec.kinds.contains(&check.kind), "{}: {}", spec.id, check.id);
        }
    }
}

#[test]
fn each_check_says_in_words_what_is_not_known() {
    for collector in all() {
        for check in parse_checks(&collector.spec().checks).unwrap() {
            assert!(check.unknown.is_some_and(|text| text.contains('{') || text.contains("known")), "{}", check.id);
        }
    }
}

#[test]
fn a_service_account_whose_shell_is_not_known_does_not_pass() {
    let told = |shell: Value| {
        let row = json!({"name": "odd", "uid": 100, "human": false, "shell": "/tmp/nologin", "login_shell": shell});
        told("host/accounts", "service-accounts-cannot-log-in", Value::Null, "account", row)
    };
    assert_eq!([told(json!(false)), told(json!(true)), told(Value::Null)], ["pass", "fail", "unknown"]);
}

#[test]
fn an_account_that_may_or_may_not_log_in_is_not_left_out_of_the_dormant() {
    let row = json!({"name": "odd", "human": true, "login_shell": null, "idle_days": 1});
    assert_eq!(told("host/accounts", "no-dormant-accounts", Value::Null, "account", row), "unknown");
}

#[test]
fn a_repository_without_this_hosts_snapshots_does_not_pass_for_it() {
    let told = |parameters: Value, row: Value| {
        told("host/backups-restic", "backup-of-this-host", parameters, "restic_repository", row)
    };
    let row = |hosts: Value, whole: bool| json!({"this_host": "db1", "hosts": hosts, "list_whole": whole});
    assert_eq!(told(Value::Null, row(json!(["db1", "web1"]), true)), "pass");
    assert_eq!(told(Value::Null, row(json!(["web1"]), true)), "fail");
    assert_eq!(told(Value::Null, row(json!([]), true)), "fail");
    assert_eq!(told(Value::Null, row(json!(["web1"]), false)), "unknown");
    assert_eq!(told(Value::Null, row(Value::Null, false)), "unknown");
    assert_eq!(told(json!({"backup_host_names": ["web1"]}), row(json!(["web1"]), true)), "pass");
    assert_eq!(told(Value::Null, json!({"this_host": null, "hosts": ["web1"], "list_whole": true})), "unknown");
}

#[test]
fn an_empty_list_of_algorithms_does_not_pass() {
    for (check, keyword) in [("sshd-ciphers", "ciphers"), ("sshd-macs", "macs"), ("sshd-key-exchange", "kexalgorithms")]
    {
        for value in [json!(""), Value::Null] {
            let row = json!({"keyword": keyword, "context": "default", "value": value});
            assert_eq!(told("host/sshd", check, Value::Null, "sshd_setting", row), "unknown", "{check}");
        }
    }
}

#[test]
fn where_nothing_was_answered_nothing_passes() {
    for collector in all() {
        let mut out = MemoryRecords::default();
        collector.derive(&FakeEvidence::new(), &mut out).unwrap();
        let rows: Vec<(&str, Value)> =
            out.rows.iter().flat_map(|(kind, rows)| rows.iter().map(|row| (kind.as_str(), row.clone()))).collect();
        let results = evaluate(&collector.spec().id, &Value::Null, &rows, &out.populations);
        for check in results.checks {
            assert_eq!((check.pass, check.not_applicable), (0, 0), "{}: {}", collector.spec().id, check.id);
            assert!(check.unknown > 0 || check.exempt > 0, "{}: {}", collector.spec().id, check.id);
        }
    }
}

#[test]
fn sshd_settings() {
    let told = |check: &str, keyword: &str, row: Value| {
        let mut row = row;
        row["keyword"] = json!(keyword);
        row["context"] = json!("default");
        told("host/sshd", check, Value::Null, "sshd_setting", row)
    };
    for (check, keyword, row, expected) in [
        ("sshd-root-login", "permitrootlogin", json!({"value": "without-password"}), "pass"),
        ("sshd-root-login", "permitrootlogin", json!({"value": "yes"}), "fail"),
        ("sshd-root-login", "permitrootlogin", json!({"value": null}), "unknown"),
        ("sshd-root-login", "port", json!({"value": "22"}), "outside"),
        ("sshd-password-authentication", "passwordauthentication", json!({"value": "no", "alone": null}), "pass"),
        ("sshd-password-authentication", "passwordauthentication", json!({"value": "yes", "alone": true}), "fail"),
        ("sshd-password-authentication", "passwordauthentication", json!({"value": "yes", "alone": false}), "pass"),
        ("sshd-password-authentication", "passwordauthentication", json!({"value": "yes", "alone": null}), "unknown"),
        ("sshd-keyboard-interactive", "kbdinteractiveauthentication", json!({"value": "yes", "alone": true}), "fail"),
        ("sshd-empty-passwords", "permitemptypasswords", json!({"value": "no"}), "pass"),
        ("sshd-empty-passwords", "permitemptypasswords", json!({"value": null}), "unknown"),
        ("sshd-authentication-tries", "maxauthtries", json!({"value": "6"}), "pass"),
        ("sshd-authentication-tries", "maxauthtries", json!({"value": "7"}), "fail"),
        ("sshd-authentication-tries", "maxauthtries", json!({"value": null}), "unknown"),
        ("sshd-dead-session-ends", "clientaliveinterval", json!({"value": "300", "count_max": "3"}), "pass"),
        ("sshd-dead-session-ends", "clientaliveinterval", json!({"value": "0", "count_max": "3"}), "fail"),
        ("sshd-dead-session-ends", "clientaliveinterval", json!({"value": "300", "count_max": null}), "unknown"),
        ("sshd-ciphers", "ciphers", json!({"value": "aes128-ctr,aes256-gcm@openssh.com"}), "pass"),
        ("sshd-ciphers", "ciphers", json!({"value": "aes128-ctr,aes128-cbc"}), "fail"),
        ("sshd-ciphers", "ciphers", json!({"value": null}), "unknown"),
        ("sshd-macs", "macs", json!({"value": "hmac-sha2-256,hmac-md5"}), "fail"),
        ("sshd-key-exchange", "kexalgorithms", json!({"value": "curve25519-sha256"}), "pass"),
        ("sshd-key-exchange", "kexalgorithms", json!({"value": "diffie-hellman-group1-sha1"}), "fail"),
    ] {
        assert_eq!(told(check, keyword, row.clone()), expected, "{check} {row}");
    }
}

#[test]
fn volumes() {
    let row = |changed: Value| {
        let mut row = json!({"device": "/dev/vda", "disks": ["/dev/vda"], "encrypted": false, "why": "-", "boot": false,
            "in_memory": false, "read_only_image": false});
        changed.as_object().unwrap().iter().for_each(|(name, value)| row[name] = value.clone());
        row
    };
    let provider = json!({"provider_encrypted_disks": ["/dev/vda"]});
    for (changed, parameters, expected) in [
        (json!({}), Value::Null, "fail"),
        (json!({"encrypted": true}), Value::Null, "pass"),
        (json!({"encrypted": null}), Value::Null, "unknown"),
        (json!({"encrypted": null, "disks": null}), provider.clone(), "unknown"),
        (json!({"boot": true}), Value::Null, "exempt"),
        (json!({}), provider.clone(), "exempt"),
        (json!({"disks": ["/dev/vda", "/dev/vdb"]}), provider, "fail"),
    ] {
        assert_eq!(
            told("host/disk-encryption", "volume-encrypted", parameters, "volume", row(changed.clone())),
            expected,
            "{changed}"
        );
    }
}

#[test]
fn patch_states() {
    for (check, row, expected) in [
        ("package-lists-fresh", json!({"lists_age_hours": 47.9}), "pass"),
        ("package-lists-fresh", json!({"lists_age_hours": 48.1}), "fail"),
        ("package-lists-fresh", json!({"lists_age_hours": null}), "unknown"),
        ("security-archive-configured", json!({"security_source": false}), "fail"),
        ("security-archive-configured", json!({"security_source": null}), "unknown"),
        ("no-pending-security-updates", json!({"pending_security_count": 0, "lists_age_hours": 1}), "pass"),
        ("no-pending-security-updates", json!({"pending_security_count": 0, "lists_age_hours": 100}), "unknown"),
        ("no-pending-security-updates", json!({"pending_security_count": 0, "lists_age_hours": null}), "unknown"),
        ("no-pending-security-updates", json!({"pending_security_count": 3, "lists_age_hours": 100}), "fail"),
        ("no-pending-security-updates", json!({"pending_security_count": null, "lists_age_hours": 1}), "unknown"),
        ("no-restart-due", json!({"reboot_required": true}), "fail"),
        ("no-restart-due", json!({"reboot_required": null}), "unknown"),
    ] {
        assert_eq!(told("host/patches", check, Value::Null, "patch_state", row.clone()), expected, "{check} {row}");
    }
    for (security, expected) in [(json!(true), "fail"), (Value::Null, "unknown"), (json!(false), "outside")] {
        let row = json!({"security": security});
        assert_eq!(told("host/patches", "security-update-installed", Value::Null, "pending_update", row), expected);
    }
}

#[test]
fn clocks() {
    for (check, row, expected) in [
        ("clock-synchronised", json!({"synchronised": true}), "pass"),
        ("clock-synchronised", json!({"synchronised": false}), "fail"),
        ("clock-synchronised", json!({"synchronised": null}), "unknown"),
        ("clock-offset", json!({"synchronised": true, "offset_seconds": -0.5}), "pass"),
        ("clock-offset", json!({"synchronised": true, "offset_seconds": -1.5}), "fail"),
        ("clock-offset", json!({"synchronised": false, "offset_seconds": 0.0}), "unknown"),
        ("clock-offset", json!({"synchronised": true, "offset_seconds": null}), "outside"),
    ] {
        assert_eq!(told("host/time-sync", check, Value::Null, "clock", row.clone()), expected, "{check} {row}");
    }
}

#[test]
fn log_services() {
    let required = json!({"auditd_required": true});
    let auditd = |installed: Value, running: Value, enabled: Value, rules: Value| json!({"service": "auditd", "installed": installed, "running": running, "enabled": enabled, "rules": rules});
    for (row, parameters, expected) in [
        (auditd(json!(true), json!(true), json!(1), json!(12)), Value::Null, "pass"),
        (auditd(json!(true), json!(true), json!(1), json!(0)), Value::Null, "fail"),
        (auditd(json!(true), json!(true), json!(1), Value::Null), Value::Null, "unknown"),
        (auditd(json!(true), json!(false), Value::Null, Value::Null), Value::Null, "fail"),
        (auditd(json!(false), json!(false), Value::Null, Value::Null), Value::Null, "exempt"),
        (auditd(json!(false), json!(false), Value::Null, Value::Null), required, "fail"),
        (auditd(Value::Null, Value::Null, Value::Null, Value::Null), Value::Null, "unknown"),
    ] {
        assert_eq!(
            told("host/audit-logging", "auditd-recording", parameters, "log_service", row.clone()),
            expected,
            "{row}"
        );
    }
    for (row, expected) in [
        (json!({"keeps_all": true, "forwards_to": []}), "pass"),
        (json!({"keeps_all": false, "forwards_to": null}), "unknown"),
        (json!({"keeps_all": null, "days_at_most": 30, "forwards_to": []}), "fail"),
        (json!({"keeps_all": null, "days_at_most": 400, "forwards_to": []}), "unknown"),
        (json!({"keeps_all": false, "forwards_to": ["tcp:siem"]}), "exempt"),
        (json!({"installed": false}), "outside"),
    ] {
        assert_eq!(
            told("host/audit-logging", "log-retention", Value::Null, "log_service", row.clone()),
            expected,
            "{row}"
        );
    }
    for (row, expected) in [
        (json!({"forwards_to": ["tcp:siem"], "shippers": []}), "pass"),
        (json!({"forwards_to": [], "shippers": []}), "fail"),
        (json!({"forwards_to": [], "shippers": ["vector"]}), "unknown"),
        (json!({"forwards_to": null, "shippers": []}), "unknown"),
    ] {
        assert_eq!(
            told("host/audit-logging", "logs-leave-host", Value::Null, "log_state", row.clone()),
            expected,
            "{row}"
        );
    }
}

#[test]
fn login_paths() {
    for (factor, expected) in [("required", "pass"), ("optional", "fail"), ("none", "fail"), ("unknown", "unknown")] {
        let row = json!({"path": "sshd", "remote": true, "second_factor": factor, "why": "-"});
        assert_eq!(told("host/mfa", "remote-login-second-factor", Value::Null, "login_path", row.clone()), expected);
        assert_eq!(told("host/mfa", "privileged-second-factor", Value::Null, "login_path", row), "outside");
        let row = json!({"path": "sudo", "remote": false, "second_factor": factor, "why": "-"});
        assert_eq!(told("host/mfa", "privileged-second-factor", Value::Null, "login_path", row.clone()), "exempt");
        let wanted = json!({"second_factor_on_host": true});
        assert_eq!(told("host/mfa", "privileged-second-factor", wanted, "login_path", row), expected);
    }
}

#[test]
fn backups() {
    let set = |age: Value, whole: bool| json!({"host": "db1", "paths": ["/srv"], "repository": "r", "newest_age_hours": age, "list_whole": whole});
    let told = |check: &str, parameters: Value, kind: &str, row: Value| {
        told("host/backups-restic", check, parameters, kind, row)
    };
    for (row, parameters, expected) in [
        (set(json!(3), true), Value::Null, "pass"),
        (set(json!(25), true), Value::Null, "fail"),
        (set(json!(25), false), Value::Null, "unknown"),
        (set(Value::Null, true), Value::Null, "unknown"),
        (set(json!(25), true), json!({"rpo_hours": 48}), "pass"),
        (set(json!(25), true), json!({"retired_backup_hosts": ["db1"]}), "exempt"),
    ] {
        assert_eq!(told("backup-recent", parameters, "backup_set", row.clone()), expected, "{row}");
    }
    for (check, row, expected) in [
        ("backup-exists", json!({"snapshot_count": 0}), "fail"),
        ("backup-exists", json!({"snapshot_count": null}), "unknown"),
        ("backup-repository-consistent", json!({"consistent": false}), "fail"),
        ("backup-repository-consistent", json!({"consistent": null}), "unknown"),
        ("backup-encrypted", json!({"encrypted": true}), "pass"),
        ("backup-encrypted", json!({"encrypted": null}), "unknown"),
        ("backup-off-host", json!({"location": "s3"}), "pass"),
        ("backup-off-host", json!({"location": "local"}), "unknown"),
    ] {
        assert_eq!(told(check, Value::Null, "restic_repository", row.clone()), expected, "{check} {row}");
    }
}
