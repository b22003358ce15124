//! A seeded organization read by the program: every thing that was made is there, as it was made, with who asked what and when.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
};

use serde_json::{Map, Value, json};
use tests::{
    aws::{
        AwsWorld, Seeded,
        estate::{Bundle, Collected, Estate},
    },
    program::{files, text},
};

/// The world, what was made in it, and one collection of everything, with permissions, trust and signatures enforced.
struct Shared {
    world: AwsWorld,
    seeded: Seeded,
    estate: Estate,
    collected: Collected,
    calls: Vec<Value>,
}

// The Estate is only run after it was shared; its bookkeeping is of one thread.
fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let world = AwsWorld::start();
        let seeded = world.seed(&["members=1"], &["us-east-1", "eu-west-1"]);
        world.enforce(true, true);
        let estate = Estate::new(&world, &seeded, &json!({}), &json!({}));
        world.forget();
        let collected = estate.collect(&[]);
        let calls = world.calls();
        Shared { world, seeded, estate, collected, calls }
    })
}

/// A seeded thing's members, in a place of the record's members.
type Facts = &'static [(&'static str, &'static str)];

/// That the records of a kind are exactly what was seeded: the same ids, and the same facts.
fn assert_records(collector: &str, kind: &str, made: &str, id: impl Fn(&Value) -> String, facts: Facts) {
    let shared = shared();
    let bundle = shared.collected.of(collector);
    assert_eq!(bundle.population(kind), "whole", "{collector} {kind}: {}", bundle.gaps());
    let expected: BTreeMap<String, &Value> = shared.seeded.made(made).iter().map(|row| (id(row), row)).collect();
    let found: BTreeMap<&str, &Map<String, Value>> =
        bundle.records(kind).iter().map(|record| (record["id"].as_str().unwrap(), record)).collect();
    assert!(!expected.is_empty(), "nothing of {made} was seeded");
    let missing: Vec<&String> = expected.keys().filter(|id| !found.contains_key(id.as_str())).collect();
    assert!(missing.is_empty(), "{collector} {kind}: {missing:?} is missing in {:?}", found.keys());
    for (id, row) in expected {
        let record = found[id.as_str()];
        for (member, fact) in facts {
            assert_eq!(record[*member], row[*fact], "{collector} {kind} {id}: {member}");
        }
        assert_eq!(record["account"], row["account"], "{id}");
    }
}

/// That besides what was seeded there is nothing else of the kind.
fn assert_no_more(collector: &str, kind: &str, made: &str) {
    let shared = shared();
    let (found, expected) = (shared.collected.of(collector).records(kind).len(), shared.seeded.made(made).len());
    assert_eq!(found, expected, "{collector} {kind}");
}

fn text_of(row: &Value, name: &str) -> String {
    row[name].as_str().unwrap_or_else(|| panic!("{row} has no {name}")).to_owned()
}

fn arn(row: &Value) -> String {
    text_of(row, "arn")
}

/// `<account>/<region>/<id>`.
fn in_region(row: &Value) -> String {
    format!("{}/{}/{}", text_of(row, "account"), text_of(row, "region"), text_of(row, "id"))
}

fn user(row: &Value) -> String {
    format!("arn:aws:iam::{}:user/{}", text_of(row, "account"), text_of(row, "name"))
}

fn bucket(row: &Value) -> String {
    format!("arn:aws:s3:::{}", text_of(row, "name"))
}

/// The ids of those that were seeded so.
fn seeded_ids(made: &str, id: impl Fn(&Value) -> String, which: impl Fn(&Value) -> bool) -> BTreeSet<String> {
    shared().seeded.made(made).iter().filter(|row| which(row)).map(id).collect()
}

/// That a check's failing rows are exactly these, and that none of the rest is unknown.
fn assert_fails(collector: &str, check: &str, expected: &BTreeSet<String>) {
    let bundle = shared().collected.of(collector);
    assert_eq!(&bundle.rows(check, "fail"), expected, "{collector} {check}");
    assert_eq!(bundle.rows(check, "unknown"), BTreeSet::new(), "{collector} {check}");
}

#[test]
fn every_collector_reads_everything_and_the_archive_verifies_deeply() {
    let shared = shared();
    assert_eq!(shared.collected.code, Some(0), "{}", shared.collected.said);
    assert!(shared.collected.bundles.len() >= 44, "{}", shared.collected.said);
    for (collector, bundle) in &shared.collected.bundles {
        assert_eq!(bundle.outcome(), "collected", "{collector}: {}", bundle.gaps());
        assert_eq!(bundle.gaps(), "[]", "{collector}");
    }
    shared.estate.verify();
}

#[test]
fn users_their_second_factors_and_their_keys_are_as_they_were_made() {
    let facts: Facts = &[("password_enabled", "password"), ("mfa_active", "mfa"), ("active_keys", "keys")];
    assert_records("aws/iam-credential-report", "user", "users", user, facts);
    assert_no_more("aws/iam-credential-report", "user", "users");
    let without = seeded_ids("users", user, |row| row["password"] == true && row["mfa"] == false);
    assert_fails("aws/iam-credential-report", "console-users-mfa", &without);
    let aged = shared().collected.of("aws/iam-credential-report").rows("access-key-age", "fail");
    let old: BTreeSet<String> = seeded_ids("users", user, |row| row["name"] == "old-key")
        .iter()
        .map(|id| format!("{id}/access-key-1"))
        .collect();
    assert_eq!(aged, old);
}

#[test]
fn root_users_are_told_apart_by_mfa_keys_and_removal() {
    let report = shared().collected.of("aws/iam-credential-report");
    for row in shared().seeded.made("roots") {
        let id = format!("arn:aws:iam::{}:root", text_of(row, "account"));
        let record = report.records("root").iter().find(|record| record["id"] == id).unwrap();
        assert_eq!(record["mfa"], row["mfa"], "{id}");
        assert_eq!(record["access_keys"], i64::from(row["key"] == true), "{id}");
    }
    assert_eq!(report.records("root").len(), shared().seeded.accounts().len());
}

#[test]
fn administrators_are_found_by_every_path_and_nobody_else_is_one() {
    let bundle = shared().collected.of("aws/iam-access");
    let role = |row: &Value| format!("arn:aws:iam::{}:role/{}", text_of(row, "account"), text_of(row, "name"));
    let mut expected = seeded_ids("users", user, |row| !row["admin"].is_null());
    expected.extend(seeded_ids("roles", role, |row| !row["admin"].is_null()));
    let found: BTreeSet<String> =
        bundle.records("administrator").iter().map(|record| record["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found, expected);
    for record in bundle.records("administrator") {
        assert!(record["by"].as_array().is_some_and(|by| !by.is_empty()), "{record:?}");
    }
    let without = seeded_ids("users", user, |row| !row["admin"].is_null() && row["mfa"] == false);
    assert_fails("aws/iam-access", "administrators-mfa", &without);
}

#[test]
fn the_organization_with_its_suspended_account_and_identity_center_are_read_from_the_management_account() {
    let shared = shared();
    let accounts: BTreeMap<&str, &str> = shared
        .collected
        .of("aws/organizations")
        .records("account")
        .iter()
        .map(|record| (record["account_id"].as_str().unwrap(), record["state"].as_str().unwrap()))
        .collect();
    let expected: BTreeMap<&str, &str> = shared
        .seeded
        .made("organization_accounts")
        .iter()
        .map(|row| (row["id"].as_str().unwrap(), row["status"].as_str().unwrap()))
        .collect();
    assert_eq!(accounts, expected);
    let center = shared.collected.of("aws/identity-center");
    assert_records("aws/identity-center", "permission_set", "permission_sets", arn, &[("administrator", "admin")]);
    assert_eq!(center.records("assignment").len(), shared.seeded.made("assignments").len());
}

#[test]
fn what_is_stored_is_encrypted_or_not_as_it_was_made() {
    assert_records("aws/ebs-encryption", "volume", "volumes", in_region, &[("encrypted", "encrypted")]);
    assert_no_more("aws/ebs-encryption", "volume", "volumes");
    assert_fails(
        "aws/ebs-encryption",
        "volume-encrypted",
        &seeded_ids("volumes", in_region, |row| row["encrypted"] == false),
    );
    assert_records("aws/ebs-encryption", "snapshot", "snapshots", in_region, &[("encrypted", "encrypted")]);
    let region = |row: &Value| format!("{}/{}", text_of(row, "account"), text_of(row, "region"));
    assert_records("aws/ebs-encryption", "region_default", "ebs_default", region, &[("encrypted_by_default", "on")]);
    assert_records("aws/rds-encryption", "database", "databases", arn, &[("encrypted", "encrypted")]);
    assert_records("aws/rds-encryption", "database", "clusters", arn, &[("encrypted", "encrypted")]);
    assert_records("aws/efs-encryption", "file_system", "file_systems", arn, &[("encrypted", "encrypted")]);
    assert_records("aws/redshift-encryption", "cluster", "warehouses", in_region, &[("encrypted", "encrypted")]);
    assert_records(
        "aws/s3-encryption",
        "bucket",
        "buckets",
        bucket,
        &[("kms_key", "key"), ("http_refused", "tls_only")],
    );
    assert_no_more("aws/s3-encryption", "bucket", "buckets");
    let without = seeded_ids("buckets", bucket, |row| row["key"].is_null());
    assert_fails("aws/s3-encryption", "bucket-customer-managed-key", &without);
    let customers = |row: &Value| row["key"] == false;
    let table =
        |row: &Value| format!("{}/{}/{}", text_of(row, "account"), text_of(row, "region"), text_of(row, "name"));
    assert_fails("aws/dynamodb-encryption", "table-customer-managed-key", &seeded_ids("tables", table, customers));
}

#[test]
fn keys_rotate_or_wait_for_their_deletion_as_they_were_told() {
    assert_records("aws/kms-keys", "key", "keys", arn, &[("state", "state")]);
    let bundle = shared().collected.of("aws/kms-keys");
    let doomed = seeded_ids("keys", arn, |row| row["state"] == "PendingDeletion");
    assert_fails("aws/kms-keys", "key-not-to-be-deleted", &doomed);
    let rotating = seeded_ids("keys", arn, |row| row["rotation"] == true);
    assert!(rotating.is_subset(&bundle.rows("key-rotates", "pass")), "{rotating:?}");
    let still = seeded_ids("keys", arn, |row| row["rotation"] == false && row["state"] == "Enabled");
    assert!(still.is_subset(&bundle.rows("key-rotates", "fail")), "{still:?}");
}

#[test]
fn what_is_public_open_or_in_plain_text_is_found() {
    let public = seeded_ids("buckets", bucket, |row| row["public"] == true);
    assert_fails("aws/s3-exposure", "bucket-not-public", &public);
    assert_fails(
        "aws/s3-protection",
        "bucket-versioned",
        &seeded_ids("buckets", bucket, |row| row["versioning"] == false),
    );
    let region = |row: &Value| format!("{}/{}", text_of(row, "account"), text_of(row, "region"));
    let shared_snapshots = seeded_ids("snapshots", region, |row| row["public"] == true);
    assert_fails("aws/snapshot-exposure", "no-public-snapshot", &shared_snapshots);
    assert_fails("aws/rds-exposure", "database-not-public", &seeded_ids("databases", arn, |row| row["public"] == true));
    assert_fails(
        "aws/security-groups",
        "sensitive-ports-not-open",
        &seeded_ids("security_groups", in_region, |row| row["open"] == true),
    );
    let plain = seeded_ids("listeners", arn, |row| row["plain"] == true);
    assert_fails("aws/load-balancers", "listener-takes-no-plain-text", &plain);
    let late = seeded_ids("certificates", arn, |row| row["days"].as_i64().unwrap() < 30);
    assert_fails("aws/certificates", "certificate-not-about-to-expire", &late);
    let shared_databases = seeded_ids("db_snapshots", arn, |row| row["public"] == true);
    assert_fails("aws/snapshot-exposure", "database-snapshot-not-public", &shared_databases);
    let logged = seeded_ids("vpcs", in_region, |row| !row["flow_log"].is_null());
    assert_eq!(shared().collected.of("aws/vpc-flow-logs").rows("vpc-flow-logged", "pass"), logged);
}

#[test]
fn what_watches_is_on_where_it_was_switched_on_and_nowhere_else() {
    let region = |row: &Value| format!("{}/{}", text_of(row, "account"), text_of(row, "region"));
    let every: BTreeSet<String> = seeded_ids("recorders", region, |_| true);
    let off = |on: &BTreeSet<String>| every.difference(on).cloned().collect::<BTreeSet<_>>();
    assert_fails(
        "aws/config-recorders",
        "config-recorder-on",
        &seeded_ids("recorders", region, |row| row["recording"] == false),
    );
    assert_fails("aws/guardduty", "guardduty-enabled", &off(&seeded_ids("detectors", region, |_| true)));
    assert_fails("aws/security-hub", "security-hub-enabled", &off(&seeded_ids("hubs", region, |_| true)));
    assert_records(
        "aws/cloudtrail",
        "trail",
        "trails",
        arn,
        &[("logging", "logging"), ("multi_region", "multi_region")],
    );
    assert_fails(
        "aws/cloudtrail",
        "trail-validates-log-files",
        &seeded_ids("trails", arn, |row| row["validation"] == false),
    );
    assert_records(
        "aws/guardduty-findings",
        "threat_finding",
        "guardduty_findings",
        finding,
        &[("severity", "severity")],
    );
    assert_records("aws/inspector", "vulnerability_finding", "inspector_findings", arn, &[("severity", "severity")]);
    assert_records(
        "aws/security-hub",
        "security_finding",
        "hub_findings",
        |row| text_of(row, "id"),
        &[("workflow", "workflow")],
    );
}

fn finding(row: &Value) -> String {
    let detector = shared().seeded.made("detectors").iter().find(|one| one["account"] == row["account"]).unwrap();
    let (region, account) = (text_of(row, "region"), text_of(row, "account"));
    format!("arn:aws:guardduty:{region}:{account}:detector/{}/finding/{}", text_of(detector, "id"), text_of(row, "id"))
}

#[test]
fn backups_copies_restores_and_patches_are_as_they_ended() {
    let id = |row: &Value| text_of(row, "id");
    assert_records("aws/backup-jobs", "backup_job", "backup_jobs", id, &[("state", "state"), ("resource", "resource")]);
    assert_no_more("aws/backup-jobs", "backup_job", "backup_jobs");
    let failed = seeded_ids("backup_jobs", id, |row| row["state"] == "FAILED" || row["state"] == "PARTIAL");
    assert_fails("aws/backup-jobs", "backup-succeeded", &failed);
    assert_records("aws/backup-copy-jobs", "copy_job", "copy_jobs", id, &[("state", "state")]);
    assert_records(
        "aws/restore-jobs",
        "restore_job",
        "restore_jobs",
        id,
        &[("status", "status"), ("validation", "validation")],
    );
    assert_records("aws/recovery-points", "recovery_point", "recovery_points", arn, &[("encrypted", "encrypted")]);
    assert_fails(
        "aws/recovery-points",
        "recovery-point-encrypted",
        &seeded_ids("recovery_points", arn, |row| row["encrypted"] == false),
    );
    assert_records("aws/backup-vaults", "backup_vault", "vaults", arn, &[("locked", "locked")]);
    assert_records("aws/backup-plans", "backup_plan", "plans", arn, &[("name", "name")]);
    assert_records("aws/dynamodb-backups", "dynamodb_table", "tables", arn, &[("pitr", "point_in_time")]);
    assert_records("aws/rds-backups", "rds_database", "databases", arn, &[("retention_days", "backup_days")]);
    let machine = |row: &Value| {
        format!("arn:aws:ec2:{}:{}:instance/{}", text_of(row, "region"), text_of(row, "account"), text_of(row, "id"))
    };
    assert_records("aws/ssm-patches", "host", "patch_states", machine, &[("missing", "missing")]);
    assert_records("aws/ssm-patches", "host", "instances", machine, &[]);
    let unmanaged: BTreeSet<String> =
        &seeded_ids("instances", machine, |_| true) - &seeded_ids("patch_states", machine, |_| true);
    assert_fails("aws/ssm-patches", "host-managed", &unmanaged);
}

#[test]
fn resources_without_backup_are_found_by_joining_what_there_is_with_what_is_protected() {
    let bundle = shared().collected.of("aws/backup-coverage");
    let protected = seeded_ids("protected", arn, |_| true);
    let found: BTreeSet<String> = bundle
        .records("data_store")
        .iter()
        .filter(|record| record["protected"] == true)
        .map(|record| record["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(found, protected);
    for kind in ["databases", "clusters", "tables", "file_systems"] {
        assert_records("aws/backup-coverage", "data_store", kind, arn, &[]);
    }
}

/// The coordinates of a cell, `account/region`.
fn cell(cell: &Value) -> String {
    let part = |name: &str| cell[name].as_str().unwrap_or_default().to_owned();
    format!("{}/{}", part("account"), part("region"))
}

fn scope(bundle: &Bundle) -> Value {
    let found = bundle.exchanges.iter().find(|exchange| exchange["operation"] == "scope").expect("a run has a scope");
    serde_json::from_slice(&bundle.files[found["body"].as_str().unwrap()]).unwrap()
}

#[test]
fn every_account_and_region_is_expected_beforehand_and_asked() {
    let shared = shared();
    let expected: BTreeSet<String> = shared
        .seeded
        .accounts()
        .iter()
        .flat_map(|account| shared.seeded.regions().into_iter().map(move |region| format!("{account}/{region}")))
        .collect();
    for (collector, bundle) in &shared.collected.bundles {
        let scope = scope(bundle);
        // A run finds out the kinds of cells that its collector asks in, and of those every cell.
        let kinds = scope["cells"].as_object().unwrap();
        assert!(!kinds.is_empty(), "{collector}");
        for (kind, cells) in kinds {
            let named: BTreeSet<String> =
                cells.as_array().unwrap().iter().map(|expected| cell(&expected["cell"])).collect();
            let wanted: BTreeSet<String> = match kind.as_str() {
                "accounts x regions" => expected.clone(),
                "accounts" => shared.seeded.accounts().iter().map(|account| format!("{account}/")).collect(),
                "source" => named.iter().take(1).cloned().collect(),
                other => panic!("{collector}: cells of the kind {other}"),
            };
            assert!(!named.is_empty(), "{collector}, {kind}");
            assert_eq!(named, wanted, "{collector}, {kind}");
        }
        let asked: BTreeSet<String> =
            bundle.exchanges.iter().map(|exchange| cell(&exchange["request"]["cell"])).collect();
        let missing: Vec<&String> = expected
            .iter()
            .filter(|place| {
                !asked.contains(*place) && !asked.contains(&format!("{}/", place.split('/').next().unwrap()))
            })
            .collect();
        assert!(missing.is_empty() || collector == "aws/organizations", "{collector} did not ask in {missing:?}");
    }
}

#[test]
fn each_exchange_says_who_asked_what_when_and_how_the_list_ended() {
    let shared = shared();
    for (collector, bundle) in &shared.collected.bundles {
        // `scope` and `window` are the agent's own word.
        let asked = bundle.exchanges.iter().filter(|exchange| exchange["operation"].as_str().unwrap().contains('.'));
        for exchange in asked {
            let of =
                |name: &str| exchange[name].as_str().unwrap_or_else(|| panic!("{collector}: no {name} in {exchange}"));
            assert!(of("caller").starts_with("arn:aws:"), "{collector}: {exchange}");
            let instant = |name| of(name).trim_end_matches('Z').to_owned();
            assert!(instant("started_at") <= instant("ended_at"), "{collector}: {exchange}");
            assert!(!of("request_id").is_empty(), "{collector}: {exchange}");
            assert_eq!(exchange["request"]["call"], exchange["operation"], "{collector}");
            if of("answer") == "ok" && exchange["status"] == 200 {
                let body = &bundle.files[of("body")];
                assert_eq!(exchange["bytes"].as_u64(), Some(body.len() as u64), "{collector}: {exchange}");
            }
        }
        let readers = bundle.exchanges.iter().filter(|exchange| exchange["request"]["cell"]["region"].is_string());
        for exchange in readers {
            let account = exchange["request"]["cell"]["account"].as_str().unwrap();
            let caller = exchange["caller"].as_str().unwrap();
            let reader = format!("arn:aws:sts::{account}:assumed-role/{}/", shared.seeded.text("/collector/role"));
            assert!(caller.starts_with(&reader), "{collector}: {caller} asked in {account}");
        }
    }
}

#[test]
fn every_call_of_the_log_is_in_the_evidence_as_often_as_it_was_made() {
    let shared = shared();
    let mut made: BTreeMap<String, usize> = BTreeMap::new();
    for call in &shared.calls {
        let name = call["call"].as_str().unwrap_or_else(|| panic!("what call is {call}?"));
        if !name.starts_with("sts.") {
            *made.entry(name.to_owned()).or_default() += 1;
        }
    }
    let mut kept: BTreeMap<String, usize> = BTreeMap::new();
    for exchange in shared.collected.bundles.values().flat_map(|bundle| &bundle.exchanges) {
        let name = exchange["operation"].as_str().unwrap();
        if name.contains('.') && !name.starts_with("sts.") {
            let tried = exchange["tried"].as_array().map_or(0, Vec::len);
            *kept.entry(name.to_owned()).or_default() += 1 + tried;
        }
    }
    // What a session found out once for several jobs is in the evidence of each.
    for (call, times) in &made {
        assert!(
            kept.get(call).is_some_and(|kept| kept >= times),
            "{call}: asked {times} times, kept {:?}",
            kept.get(call)
        );
    }
}

#[test]
fn nothing_is_asked_but_reads() {
    for call in &shared().calls {
        let name = call["call"].as_str().unwrap();
        let operation = name.split('.').nth(1).unwrap();
        let reads = [
            "List",
            "Describe",
            "Get",
            "BatchGet",
            "AssumeRole",
            "GenerateCredentialReport",
            "GenerateServiceLastAccessedDetails",
            "Lookup",
        ];
        assert!(reads.iter().any(|verb| operation.starts_with(verb)), "{name} was called");
        let contents = [
            "s3.GetObject",
            "dynamodb.GetItem",
            "secretsmanager.GetSecretValue",
            "ssm.GetParameter",
            "lambda.GetFunction",
            "ec2.DescribeInstanceAttribute",
        ];
        assert!(!contents.contains(&name), "{name} was called");
    }
}

#[test]
fn no_planted_secret_is_anywhere_in_the_archive_or_in_what_was_printed() {
    let shared = shared();
    let secrets = shared.seeded.secrets();
    assert!(secrets.len() > 10, "{secrets:?}");
    let mut looked = 0;
    let mut look = |place: &str, content: &[u8]| {
        let content = text(content);
        looked += content.len();
        for secret in &secrets {
            assert!(!content.contains(secret.as_str()), "{secret} is in {place}");
        }
    };
    for (collector, bundle) in &shared.collected.bundles {
        for (name, content) in &bundle.files {
            look(&format!("{collector} {name}"), content);
        }
    }
    for path in files(shared.estate.path()) {
        let keys = path.components().any(|part| part.as_os_str() == "keys");
        if !keys && path.extension().is_none_or(|e| e != "zip") {
            look(&path.display().to_string(), &std::fs::read(&path).unwrap());
        }
    }
    look("the output", shared.collected.said.as_bytes());
    assert!(looked > 100_000, "{looked}");
    for secret in ["secret_key", "access_key"] {
        let own = shared.seeded.text(&format!("/collector/{secret}"));
        assert!(!shared.collected.said.contains(own), "its own {secret} was printed");
    }
    assert!(!shared.world.log().contains("Traceback"), "{}", shared.world.log());
}
