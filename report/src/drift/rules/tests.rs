//! The data against the collectors that it speaks of: their definitions, their sources and the records of their fixtures.
#![allow(clippy::unwrap_used)]
use std::{fs, path::PathBuf};

use serde_json::json;

use super::*;

fn collectors() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../collectors")
}

fn yaml(path: &str) -> Value {
    let text = fs::read_to_string(collectors().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// `aws/iam-access`, `user` of `aws/iam-access/user`.
fn split(kind: &str) -> (&str, &str) {
    kind.rsplit_once('/').unwrap()
}

/// The records of a kind that a collector's fixtures have.
fn fixtures(kind: &str) -> Vec<Record> {
    let (collector, kind) = split(kind);
    let rows: Vec<Value> = match collector.split_once('/').unwrap() {
        ("aws", name) => {
            let cases = yaml(&format!("tests/definitions/aws/{name}.yaml"));
            let rows = cases.as_array().unwrap().iter().filter_map(|case| case["records"][kind].as_array());
            rows.flatten().cloned().collect()
        }
        (_, name) => {
            let text = fs::read_to_string(collectors().join(format!("tests/kept/{name}/derived.jsonl"))).unwrap();
            text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
        }
    };
    rows.into_iter().map(|row| serde_json::from_value(row).unwrap()).collect()
}

/// Whether a kind's records have a field, by the definition, or by the sources of a collector that is written in Rust.
fn has_field(kind: &str, field: &str) -> bool {
    let (collector, kind) = split(kind);
    if ["id", "as_of", "account", "region"].contains(&field) {
        return true;
    }
    let (family, name) = collector.split_once('/').unwrap();
    if family == "aws" {
        let definition = yaml(&format!("definitions/aws/{name}.yaml"));
        let one = |records: &Value| records["fields"].get(field).is_some();
        match &definition["records"][kind] {
            Value::Array(several) => return several.iter().any(one),
            records @ Value::Object(_) => return one(records),
            _ => {}
        }
    }
    let sources = if family == "aws" { "src/aws/iam" } else { "src/host" };
    let mut ahead = vec![collectors().join(sources)];
    while let Some(path) = ahead.pop() {
        if path.is_dir() {
            ahead.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            if text.contains(&format!("\"{field}\"")) || text.contains(&format!(" {field}:")) {
                return true;
            }
        }
    }
    false
}

/// The fields that an expression looks at, as far as they are spelt `$after.name`.
fn fields(code: &str) -> BTreeSet<String> {
    let named = ["$after.", "$before.", "$known."].into_iter().flat_map(|start| code.split(start).skip(1));
    named.map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()).collect()
}

#[test]
fn every_field_that_the_data_names_is_one_of_the_kinds_records() {
    let written: Written = serde_saphyr::from_str(DATA).unwrap();
    for (kind, of) in &written.kinds {
        for field in of.volatile.iter().chain(&of.ordered) {
            assert!(has_field(kind, field), "{kind} has no {field}");
        }
    }
    for rule in &written.rules {
        for kind in &rule.kinds {
            assert!(written.kinds.get(kind).is_none_or(|of| of.compared), "{}: {kind} is not compared", rule.id);
            let wanted = fields(&format!("{} {}", rule.when.as_deref().unwrap_or_default(), rule.says));
            // Of several names, one is each kind's.
            for field in wanted.iter().filter(|field| !["name", "volume", "file_system"].contains(&field.as_str())) {
                assert!(has_field(kind, field), "{}: {kind} has no {field}", rule.id);
            }
        }
    }
}

/// What is done to a record of the fixtures.
enum Then {
    /// It appears, with these fields.
    Comes(Value),
    /// It disappears, having had these.
    Goes(Value),
    /// From these fields to those.
    Turns(Value, Value),
}

fn with(row: &Record, fields: &Value) -> Record {
    let mut row = row.clone();
    fields.as_object().unwrap().iter().for_each(|(name, value)| drop(row.insert(name.clone(), value.clone())));
    row
}

fn rule_of(kind: &str, before: Option<&Record>, after: Option<&Record>) -> Option<Notable> {
    let change = match (before, after) {
        (None, _) => DriftKind::Added,
        (_, None) => DriftKind::Removed,
        _ => DriftKind::Changed,
    };
    let (collector, name) = split(kind);
    notable(collector, name, change, Seen { before, after, known: before })
}

fn encrypted() -> Then {
    Then::Turns(json!({"encrypted": true}), json!({"encrypted": false}))
}

fn plain() -> Then {
    Then::Comes(json!({"encrypted": false}))
}

fn key() -> Then {
    Then::Turns(json!({"key_manager": "CUSTOMER"}), json!({"key_manager": "AWS"}))
}

fn gone() -> Then {
    Then::Goes(json!({}))
}

fn turns(field: &str, before: impl Into<Value>, after: impl Into<Value>) -> Then {
    Then::Turns(json!({field: before.into()}), json!({field: after.into()}))
}

fn cases() -> Vec<(&'static str, &'static str, Then)> {
    let mut cases = vec![
        (
            "new-administrator",
            "aws/iam-access/administrator",
            Then::Comes(json!({"grant": "full", "type": "user", "name": "eve"})),
        ),
        ("new-administrator", "aws/iam-access/administrator", turns("grant", "escalation", "full")),
        ("new-administrator", "host/accounts/account", turns("privileged", false, true)),
        ("new-administrator", "host/accounts/account", Then::Comes(json!({"privileged": true}))),
        ("new-administrator", "aws/identity-center/permission_set", turns("administrator", false, true)),
        ("new-administrator", "aws/identity-center/permission_set", Then::Comes(json!({"administrator": true}))),
        ("new-administrator", "aws/organizations/account", turns("delegated_administrator", false, true)),
        ("new-assignment", "aws/identity-center/assignment", Then::Comes(json!({}))),
        ("root-key-made", "aws/iam-credential-report/root", turns("access_keys", 0, 1)),
        ("mfa-lost", "aws/iam-access/administrator", turns("mfa_active", true, false)),
        ("mfa-lost", "aws/iam-access/user", turns("mfa_active", true, false)),
        ("mfa-lost", "aws/iam-credential-report/user", turns("mfa_active", true, false)),
        ("mfa-lost", "aws/iam-credential-report/root", turns("mfa", true, false)),
        ("mfa-lost", "host/mfa/login_path", turns("second_factor", "required", "none")),
        ("trust-widened", "aws/iam-access/role", turns("trusts_anybody_unconditionally", false, true)),
        ("trust-widened", "aws/iam-access/role", turns("trusted_accounts", json!(["1"]), json!(["1", "2"]))),
        ("password-policy-weakened", "aws/iam-password-policy/password_policy", turns("minimum_length", 14, 8)),
        ("password-policy-weakened", "aws/iam-password-policy/password_policy", turns("set", true, false)),
        ("password-policy-weakened", "aws/iam-password-policy/password_policy", turns("symbols", true, false)),
        ("password-policy-weakened", "aws/iam-password-policy/password_policy", gone()),
        ("encryption-off", "aws/ebs-encryption/region_default", turns("encrypted_by_default", true, false)),
        ("encryption-off", "host/disk-encryption/volume", encrypted()),
        ("unencrypted-store-added", "host/disk-encryption/volume", plain()),
        ("customer-key-lost", "aws/backup-vaults/backup_vault", key()),
        ("customer-key-lost", "aws/dynamodb-encryption/table", key()),
        ("transit-encryption-off", "aws/efs-encryption/file_system", turns("tls_demanded", true, false)),
        ("transit-encryption-off", "aws/opensearch-encryption/search_domain", turns("https_enforced", true, false)),
        ("transit-encryption-off", "aws/opensearch-encryption/search_domain", turns("node_to_node", true, false)),
        ("transit-encryption-off", "aws/redshift-encryption/cluster", turns("require_ssl", "true", "false")),
        ("transit-encryption-off", "aws/rds-encryption/database", turns("tls_setting", "1", "0")),
        ("transit-encryption-off", "aws/s3-encryption/bucket", turns("http_refused", true, false)),
        ("transit-encryption-off", "aws/load-balancers/listener", turns("plaintext", false, true)),
        ("transit-encryption-off", "aws/load-balancers/listener", Then::Comes(json!({"plaintext": true}))),
        ("key-rotation-off", "aws/kms-keys/key", turns("rotation_enabled", true, false)),
        ("key-rotation-off", "aws/kms-keys/key", turns("rotation_period_days", 365, 2560)),
        ("key-to-be-deleted", "aws/kms-keys/key", turns("state", "Enabled", "PendingDeletion")),
        ("key-opened", "aws/kms-keys/key", turns("open_to_anyone", json!([]), json!(["everyone"]))),
        ("public-exposure", "aws/rds-exposure/database", turns("public", false, true)),
        ("public-exposure", "aws/rds-exposure/database", Then::Comes(json!({"public": true}))),
        ("public-exposure", "aws/snapshot-exposure/image", turns("public", false, true)),
        ("public-exposure", "aws/access-analyzer/external_access", Then::Comes(json!({"public": true}))),
        ("external-access", "aws/access-analyzer/external_access", Then::Comes(json!({"public": false}))),
        ("public-exposure", "aws/s3-exposure/account_block", turns("all", true, false)),
        ("public-exposure", "aws/s3-exposure/bucket", turns("blocked", true, false)),
        ("public-exposure", "aws/s3-exposure/bucket", turns("acl_public", json!([]), json!(["AllUsers: READ"]))),
        ("public-exposure", "aws/snapshot-exposure/snapshot_sharing", turns("public", json!([]), json!(["snap-1"]))),
        ("public-exposure", "aws/snapshot-exposure/snapshot_sharing", turns("block", "block-all-sharing", "unblocked")),
        ("public-exposure", "aws/snapshot-exposure/database_snapshot", turns("shared_with", json!([]), json!(["all"]))),
        ("public-exposure", "aws/security-groups/security_group", {
            turns("open", json!([]), json!([{"protocol": "tcp", "from": 22, "to": 22}]))
        }),
        ("public-exposure", "aws/cloudtrail/trail", turns("public_access_blocked", true, false)),
        ("logging-stopped", "aws/cloudtrail/account_logging", turns("logging", true, false)),
        ("logging-stopped", "aws/cloudtrail/trail", turns("logging", true, false)),
        ("logging-stopped", "aws/cloudtrail/trail", Then::Goes(json!({"logging": true}))),
        ("logging-stopped", "aws/vpc-flow-logs/vpc", turns("flow_logs", json!([{"status": "ACTIVE"}]), json!([]))),
        ("logging-stopped", "aws/config-recorders/config_recording", turns("recording", true, false)),
        ("logging-stopped", "host/audit-logging/log_service", turns("running", true, false)),
        ("logging-stopped", "host/audit-logging/log_state", turns("running_persistent", true, false)),
        (
            "log-forwarding-lost",
            "host/audit-logging/log_service",
            turns("forwards_to", json!(["logs.example"]), json!([])),
        ),
        (
            "log-forwarding-lost",
            "host/audit-logging/log_state",
            turns("forwards_to", json!(["logs.example"]), json!([])),
        ),
        ("log-integrity-off", "aws/cloudtrail/trail", turns("log_file_validation", true, false)),
        ("log-integrity-off", "aws/cloudtrail/trail", turns("versioning", "Enabled", "Suspended")),
        ("log-integrity-off", "aws/log-groups/log_group", turns("deletion_protected", true, false)),
        ("detection-off", "aws/guardduty/threat_detection", turns("enabled", true, false)),
        ("detection-off", "aws/guardduty/threat_detection", turns("features", json!(["DNS_LOGS", "X"]), json!(["X"]))),
        ("detection-off", "aws/security-hub/security_hub", turns("enabled", true, false)),
        ("detection-off", "aws/inspector/vulnerability_scanning", turns("status", "ENABLED", "DISABLED")),
        ("detection-off", "aws/access-analyzer/access_analysis", turns("active", true, false)),
        ("alarm-lost", "aws/alarms/login_alarm", turns("acting", json!(["logins"]), json!([]))),
        ("retention-shortened", "aws/log-groups/log_group", turns("retention_days", 365, 30)),
        ("retention-shortened", "aws/log-groups/log_group", turns("retention_days", Value::Null, 30)),
        ("retention-shortened", "aws/rds-backups/rds_database", turns("retention_days", 7, 0)),
        ("retention-shortened", "aws/cloudtrail/trail", turns("object_lock_days", 2190, 30)),
        ("retention-shortened", "aws/backup-plans/backup_plan", turns("kept_days", 365, 7)),
        ("retention-shortened", "aws/backup-plans/backup_rule", turns("delete_after_days", Value::Null, 7)),
        ("retention-shortened", "aws/backup-vaults/backup_vault", {
            Then::Turns(
                json!({"locked": true, "min_retention_days": 30}),
                json!({"locked": true, "min_retention_days": 7}),
            )
        }),
        ("retention-shortened", "aws/s3-protection/bucket", {
            Then::Turns(json!({"object_lock": true, "lock_days": 30}), json!({"object_lock": true, "lock_days": 7}))
        }),
        ("retention-shortened", "aws/dynamodb-backups/dynamodb_table", turns("recovery_days", 35, 7)),
        ("retention-shortened", "host/audit-logging/log_service", turns("days_at_most", 365, 30)),
        ("backups-off", "aws/dynamodb-backups/dynamodb_table", turns("pitr", true, false)),
        ("backups-off", "aws/efs-backups/efs_file_system", turns("automatic_backups", "ENABLED", "DISABLED")),
        ("backups-off", "aws/backup-coverage/data_store", turns("protected", true, false)),
        ("backup-protection-off", "aws/rds-backups/rds_database", turns("deletion_protection", true, false)),
        ("backup-protection-off", "aws/backup-vaults/backup_vault", turns("lock_mode", "compliance", "none")),
        ("backup-protection-off", "aws/s3-protection/bucket", turns("versioning", "Enabled", "Suspended")),
        ("backup-protection-off", "aws/s3-protection/bucket", turns("replicated", true, false)),
        ("account-left-organisation", "aws/organizations/account", gone()),
        ("guardrail-removed", "aws/organizations/service_control_policy", gone()),
        ("guardrail-removed", "aws/organizations/service_control_policy", turns("targets", json!(["r-1"]), json!([]))),
    ];
    for kind in [
        "aws/ebs-encryption/volume",
        "aws/efs-encryption/file_system",
        "aws/opensearch-encryption/search_domain",
        "aws/rds-encryption/database",
        "aws/redshift-encryption/cluster",
        "aws/s3-encryption/bucket",
    ] {
        cases.extend([
            ("encryption-off", kind, encrypted()),
            ("unencrypted-store-added", kind, plain()),
            ("customer-key-lost", kind, key()),
        ]);
    }
    for kind in [
        "aws/backup-plans/backup_plan",
        "aws/backup-plans/backup_rule",
        "aws/backup-plans/backup_selection",
        "aws/backup-vaults/backup_vault",
        "aws/restore-testing/restore_testing_plan",
        "aws/restore-testing/restore_testing_selection",
    ] {
        cases.push(("backup-plan-removed", kind, gone()));
    }
    cases
}

/// Kinds of the host of which the machine that the fixtures were kept on had no record: what the collectors make, by their sources.
fn made() -> Vec<(&'static str, &'static str, Record, Then)> {
    let row = |row: Value| serde_json::from_value(row).unwrap();
    let sshd = row(
        json!({"id": "default/permitrootlogin", "context": "default", "keyword": "permitrootlogin", "value": "no"}),
    );
    vec![
        ("new-sudo-rule", "host/accounts/sudo_rule", row(json!({"id": "/etc/sudoers:1"})), Then::Comes(json!({}))),
        ("remote-login-weakened", "host/sshd/sshd_setting", sshd, turns("value", "no", "yes")),
        ("backups-off", "host/backups-restic/backup_set", row(json!({"id": "r/[\"db1\",[\"/\"]]"})), gone()),
        ("backups-off", "host/backups-restic/restic_repository", row(json!({"id": "r"})), gone()),
        ("clock-not-synchronised", "host/time-sync/clock", row(json!({"id": "chrony", "source": "chrony"})), {
            turns("synchronised", true, false)
        }),
    ]
}

#[test]
fn each_rule_names_what_it_says_on_every_kind_and_nothing_else() {
    let written: Written = serde_saphyr::from_str(DATA).unwrap();
    let mut left: BTreeSet<(&str, &str)> = BTreeSet::new();
    for rule in &written.rules {
        left.extend(rule.kinds.iter().map(|kind| (rule.id.as_str(), kind.as_str())));
    }
    let of_fixtures = cases().into_iter().map(|(rule, kind, then)| {
        let mut row = fixtures(kind).into_iter().next().unwrap_or_else(|| panic!("no fixture has a {kind}"));
        // Fixtures name the fields that their case is about; what a sentence says beside is filled in.
        for one in written.rules.iter().filter(|one| one.id == rule && one.kinds.iter().any(|of| of == kind)) {
            let asked = fields(one.when.as_deref().unwrap_or_default());
            for field in fields(&one.says).difference(&asked).filter(|field| has_field(kind, field)) {
                row.entry(field.clone()).or_insert_with(|| field.as_str().into());
            }
        }
        (rule, kind, row, then)
    });
    for (rule, kind, row, then) in of_fixtures.chain(made()) {
        left.remove(&(rule, kind));
        let named =
            |before: Option<&Record>, after: Option<&Record>| rule_of(kind, before, after).map(|notable| notable.rule);
        let (before, after) = match &then {
            Then::Comes(fields) => (None, Some(with(&row, fields))),
            Then::Goes(fields) => (Some(with(&row, fields)), None),
            Then::Turns(before, after) => (Some(with(&row, before)), Some(with(&row, after))),
        };
        let notable =
            rule_of(kind, before.as_ref(), after.as_ref()).unwrap_or_else(|| panic!("{rule} does not hold on {kind}"));
        assert_eq!(notable.rule, rule, "{kind}");
        assert!(!notable.says.starts_with("null"), "{rule} on {kind}: {}", notable.says);
        let (Some(before), Some(after)) = (before, after) else { continue };
        assert_eq!(named(Some(&before), Some(&before)), None, "{kind}");
        assert_ne!(named(Some(&after), Some(&before)).as_deref(), Some(rule), "{rule} holds backwards on {kind}");
        // Null is not what a rule asks for.
        let Then::Turns(from, to) = then else { continue };
        let to_null = to.as_object().unwrap().keys().map(|name| (name.clone(), Value::Null)).collect();
        assert_eq!(named(Some(&before), Some(&with(&row, &Value::Object(to_null)))), None, "{rule} on {kind}");
        if from.as_object().unwrap().values().all(|value| !value.is_null()) && !kind.ends_with("log_group") {
            let from_null = from.as_object().unwrap().keys().map(|name| (name.clone(), Value::Null)).collect();
            let found = named(Some(&with(&row, &Value::Object(from_null))), Some(&after));
            assert!(found.is_none() || rule == "public-exposure" || rule == "retention-shortened", "{rule} on {kind}");
        }
    }
    assert_eq!(left, BTreeSet::new(), "rules that nothing tries");
}
