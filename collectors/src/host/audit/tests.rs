//! What `host/audit-logging` derives, failure first.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::testing::{FakeEvidence, MemoryRecords};

fn run(evidence: &FakeEvidence) -> MemoryRecords {
    let mut out = MemoryRecords::default();
    Audit::new(Host::new("/", None)).derive(evidence, &mut out).unwrap();
    out
}

fn processes(names: &[&str]) -> FakeEvidence {
    let list: Vec<Process> =
        names.iter().zip(1..).map(|(name, pid)| Process { pid, name: (*name).into(), unit: None }).collect();
    let body = serde_json::to_vec(&list).unwrap();
    FakeEvidence::new().add("list-processes", json!({"path": "/proc"}), Answer::Ok, "", None, body)
}

/// As a Debian host with auditd answers.
fn debian(names: &[&str]) -> FakeEvidence {
    processes(names)
        .command(&STATUS, 0, include_str!("../fixtures/audit/auditctl-s.txt").replace("enabled 0", "enabled 1"))
        .command(&RULES, 0, "-w /etc/shadow -p wa -k identity\n-a always,exit -F arch=b64 -S execve\n")
        .file(AUDITD, include_str!("../fixtures/audit/auditd.conf"))
        .no_file(AU_REMOTE, Answer::Missing, "no such file")
        .file(JOURNALD[0], include_str!("../fixtures/audit/journald.conf"))
        .no_file(JOURNAL_UPLOAD, Answer::Missing, "no such file")
        .file(RSYSLOG, include_str!("../fixtures/audit/rsyslog.conf"))
        .directory(RSYSLOG_DROP_INS, &[])
        .directory(JOURNAL, &[])
        .no_directory(JOURNALD_DROP_INS[0], Answer::Missing, "no such file")
        .no_directory(JOURNALD_DROP_INS[1], Answer::Missing, "no such file")
        .no_directory(JOURNALD_DROP_INS[2], Answer::Missing, "no such file")
        .no_directory(JOURNALD_DROP_INS[3], Answer::Missing, "no such file")
}

const ALL: [&str; 4] = ["systemd", "auditd", "systemd-journal", "rsyslogd"];

#[test]
fn debians_three_services_are_told_apart() {
    let out = run(&debian(&ALL));
    let auditd = out.get("log_service", "auditd");
    assert_eq!((&auditd["running"], &auditd["enabled"], &auditd["rules"]), (&json!(true), &json!(1), &json!(2)));
    assert_eq!((&auditd["keeps_all"], &auditd["max_log_file_action"]), (&json!(false), &json!("ROTATE")));
    assert_eq!(out.get("log_service", "journald")["persistent"], json!(true));
    assert_eq!(out.get("log_service", "rsyslog")["persistent"], json!(true));
    let state = out.get("log_state", "host");
    assert_eq!(
        (&state["running_persistent"], &state["forwards_to"], &state["shippers"]),
        (&json!(true), &json!([]), &json!([]))
    );
    assert!(out.gaps.is_empty(), "{:?}", out.gaps);
}

#[test]
fn a_configured_daemon_that_does_not_run_is_not_logging() {
    let out = run(&debian(&["systemd"]));
    assert_eq!(out.get("log_state", "host")["running_persistent"], json!(false));
    assert_eq!(out.get("log_service", "auditd")["installed"], json!(true));
}

#[test]
fn a_list_without_process_one_leaves_running_unknown() {
    let other = r#"[{"pid": 4711, "name": "sh"}]"#;
    let evidence = debian(&ALL).add("list-processes", json!({"path": "/proc"}), Answer::Ok, "", None, other.into());
    let out = run(&evidence);
    assert!(out.of("log_service").iter().all(|row| row["running"].is_null()));
    assert!(out.get("log_state", "host")["running_persistent"].is_null());
    assert!(out.gaps.iter().any(|gap| gap.contains("process 1")));
}

#[test]
fn nothing_asked_or_understood_is_unknown_everywhere() {
    let nonsense = FakeEvidence::new()
        .add("list-processes", json!({"path": "/proc"}), Answer::Ok, "", None, b"\xff\x00".to_vec())
        .command(&STATUS, 0, "\u{1}")
        .command(&RULES, 0, "")
        .half_file(AUDITD, "log_file = /x\n")
        .no_file(RSYSLOG, Answer::Denied, "permission denied")
        .no_directory(JOURNAL, Answer::TimedOut, "no end");
    for evidence in [FakeEvidence::new(), nonsense] {
        let out = run(&evidence);
        for row in out.of("log_service") {
            for field in ["running", "persistent", "forwards_to", "enabled", "rules"] {
                assert!(row[field].is_null(), "{field} of {row}");
            }
        }
        let state = out.get("log_state", "host");
        assert!(state["running_persistent"].is_null() && state["forwards_to"].is_null() && state["shippers"].is_null());
        assert!(!out.gaps.is_empty());
    }
}

#[test]
fn a_refused_auditctl_leaves_rules_unknown_but_the_service_installed() {
    let evidence = processes(&ALL).command(&STATUS, 4, "").stderr("You must be root to run this program.\n");
    let auditd = run(&evidence).get("log_service", "auditd");
    assert!(auditd["enabled"].is_null() && auditd["rules"].is_null());
    assert_eq!(auditd["installed"], json!(true));
}

#[test]
fn no_program_no_configuration_and_no_process_prove_that_it_is_not_installed() {
    let evidence = processes(&["init"]).no_command(&STATUS, Answer::Missing, "no program auditctl").no_file(
        AUDITD,
        Answer::Missing,
        "no such file",
    );
    assert_eq!(run(&evidence).get("log_service", "auditd")["installed"], json!(false));
    let hidden = FakeEvidence::new().no_command(&STATUS, Answer::Missing, "no program auditctl").no_file(
        AUDITD,
        Answer::Missing,
        "no such file",
    );
    assert!(run(&hidden).get("log_service", "auditd")["installed"].is_null());
}

#[test]
fn no_rules_are_none() {
    let evidence = processes(&ALL).command(&RULES, 0, include_str!("../fixtures/audit/auditctl-l.txt"));
    assert_eq!(run(&evidence).get("log_service", "auditd")["rules"], json!(0));
}

#[test]
fn a_journal_drop_in_wins_and_an_unreadable_one_makes_it_unknown() {
    let volatile = debian(&ALL)
        .directory(JOURNALD_DROP_INS[3], &["50.conf"])
        .file("/etc/systemd/journald.conf.d/50.conf", "[Journal]\nStorage=volatile\nMaxRetentionSec=90day\n");
    let row = run(&volatile).get("log_service", "journald");
    assert_eq!((&row["persistent"], &row["days_at_most"]), (&json!(false), &json!(90.0)));
    let denied = debian(&ALL).directory(JOURNALD_DROP_INS[3], &["50.conf"]).no_file(
        "/etc/systemd/journald.conf.d/50.conf",
        Answer::Denied,
        "permission denied",
    );
    assert!(run(&denied).get("log_service", "journald")["persistent"].is_null());
}

#[test]
fn every_form_of_forwarding_is_found() {
    let config = "*.* @@logs.example:6514;RSYSLOG_SyslogProtocol23Format\nauth.* @10.0.0.1\n*.* :omrelp:relp.example:20514\n\
                  action(type=\"omfwd\"\n  target=\"siem.example\" protocol=\"tcp\"\n)\n#*.* @@commented.example\n";
    let lines: Vec<&str> = config.lines().map(str::trim).filter(|line| !line.starts_with('#')).collect();
    assert_eq!(
        rsyslog::targets(&lines),
        ["relp:relp.example:20514", "tcp:logs.example:6514", "tcp:siem.example", "udp:10.0.0.1"]
    );
    let evidence = debian(&ALL).directory(RSYSLOG_DROP_INS, &["x.conf"]).file("/etc/rsyslog.d/x.conf", config);
    assert_eq!(run(&evidence).get("log_state", "host")["forwards_to"].as_array().unwrap().len(), 4);
    let stopped = debian(&["systemd"]).directory(RSYSLOG_DROP_INS, &["x.conf"]).file("/etc/rsyslog.d/x.conf", config);
    assert_eq!(run(&stopped).get("log_state", "host")["forwards_to"], json!([]), "what does not run sends nothing");
}

#[test]
fn what_only_looks_like_forwarding_is_none() {
    for config in [
        "*.* @127.0.0.1\n*.* @@localhost:514\naction(type=\"omfwd\" target=\"::1\")\n",
        "template(name=\"json\" type=\"string\"\n string=\"%timestamp% @cee: %msg%\")\n",
        "$template cee,\"<%pri%> @cee:%msg%\" @x\n",
        "/* action(type=\"omfwd\" target=\"siem.example\")\n*.* @siem.example */\n",
        "mail.* /var/log/mail.log # once: *.* @siem.example\n",
    ] {
        let evidence = debian(&ALL).directory(RSYSLOG_DROP_INS, &["x.conf"]).file("/etc/rsyslog.d/x.conf", config);
        assert_eq!(run(&evidence).get("log_state", "host")["forwards_to"], json!([]), "{config}");
    }
}

#[test]
fn a_work_directory_is_no_log_that_is_kept() {
    for config in [
        "$WorkDirectory /var/spool/rsyslog\n",
        "module(load=\"builtin:omfile\" FileOwner=\"root\")\n",
        "*.* /var/run/x\n",
    ] {
        let evidence = debian(&ALL).file(RSYSLOG, config);
        assert_eq!(run(&evidence).get("log_service", "rsyslog")["persistent"], json!(false), "{config}");
    }
    let modern = debian(&ALL).file(RSYSLOG, "action(type=\"omfile\" file=\"/var/log/all\")\n");
    assert_eq!(run(&modern).get("log_service", "rsyslog")["persistent"], json!(true));
}

#[test]
fn forwarding_by_what_was_not_seen_running_is_unknown() {
    let config = "*.* @@logs.example\n";
    let evidence = debian(&ALL).directory(RSYSLOG_DROP_INS, &["x.conf"]).file("/etc/rsyslog.d/x.conf", config);
    let denied = json!({"path": "/proc"});
    let hidden = evidence.add("list-processes", denied, Answer::Denied, "permission denied", None, Vec::new());
    assert!(run(&hidden).get("log_state", "host")["forwards_to"].is_null());
    let upload = debian(&ALL).file(JOURNAL_UPLOAD, "[Upload]\nURL=https://logs.example\n");
    assert_eq!(run(&upload).get("log_state", "host")["forwards_to"], json!([]), "journal-upload does not run");
    let list =
        r#"[{"pid":1,"name":"systemd"},{"pid":2,"name":"systemd-journal","unit":"systemd-journal-upload.service"}]"#;
    let uploads = upload.add("list-processes", json!({"path": "/proc"}), Answer::Ok, "", None, list.into());
    let out = run(&uploads);
    assert_eq!(out.get("log_service", "journald")["running"], json!(false), "only what uploads runs");
}

#[test]
fn a_rule_that_audits_no_task_leaves_no_rule_that_records() {
    for (rules, count) in [
        ("-a never,task\n-w /etc/shadow -p wa\n", 0),
        ("-a task,never\n", 0),
        ("-a always,exclude -F msgtype=CWD\n", 0),
        ("-a never,exit -F path=/x\n-a always,exit -S all\n", 1),
    ] {
        let evidence = processes(&ALL).command(&RULES, 0, rules);
        assert_eq!(run(&evidence).get("log_service", "auditd")["rules"], json!(count), "{rules}");
    }
}

#[test]
fn only_the_first_main_file_of_journald_counts() {
    let evidence = debian(&ALL).file(JOURNALD[3], "[Journal]\nStorage=persistent\n").no_directory(
        JOURNAL,
        Answer::Missing,
        "no such file",
    );
    assert_eq!(run(&evidence).get("log_service", "journald")["persistent"], json!(false));
}

#[test]
fn secrets_in_rsyslog_are_removed() {
    let text = "action(type=\"ommysql\" server=\"db\" uid=\"u\" pwd=\"hunter2\")\n*.* :ommysql:db,logs,user,hunter3\n\
                $template L,\"<%pri%> [0f0f0f0f-aaaa-bbbb-cccc-0123456789ab@41058 tag=x] %msg%\"\n\
                action(type=\"omhttp\" server=\"x\" token=\"hunter4\")\n*.* @@logs.example:6514\n";
    let (mut kept, mut redactor) = (Vec::new(), rsyslog::redaction("rsyslog").begin());
    redactor.push(text.as_bytes(), &mut kept).unwrap();
    let removed = redactor.finish(&mut kept).unwrap();
    let kept = String::from_utf8(kept).unwrap();
    for secret in ["hunter", "0f0f0f0f"] {
        assert!(!kept.contains(secret), "{kept}");
    }
    assert!(kept.contains("@@logs.example:6514") && kept.contains(":ommysql:db,logs,user,removed"));
    assert_eq!(removed.iter().map(|r| r.count).sum::<u64>(), 4);
}

#[tokio::test]
async fn the_processes_of_this_machine_are_one_exchange_of_names() {
    let work = tempfile::tempdir().unwrap();
    let mut recorder = crate::recorder::Recorder::new(work.path()).unwrap();
    let mut context =
        Context { recorder: &mut recorder, now: crate::testing::system_now(), inputs: Vec::new(), window: None };
    super::processes(&Host::new("/", None), &mut context).await.unwrap();
    let evidence = crate::recorder::WorkEvidence::new(work.path());
    let exchange = evidence.exchanges().next().unwrap().unwrap();
    assert_eq!((exchange.operation.as_str(), exchange.answer), ("list-processes", Answer::Ok));
    let list: Vec<Process> = serde_json::from_slice(&evidence.body(&exchange).unwrap()).unwrap();
    assert!(list.iter().any(|process| process.pid == std::process::id()));
}
