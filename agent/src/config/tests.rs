//! What is read, and the very words of what is refused.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{ffi::OsString, path::PathBuf};

use serde_json::json;
use tempfile::TempDir;

use super::{problems::refused_key, *};

fn environment(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    variables.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// The file is named `c.yaml` in messages; its directory is cut off.
fn load_with(yaml: &str, variables: &[(&str, &str)]) -> Result<Loaded, String> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("c.yaml");
    fs::write(&path, yaml).unwrap();
    Config::load(Some(&path), environment(variables))
        .map_err(|error| error.to_string().replace(&format!("{}/", dir.path().display()), ""))
}

fn load(yaml: &str) -> Result<Loaded, String> {
    load_with(yaml, &[])
}

/// The mistakes, without the first line.
fn refused(yaml: &str) -> Vec<String> {
    lines(&load(yaml).unwrap_err())
}

fn lines(error: &str) -> Vec<String> {
    let (head, rest) = error.split_once('\n').unwrap();
    assert_eq!(head, "the configuration is refused");
    rest.lines().map(|line| line.trim_start().to_owned()).collect()
}

#[test]
fn nothing_written_is_this_host_into_evidence() {
    let dir = TempDir::new().unwrap();
    let missing = Config::load(Some(&dir.path().join("none.yaml")), []).unwrap_err().to_string();
    assert!(missing.contains("none.yaml: the configuration cannot be read: No such file"), "{missing}");
    for yaml in ["", "# nothing\n", "---\n"] {
        assert_eq!(load(yaml).unwrap().config, Config::default(), "{yaml:?}");
    }
    let config = Config::default();
    assert_eq!(config.archive.directory, Some(PathBuf::from("./evidence")));
    assert_eq!(config.signing.receipts.file, Some(PathBuf::from("./evidence.keys/receipts.pem")));
    assert_eq!((config.sources.len(), config.sources[0].name.as_str()), (1, "this"));
}

#[test]
fn an_archive_is_in_one_place_and_the_other_is_not_assumed() {
    let loaded = load("archive: {s3: {bucket: acme-evidence, prefix: prod, object_lock: {retention: 30d}}}").unwrap();
    let archive = &loaded.config.archive;
    assert_eq!((archive.directory.as_deref(), archive.address().as_str()), (None, "s3://acme-evidence/prod"));
    assert_eq!(archive.retention_days(), Some(30));
    // What `evidenced config` prints is read again as the same.
    assert_eq!(load(&loaded.effective()).unwrap().config, loaded.config);

    let both = load("archive:\n  directory: /srv/evidence\n  s3: {bucket: acme-evidence}\n").unwrap();
    let refused = both.validate(&both.config.open_sources()).unwrap_err().to_string();
    assert!(refused.contains("c.yaml:3: archive.s3: `archive.directory` is written too"), "{refused}");
    let loose = load("archive: {s3: {bucket: acme-evidence, object_lock: {mode: compliance}}}").unwrap();
    let refused = loose.validate(&loose.config.open_sources()).unwrap_err().to_string();
    assert!(refused.contains("archive.s3.object_lock: compliance mode cannot be undone"), "{refused}");
}

#[test]
fn everything_written_is_read() {
    let loaded = load(
        r#"
origin: evidence.acme.example/prod   # names the log
period: {from: 2026-07-01, to: 2027-06-30}
state_dir: /var/lib/evidenced
archive: {directory: /srv/evidence}
signing:
  receipts: {file: /run/secrets/receipts.pem}
  checkpoints: {file: /run/secrets/checkpoint.pem}
  keys: /etc/evidenced/keys.json
sources:
  - name: db
    host:
      root: /host
      restic: [{name: nightly, repository: "sftp:backup:/db", password_file: /run/secrets/restic}]
jobs:
  - {collector: host/accounts, schedule: "15 */4 * * *", zone: Europe/Berlin, attempts: 2, deadline: 90s}
  - {collector: host/mfa, source: db, enabled: false, reason: no people log in}
schedule: {zone: UTC, start_within: 20m, grace: 1m, spread: 30s, settle: 5m, attempts: 5}
parallel_jobs: 2
append_every: 10s
stop_within: 1m
max_spool_bytes: 10000000000
controls:
  parameters: {rpo_hours: 24, names: [a, b], ratio: 0.5, deep: {no: no}}
log: {format: json, level: debug}
"#,
    )
    .unwrap();
    let config = &loaded.config;
    assert_eq!(config.period.unwrap().to.to_string(), "2027-06-30");
    assert_eq!(config.sources[0].host.as_ref().unwrap().restic[0].name, "nightly");
    assert_eq!(config.max_spool_bytes, Some(10_000_000_000));
    assert_eq!(config.parameters(), json!({"deep": {"no": "no"}, "names": ["a", "b"], "ratio": 0.5, "rpo_hours": 24}));
    assert_eq!((config.log.format, config.log.level.as_str()), (LogFormat::Json, "debug"));
    assert!(loaded.places["jobs[0].schedule"].ends_with("c.yaml:16"));

    let wish = |collector, source| config.wish(collector, source, "@daily", std::time::Duration::from_secs(600));
    let Wish::Run(accounts) = wish("host/accounts", "db") else { panic!() };
    assert_eq!(
        (accounts.schedule.as_str(), accounts.zone.as_str(), accounts.attempts),
        ("15 */4 * * *", "Europe/Berlin", 2)
    );
    assert_eq!(
        (accounts.deadline.as_secs(), accounts.start_within.as_secs(), accounts.spread.as_secs()),
        (90, 1200, 30)
    );
    assert_eq!(wish("host/mfa", "db"), Wish::Off("no people log in".into()));
    let Wish::Run(other) = wish("host/mfa", "other") else { panic!() };
    assert_eq!((other.schedule.as_str(), other.zone.as_str(), other.attempts), ("@daily", "UTC", 5));
    assert_eq!(other.deadline.as_secs(), 600);
}

#[test]
fn what_is_written_for_a_source_goes_before_what_is_written_for_all() {
    let config = load(
        "jobs:\n- {collector: host/a, deadline: 1m, attempts: 2}\n- {collector: host/a, source: x, deadline: 2m}\n\
         - {collector: host/b, enabled: false, reason: r}\n- {collector: host/b, source: x}\n",
    )
    .unwrap()
    .config;
    let wish = |collector, source| config.wish(collector, source, "@daily", std::time::Duration::from_secs(1));
    let Wish::Run(x) = wish("host/a", "x") else { panic!() };
    assert_eq!((x.deadline.as_secs(), x.attempts), (120, 2));
    assert!(matches!(wish("host/b", "x"), Wish::Run(_)));
    assert_eq!(wish("host/b", "y"), Wish::Off("r".into()));
}

#[test]
fn values_mean_what_yaml_says_and_are_never_coerced() {
    assert_eq!(
        refused(
            "parallel_jobs: '1'\nstate_dir: 5\njobs:\n  - collector: host/a\n    enabled: no\n    attempts: 1.0\n\
             \x20 - {collector: host/b, enabled: 'true', reason: yes}\nappend_every: 60\nmax_spool_bytes: -1\nlog: {format: xml}\n\
             archive: ./here\nsources: {}\nperiod: {from: 2026-02-30, to: 2026-03-01}\nschedule: null\n"
        ),
        [
            "c.yaml:1: parallel_jobs: expected a whole number, found the text \"1\"; write it without quotes",
            "c.yaml:2: state_dir: expected text, found 5; put it in quotes",
            "c.yaml:5: jobs[0].enabled: expected true or false, found the text \"no\"; YAML 1.2 takes it for text: write false",
            "c.yaml:6: jobs[0].attempts: expected a whole number, found 1.0",
            "c.yaml:7: jobs[1].enabled: expected true or false, found the text \"true\"; write it without quotes",
            "c.yaml:8: append_every: expected a length of time with its unit, such as `30s`, `10m`, `36h` or `7d`, found 60",
            "c.yaml:9: max_spool_bytes: expected a whole number that is not negative, found -1",
            "c.yaml:10: log.format: \"xml\" is none of text, json",
            "c.yaml:11: archive: expected a mapping of keys to values, found the text \"./here\"",
            "c.yaml:12: sources: expected a list, found a mapping",
            "c.yaml:13: period.from: \"2026-02-30\" is no day: write it as `2026-07-01`",
            "c.yaml:14: schedule: expected a mapping of keys to values, found nothing",
        ]
    );
    assert_eq!(
        load("controls: {parameters: {a: yes, b: 'no', c: 0o17, d: 1_000, e: ~}}").unwrap().config.parameters(),
        { json!({"a": "yes", "b": "no", "c": 15, "d": "1_000", "e": null}) }
    );
}

#[test]
fn unknown_keys_are_refused_with_the_one_that_is_meant() {
    assert_eq!(
        refused(
            "orgin: a\narchive:\n  s3: {buket: b}\n  directry: x\njobs:\n- colector: host/a\n  collector: host/a\n- schedule: '@daily'\n\
             sources:\n- name: this\n  host:\n    rooot: /\n    restic:\n    - {name: n, repository: r, password: hunter2}\n\
             whatever.this: 1\nsigning: {receipts: {kmz: alias/x}}\n"
        ),
        [
            "c.yaml:1: orgin: unknown key; did you mean `origin`?",
            "c.yaml:3: archive.s3.buket: unknown key; did you mean `bucket`?",
            "c.yaml:3: archive.s3: the key `bucket` is missing",
            "c.yaml:4: archive.directry: unknown key; did you mean `directory`?",
            "c.yaml:6: jobs[0].colector: unknown key; did you mean `collector`?",
            "c.yaml:8: jobs[1]: the key `collector` is missing",
            "c.yaml:12: sources[0].host.rooot: unknown key; did you mean `root`?",
            "c.yaml:14: sources[0].host.restic[0].password: secrets are not written into the configuration; put it into a file of mode 0600 \
             and name the file (`password_file`)",
            "c.yaml:14: sources[0].host.restic[0]: the key `password_file` is missing",
            "c.yaml:15: whatever.this: unknown key; what is inside is written inside, indented",
            "c.yaml:16: signing.receipts.kmz: unknown key; did you mean `kms`?",
        ]
    );
}

#[test]
fn doubled_keys_and_broken_yaml_are_refused_with_their_line() {
    assert_eq!(
        refused("origin: a\nlog: {}\norigin: b\n"),
        ["c.yaml:3: not YAML as it is read here: duplicate mapping key: origin"]
    );
    assert_eq!(refused("origin: a\njobs: [\n").len(), 1);
    assert_eq!(
        refused("origin: a\n\tlog: {}\n"),
        ["c.yaml:1: not YAML as it is read here: while scanning a plain scalar, found a tab"]
    );
    assert_eq!(
        refused("a: &x {b: 1}\nlog: {<<: *x}\n"),
        ["c.yaml:2: not YAML as it is read here: YAML merge keys are not allowed"]
    );
    assert!(refused("--- {}\n--- {}\n")[0].contains("not YAML as it is read here: "));
    assert_eq!(refused("- a\n"), ["c.yaml:1: the file must be a mapping of keys to values"]);
}

#[test]
fn variables_go_over_the_file_and_are_named_in_mistakes() {
    let loaded = load_with(
        "archive: {directory: /file}\nstate_dir: /file\nlog: {level: warn, format: json}\n",
        &[
            ("EVIDENCED_ARCHIVE__DIRECTORY", "/variable"),
            ("EVIDENCED_LOG__LEVEL", "error"),
            ("EVIDENCED_PARALLEL_JOBS", "7"),
            ("EVIDENCED_JOBS", "[{collector: host/a, enabled: false, reason: here}]"),
            ("EVIDENCED_CONTROLS__PARAMETERS__RPO_HOURS", "12"),
            ("EVIDENCED_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("EVIDENCED_SERVICE_HOST", "10.0.0.1"),
            ("UNRELATED", "x"),
        ],
    )
    .unwrap();
    let config = &loaded.config;
    assert_eq!(config.archive.directory, Some(PathBuf::from("/variable")));
    assert_eq!((config.state_dir.as_path(), config.parallel_jobs), (Path::new("/file"), 7));
    assert_eq!((config.log.level, config.log.format), (LogLevel::Error, LogFormat::Json));
    assert_eq!((config.jobs.len(), config.parameters()), (1, json!({"rpo_hours": 12})));
    assert_eq!(loaded.places["archive.directory"], "EVIDENCED_ARCHIVE__DIRECTORY");

    let error = load_with(
        "",
        &[
            ("EVIDENCED_PARALLEL_JOBS", "'7'"),
            ("EVIDENCED_STATEDIR", "x"),
            ("EVIDENCED_LOG__LEVEL", "["),
            ("EVIDENCED_ORIGIN", "no"),
        ],
    )
    .unwrap_err();
    let lines = lines(&error);
    assert_eq!(lines.len(), 3, "{error}");
    assert!(lines[0].starts_with("EVIDENCED_LOG__LEVEL: log.level: not YAML as it is read here: "), "{error}");
    assert_eq!(
        lines[1],
        "EVIDENCED_PARALLEL_JOBS: parallel_jobs: expected a whole number, found the text \"7\"; write it without quotes"
    );
    assert_eq!(lines[2], "EVIDENCED_STATEDIR: statedir: unknown key; did you mean `state_dir`?");
}

#[test]
fn the_variable_names_the_file_unless_the_command_line_does() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("other.yaml");
    fs::write(&path, "parallel_jobs: 9\n").unwrap();
    let loaded = Config::load(None, environment(&[("EVIDENCED_CONFIG", path.to_str().unwrap())])).unwrap();
    assert_eq!((loaded.config.parallel_jobs, loaded.file), (9, Some(path)));
}

#[test]
fn the_effective_configuration_can_be_read_again_and_says_where_values_come_from() {
    let loaded = load_with(
        "origin: 'no'\nsources:\n- {name: db, host: {root: /host, restic: [{name: '7', repository: 'a: b', password_file: /p, \
         env: {AWS_ACCESS_KEY_ID: x}}]}}\nappend_every: 90s\ncontrols: {parameters: {list: [1, two, 'null'], none: {}, tokens: 4}}\n",
        &[("EVIDENCED_LOG__FORMAT", "json")],
    )
    .unwrap();
    let text = loaded.effective();
    for line in [
        "origin: \"no\"  # ",
        "append_every: 1m30s  # ",
        "state_dir: ./evidence.state  # default",
        "  format: json  # EVIDENCED_LOG__FORMAT",
        "  - name: db  # ",
        "        - name: \"7\"  # ",
        "          repository: \"a: b\"  # ",
        "          password_file: /p  # ",
        "    tokens: \"(hidden)\"  # ",
        "jobs: []  # default",
    ] {
        assert!(text.lines().any(|written| written.starts_with(line)), "{line}\n{text}");
    }
    let again = load(&text.replace("\"(hidden)\"", "4")).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(again.config, loaded.config);
    let defaults = load("").unwrap();
    assert_eq!(load(&defaults.effective()).unwrap().config, Config::default());
}

#[test]
fn what_may_be_secret_is_never_repeated() {
    let restic = |env: &str| {
        format!(
            "sources: [{{name: x, host: {{restic: [{{name: a, repository: 'rest:https://u:hunter2@h/r', password_file: /p, env: {env}}}]}}}}]"
        )
    };
    let shown =
        load(&restic("{AWS_SECRET_ACCESS_KEY: hunter2, B2_ACCOUNT_KEY: hunter2, B2_ACCOUNT_ID: seen}")).unwrap();
    let text = shown.effective();
    assert!(!text.contains("hunter2"), "{text}");
    assert!(text.contains("rest:https://u:(hidden)@h/r") && text.contains("B2_ACCOUNT_ID: seen"), "{text}");
    let error = load(&restic("{RESTIC_PASSWORD: 31337}")).unwrap_err();
    assert!(error.ends_with("env.RESTIC_PASSWORD: expected text, found another value (not shown)"), "{error}");
    assert!(!load("token: hunter2\nlog: {password: hunter2}").unwrap_err().contains("hunter2"));
}

fn invalid(yaml: &str) -> Vec<String> {
    let loaded = load(yaml).unwrap();
    let error = loaded.validate(&loaded.config.open_sources()).unwrap_err().to_string();
    let lines = lines(&error);
    // The end of the schedule's own messages is tested where they are made.
    let cut = |line: &str| line.split(": perhaps").next().unwrap().to_owned();
    lines.iter().map(|line| cut(&line[line.find("c.yaml").unwrap_or(0)..])).collect()
}

#[test]
fn a_state_dir_inside_the_archive_is_refused_since_auditors_are_given_the_archive() {
    assert_eq!(
        invalid("archive: {directory: /srv/e}\nstate_dir: /srv/e/state\n"),
        [
            "c.yaml:2: state_dir: state_dir lies in the archive, which auditors are given: name a directory outside of it"
        ]
    );
}

#[test]
fn a_variable_with_one_underscore_for_two_is_told_its_name() {
    let said = refused_key("archive_directory", &["archive", "state_dir"]);
    assert!(said.contains("EVIDENCED_ARCHIVE__DIRECTORY"), "{said}");
    assert_eq!(refused_key("state_dirr", &["archive", "state_dir"]), "unknown key; did you mean `state_dir`?");
}

#[test]
fn what_types_do_not_refuse_is_refused_at_its_key() {
    assert_eq!(
        invalid(
            "origin: 'a b'\nperiod: {from: 2026-02-01, to: 2026-01-01}\nstate_dir: ./evidence\nparallel_jobs: 0\nappend_every: 10ms\n\
             max_spool_bytes: 5\nsources:\n- {name: a@b, host: {}}\n- {name: x, host: {root: host}}\n- {name: x}\n\
             schedule: {zone: Mars/Base, attempts: 0, grace: 1500ms, spread: 1h}\n\
             signing: {checkpoints: {file: ./evidence.keys/receipts.pem}}\n"
        ),
        [
            "c.yaml:1: origin: \"a b\" is no name for a log: write a host name and a path, such as `evidence.acme.example/prod`",
            "c.yaml:2: period.to: the period ends before it begins",
            "c.yaml:3: state_dir: state_dir and the archive are two directories: name another one",
            "c.yaml:4: parallel_jobs: 0 is not from 1 to 64",
            "c.yaml:5: append_every: 10ms is not from 1s to 1h",
            "c.yaml:6: max_spool_bytes: a bundle needs room: at least 1048576 (1 MiB)",
            "c.yaml:8: sources[0].name: \"a@b\" is no name: letters, digits, `-`, `_` and `.`, at most 40",
            "c.yaml:9: sources[1].host.root: must be an absolute path",
            "c.yaml:10: sources[2].name: there is another source named \"x\"",
            "c.yaml:10: sources[2]: a source needs its kind: write `host: {}` or `aws: {}`",
            "c.yaml:11: schedule.zone: \"Mars/Base\" is not a time zone of the IANA database",
            "c.yaml:11: schedule.attempts: a run has from 1 to 20 attempts",
            "c.yaml:11: schedule.grace: 1s500ms is not whole seconds, which the plan states",
            "c.yaml:11: schedule.spread: longer than start_within: runs would be missed before they start",
            "c.yaml:12: signing.checkpoints: receipts and checkpoints are signed with two keys: name another one",
        ]
    );
}

#[test]
fn a_key_is_in_one_place_and_what_names_it_is_checked() {
    let written = "signing:\n  receipts: {kms: alias/receipts}\n  checkpoints:\n    pkcs11: {module: /lib/hsm.so, token_label: t, \
                   label: k, pin_file: /run/pin}\n";
    let loaded = load(written).unwrap();
    let key = loaded.config.signing.receipts.kms.clone().unwrap();
    assert_eq!((key.key.as_str(), key.region), ("alias/receipts", None));
    assert_eq!(loaded.config.signing.receipts.file, None);
    // What `evidenced config` prints is read again as the same, the token's label with it.
    assert_eq!(load(&loaded.effective()).unwrap().config, loaded.config);
    assert_eq!(
        invalid(
            "signing:\n  receipts: {kms: {key: 'a b', region: Ireland, external_id: x1}, file: k.pem}\n  checkpoints:\n    pkcs11: \
             {module: /m.so, slot: 1, token_label: t, pin_file: p}\n  earlier: [{}]\n"
        ),
        [
            "c.yaml:2: signing.receipts: a key is in one place: write one of `file`, `kms` and `pkcs11`",
            "c.yaml:2: signing.receipts.kms.key: is no key: write its ARN, its id or `alias/…`",
            "c.yaml:2: signing.receipts.kms.region: \"Ireland\" is no region: write it as `eu-west-1`",
            "c.yaml:2: signing.receipts.kms.external_id: is for assuming a `role`, and there is none",
            "c.yaml:4: signing.checkpoints.pkcs11.label: write the key's `label` or its `id`",
            "c.yaml:4: signing.checkpoints.pkcs11.slot: is written beside `token_label`: name the token by one of them",
            "c.yaml:5: signing.earlier[0]: a key is in one place: write one of `file`, `kms` and `pkcs11`",
        ]
    );
    let wrong = load("signing: {receipts: {kms: {alias: x}}}").unwrap_err();
    assert!(wrong.contains("c.yaml:1: signing.receipts.kms.alias: unknown key"), "{wrong}");
}

#[test]
fn an_aws_source_is_refused_at_its_keys() {
    let said = lines(&load("sources: [{name: a, aws: {accounts: [012345678901]}}]").unwrap_err());
    assert!(said[0].starts_with("c.yaml:1: sources[0].aws.accounts[0]: "), "{said:?}");
    assert!(said[0].contains("12 digits"), "{said:?}");
    assert_eq!(
        invalid(
            "sources:\n- {name: a, aws: {accounts: [111122223333, '012345678901']}}\n- {name: b, aws: {}, host: {}}\n"
        ),
        [
            "c.yaml:2: sources[0].aws.role: is missing: more than one account is read by a role in each, such as \
             `arn:aws:iam::{account}:role/evidenced-read`",
            "c.yaml:3: sources[1]: a source is of one kind: write two, each with its name",
        ]
    );
    let loaded = load("sources: [{name: a, aws: {accounts: [111122223333], regions: [eu-west-1]}}]").unwrap();
    assert_eq!(loaded.validate(&loaded.config.open_sources()).unwrap(), Vec::<String>::new());
    let again = load(&loaded.effective()).unwrap();
    assert_eq!(again.config, loaded.config);
}

#[test]
fn jobs_that_cannot_run_as_written_are_refused() {
    let lines = invalid(
        "jobs:\n- {collector: host/nothing}\n- {collector: host/accounts, source: other}\n\
         - {collector: host/accounts, schedule: '61 * * * *'}\n- {collector: host/accounts, enabled: false}\n\
         - {collector: host/accounts, source: this, zone: Nowhere, deadline: 0s, attempts: 50, spread: 2h}\n",
    );
    for (at, begins) in [
        (0, "c.yaml:2: jobs[0].collector: no source has a collector \"host/nothing\"; there are: "),
        (1, "c.yaml:3: jobs[1].source: there is no source \"other\"; there are: this"),
        (2, "c.yaml:4: jobs[2].schedule: "),
        (3, "c.yaml:5: jobs[3].collector: another entry before it is for the same collector and source: write one"),
        (4, "c.yaml:5: jobs[3].enabled: a job that is switched off needs a `reason`: auditors read it"),
        (5, "c.yaml:6: jobs[4].zone: "),
        (6, "c.yaml:6: jobs[4].attempts: a run has from 1 to 20 attempts"),
        (7, "c.yaml:6: jobs[4].deadline: 0s is too short: at least 1s"),
        (8, "c.yaml:6: jobs[4].spread: longer than start_within"),
    ] {
        assert!(lines[at].starts_with(begins), "{}\n{begins}", lines[at]);
    }
    assert_eq!(lines.len(), 9, "{lines:#?}");
}

#[test]
fn the_defaults_are_valid() {
    let loaded = load("").unwrap();
    assert_eq!(loaded.validate(&loaded.config.open_sources()).unwrap(), Vec::<String>::new());
    let loaded = load("controls: {parameters: {nobody_asks: 1}}").unwrap();
    let notes = loaded.validate(&loaded.config.open_sources()).unwrap();
    assert_eq!(notes, ["controls.parameters.nobody_asks: no check of these sources looks at it"]);
}

proptest::proptest! {
    /// Whatever is written: an answer, and every refusal has a place.
    #[test]
    fn no_text_is_too_much(parts in proptest::collection::vec(proptest::sample::select(vec![
        "origin", "archive", "directory", "jobs", "collector", "schedule", "period", "sources", "host", ":", ": ", "\n", "\n  ", "- ", "{",
        "}", "[", "]", ",", "'", "\"", "1", "no", "10m", "&a ", "*a", "!!int ", "|\n", "#", "? ", "\t", "\u{0}", "\u{1F980}", ".inf", "~", "<<",
    ]), 0..24)) {
        let text = parts.concat();
        if let Err(error) = load(&text) {
            for line in lines(&error) {
                proptest::prop_assert!(line.starts_with("c.yaml:"), "{text:?}: {line}");
            }
        }
    }
}

#[test]
fn a_key_with_a_line_feed_in_it_is_refused_on_one_line() {
    assert!(refused("? origin|\n\n  origin")[0].starts_with("c.yaml:1: origin|\\norigin: unknown key"));
}

#[test]
fn an_authority_is_an_address_or_a_mapping_and_nobody_is_asked_who_is_not_named() {
    assert!(load("").unwrap().config.signing.timestamps.authorities.is_empty());
    let loaded = load(
        "signing:\n  timestamps:\n    authorities:\n    - http://tsa.example/tsr\n    - {url: 'https://other.example', every: 1m, ca: /etc/ca.pem}\n    \
         anchor_every: 1h\n    in_seals: true\n",
    )
    .unwrap();
    let timestamps = &loaded.config.signing.timestamps;
    assert_eq!(timestamps.authorities[0], AuthorityConfig::at("http://tsa.example/tsr"));
    assert_eq!(timestamps.authorities[1].every, "1m".parse().unwrap());
    assert_eq!(timestamps.authorities[1].ca, Some(PathBuf::from("/etc/ca.pem")));
    assert!(timestamps.in_seals);
    loaded.validate(&loaded.config.open_sources()).unwrap();
    assert_eq!(load(&loaded.effective()).unwrap().config, loaded.config);

    assert_eq!(
        refused(
            "signing:\n  timestamps:\n    authorities:\n    - {every: 1m}\n    - 7\n    - {url: 'http://a', cert: x}\n"
        ),
        [
            "c.yaml:4: signing.timestamps.authorities[0]: the key `url` is missing",
            "c.yaml:5: signing.timestamps.authorities[1]: expected an address, or a mapping with `url`, found 7",
            "c.yaml:6: signing.timestamps.authorities[2].cert: unknown key; known are url, every, ca",
        ]
    );
}

#[test]
fn authorities_that_cannot_be_asked_are_refused_with_their_lines() {
    let loaded = load(
        "signing:\n  timestamps:\n    anchor_every: 2d\n    authorities:\n    - ftp://a.example\n    - http://\n    - http://u:hunter2@a.example\n    \
         - http://a.example\n    - http://a.example\n    - {url: 'http://b.example', every: 0s, ca: ''}\n",
    )
    .unwrap();
    let file = loaded.file.clone().unwrap();
    let refused = loaded.validate(&loaded.config.open_sources()).unwrap_err().to_string();
    let refused = lines(&refused.replace(&file.display().to_string(), "c.yaml"));
    assert!(!refused.join("\n").contains("hunter2"), "{refused:#?}");
    let at = "signing.timestamps.authorities";
    let expected = [
        "c.yaml:3: signing.timestamps.anchor_every: 2d is not from 1s to 1d".to_owned(),
        format!("c.yaml:5: {at}[0].url: write an address that begins with http:// or https://"),
        format!("c.yaml:6: {at}[1].url: \"http://\" is no address"),
        format!(
            "c.yaml:7: {at}[2].url: the address holds a user or a password: no secret is written here, and timestamps need none"
        ),
        format!("c.yaml:9: {at}[4].url: the same authority is named before: write it once"),
        format!("c.yaml:10: {at}[5].every: 0s is not from 1s to 1d"),
        format!("c.yaml:10: {at}[5].ca: the path is empty"),
    ];
    assert_eq!(refused, expected);

    let nobody = load("signing: {timestamps: {in_seals: true}}").unwrap();
    let refused = nobody.validate(&nobody.config.open_sources()).unwrap_err().to_string();
    assert!(refused.contains("c.yaml:1: signing.timestamps.in_seals: there is nobody to ask"), "{refused}");
    let one = load("signing: {timestamps: {authorities: ['http://a.example']}}").unwrap();
    let notes = one.validate(&one.config.open_sources()).unwrap();
    assert!(notes.iter().any(|note| note.contains("of another operator")), "{notes:?}");
}
