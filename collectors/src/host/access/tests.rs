//! What reading files and running programs promises.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]
use std::{fs, os::unix::fs::symlink};

use super::*;
use crate::{recorder::Recorder, testing::system_now};

struct Bench {
    directory: tempfile::TempDir,
    recorder: Recorder,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let recorder = Recorder::new(&directory.path().join("work")).unwrap();
        fs::create_dir(directory.path().join("root")).unwrap();
        Self { directory, recorder }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().into()
    }

    fn context(&mut self) -> Context<'_> {
        Context { recorder: &mut self.recorder, now: system_now(), inputs: Vec::new(), window: None }
    }

    async fn read(&mut self, host: &Host, path: &str) -> Exchange {
        host.read_file(&mut self.context(), path, &Redact::nothing()).await.unwrap()
    }

    async fn run(&mut self, host: &Host, command: Command) -> Exchange {
        host.run(&mut self.context(), command).await.unwrap()
    }

    fn body(&self, exchange: &Exchange) -> String {
        String::from_utf8(self.recorder.body(exchange).unwrap()).unwrap()
    }
}

fn this() -> Host {
    Host::new("/", None)
}

fn sh(script: &str) -> Command {
    Command::new(["sh", "-c", script])
}

#[test]
fn the_calls_can_be_awaited_by_any_thread() {
    fn send<T: Send>(_: T) {}
    let (mut bench, host) = (Bench::new(), this());
    send(host.run(&mut bench.context(), sh("true")));
    send(host.list_directory(&mut bench.context(), "/"));
}

#[tokio::test]
async fn a_file_is_read_to_its_end_and_says_so() {
    let (mut bench, path) = (Bench::new(), Bench::new());
    fs::write(path.path("file"), "text\n").unwrap();
    let exchange = bench.read(&this(), &path.path("file")).await;
    assert_eq!((exchange.answer, exchange.end.as_deref()), (Answer::Ok, Some("end of file")));
    assert_eq!(bench.body(&exchange), "text\n");
    assert!(exchange.caller.starts_with("uid ") && exchange.detail.starts_with("modified 2"), "{exchange:?}");
}

#[tokio::test]
async fn what_is_not_read_says_why_and_keeps_nothing() {
    let mut bench = Bench::new();
    let missing = bench.read(&this(), "/no/such/file").await;
    let directory = bench.read(&this(), "/").await;
    let device = bench.read(&this(), "/dev/zero").await;
    let relative = bench.read(&this(), "etc/passwd").await;
    assert_eq!(missing.answer, Answer::Missing);
    for (exchange, says) in [(directory, "a directory"), (device, "a character device"), (relative, "no absolute path")]
    {
        assert_eq!((exchange.answer, exchange.body, exchange.end), (Answer::Failed, None, None));
        assert!(exchange.detail.contains(says), "{}", exchange.detail);
    }
}

#[tokio::test]
async fn a_program_that_others_can_change_is_not_run_as_root() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root has something to lose");
        return;
    }
    use std::os::unix::fs::{PermissionsExt, chown};
    let mut bench = Bench::new();
    let mode = |path: &str, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let (directory, program) = (bench.path("bin"), bench.path("bin/tool"));
    fs::create_dir(&directory).unwrap();
    fs::write(&program, "#!/bin/sh\necho ran\n").unwrap();
    mode(&program, 0o755);
    mode(&directory, 0o755);
    let ran = bench.run(&this(), Command::new([program.clone()])).await;
    assert_eq!((ran.answer, bench.body(&ran).as_str()), (Answer::Ok, "ran\n"));
    mode(&program, 0o757);
    let refused = bench.run(&this(), Command::new([program.clone()])).await;
    assert_eq!((refused.answer, refused.body), (Answer::Failed, None));
    assert!(refused.detail.contains("not run as root") && refused.detail.contains(&program), "{}", refused.detail);
    mode(&program, 0o755);
    mode(&directory, 0o775);
    chown(&directory, None, Some(50)).unwrap();
    let refused = bench.run(&this(), Command::new([program.clone()])).await;
    assert!(refused.detail.contains("group 50"), "{}", refused.detail);
    let link = bench.path("link");
    symlink(&program, &link).unwrap();
    assert_eq!(bench.run(&this(), Command::new([link])).await.answer, Answer::Failed);
    mode(&directory, 0o755);
    chown(&program, Some(1000), None).unwrap();
    let refused = bench.run(&this(), Command::new([program])).await;
    assert!(refused.detail.contains("belongs to uid 1000"), "{}", refused.detail);
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_not_taken_for_a_missing_one() {
    use std::os::unix::fs::PermissionsExt;
    let mut bench = Bench::new();
    let program = bench.path("tool");
    fs::write(&program, "#!/no/such/interpreter\n").unwrap();
    let plain = bench.run(&this(), Command::new([program.clone()])).await;
    assert_eq!((plain.answer, plain.detail.contains("no executable file")), (Answer::Failed, true));
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let started = bench.run(&this(), Command::new([program])).await;
    assert_eq!((started.answer, started.detail.contains("could not be started")), (Answer::Failed, true));
}

#[tokio::test]
async fn the_log_says_which_program_was_run() {
    let mut bench = Bench::new();
    bench.run(&this(), sh("true")).await;
    bench.run(&this(), Command::new(["no-such-program"])).await;
    let log = fs::read_to_string(bench.path("work/log.txt")).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert!(lines[0].starts_with("sh: /") && lines[0].ends_with("bin/sh is run"), "{log}");
    assert!(lines[1].starts_with("no-such-program: not run: no program no-such-program among the system's"), "{log}");
}

#[tokio::test]
async fn a_pipe_without_a_writer_is_refused_not_waited_for() {
    let mut bench = Bench::new();
    let path = bench.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let exchange = bench.read(&this(), &path).await;
    assert_eq!((exchange.answer, exchange.detail.as_str()), (Answer::Failed, "not a regular file but a pipe"));
}

#[tokio::test]
async fn a_long_file_is_cut_short_with_what_was_read() {
    let mut bench = Bench::new();
    let path = bench.path("long");
    fs::write(&path, "0123456789").unwrap();
    let mut host = this();
    host.file_limit = 10;
    assert_eq!(bench.read(&host, &path).await.answer, Answer::Ok);
    host.file_limit = 9;
    let exchange = bench.read(&host, &path).await;
    assert_eq!((exchange.answer, exchange.end.as_deref()), (Answer::CutShort, None));
    assert_eq!(bench.body(&exchange), "012345678");
}

#[tokio::test]
async fn a_read_that_gets_no_answer_times_out() {
    let mut bench = Bench::new();
    let (_held, pieces) = mpsc::channel(1);
    let mut host = this();
    host.read_timeout = Duration::from_millis(20);
    let mut draft = host.draft("read-file", json!({"path": "/x"}), &bench.context());
    let mut body = bench.recorder.begin("read-file", "txt").unwrap();
    host.receive(pieces, &Redact::nothing(), &mut draft, &mut body, "end of file").await.unwrap();
    assert_eq!((draft.answer, draft.end), (Answer::TimedOut, None));
}

#[tokio::test]
async fn links_stay_inside_the_root() {
    let mut bench = Bench::new();
    let root = bench.directory.path().join("root");
    fs::create_dir(root.join("etc")).unwrap();
    fs::write(root.join("etc/passwd"), "inside").unwrap();
    symlink("/etc/passwd", root.join("absolute")).unwrap();
    symlink("../../../../../../etc/passwd", root.join("climbing")).unwrap();
    symlink("/etc/hostname", root.join("outside")).unwrap();
    let host = Host::new(&root, None);
    for path in ["/etc/passwd", "/absolute", "/climbing", "/../etc/passwd"] {
        let exchange = bench.read(&host, path).await;
        assert_eq!(bench.body(&exchange), "inside", "{path}: {}", exchange.detail);
        assert_eq!(exchange.request["root"], json!(root.to_str().unwrap()));
    }
    assert_eq!(bench.read(&host, "/outside").await.answer, Answer::Missing);
}

#[tokio::test]
async fn a_root_that_is_gone_is_a_failure_and_never_a_missing_file() {
    let mut bench = Bench::new();
    let host = Host::new(bench.path("nowhere"), None);
    assert_eq!(bench.read(&host, "/etc/passwd").await.answer, Answer::Failed);
    assert_eq!(bench.run(&host, sh("true")).await.answer, Answer::Failed);
    let listed = host.list_directory(&mut bench.context(), "/etc").await.unwrap();
    assert_eq!(listed.answer, Answer::Failed);
}

#[tokio::test]
async fn a_directory_is_listed_in_order_with_its_end() {
    let mut bench = Bench::new();
    let path = bench.path("root");
    for name in ["b", "a", "c~"] {
        fs::write(format!("{path}/{name}"), "x").unwrap();
    }
    let exchange = this().list_directory(&mut bench.context(), &path).await.unwrap();
    let rows: serde_json::Value = serde_json::from_str(&bench.body(&exchange)).unwrap();
    let names: Vec<_> = rows.as_array().unwrap().iter().map(|row| (row["name"].clone(), row["type"].clone())).collect();
    assert_eq!(names, [(json!("a"), json!("file")), (json!("b"), json!("file")), (json!("c~"), json!("file"))]);
    assert_eq!((exchange.answer, exchange.end.as_deref()), (Answer::Ok, Some("end of directory")));
    let missing = this().list_directory(&mut bench.context(), "/no/such").await.unwrap();
    assert_eq!((missing.answer, missing.body), (Answer::Missing, None));
}

#[tokio::test]
async fn a_program_answers_with_output_code_and_errors() {
    let mut bench = Bench::new();
    let script = "echo out; echo err >&2; echo $LC_ALL $TZ $NAME; cat; exit 3";
    let failed = bench.run(&this(), sh(script).env("NAME", "value")).await;
    assert_eq!((failed.answer, failed.exit_code, failed.end.as_deref()), (Answer::Failed, Some(3), Some("exit")));
    assert_eq!((failed.stderr.as_str(), failed.detail.as_str()), ("err\n", "exit status 3"));
    assert_eq!(bench.body(&failed), "out\nC.UTF-8 UTC value\n");
    assert_eq!(failed.request, json!({"argv": ["sh", "-c", script], "env": ["NAME"]}));
    let accepted = bench.run(&this(), sh("exit 3").accept(&[0, 3])).await;
    assert_eq!((accepted.answer, accepted.exit_code), (Answer::Ok, Some(3)));
    let killed = bench.run(&this(), sh("kill -9 $$")).await;
    assert_eq!((killed.answer, killed.detail.as_str()), (Answer::Failed, "killed by signal 9"));
}

#[tokio::test]
async fn a_missing_program_is_missing_and_a_data_file_is_no_program() {
    let mut bench = Bench::new();
    assert_eq!(bench.run(&this(), Command::new(["no-such-program"])).await.answer, Answer::Missing);
    let data = bench.run(&this(), Command::new(["/etc/passwd"])).await;
    assert_eq!((data.answer, data.detail.contains("no executable file")), (Answer::Failed, true));
    assert_eq!(bench.run(&this(), Command::new(Vec::<String>::new())).await.answer, Answer::Failed);
}

#[tokio::test]
async fn at_its_time_limit_a_program_dies_with_its_children_and_its_output_is_kept() {
    let mut bench = Bench::new();
    let pid_file = bench.path("pid");
    let script = format!("echo begun; sleep 600 & echo $! > {pid_file}; wait");
    let exchange = bench.run(&this(), sh(&script).timeout(Duration::from_millis(500))).await;
    assert_eq!((exchange.answer, exchange.end.as_deref()), (Answer::TimedOut, None));
    assert_eq!(bench.body(&exchange), "begun\n");
    let pid = fs::read_to_string(&pid_file).unwrap().trim().to_string();
    // The kernel's kill is asynchronous: until it is done the child is there, and then it is gone or a zombie.
    let alive = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
    };
    let started = std::time::Instant::now();
    while alive() {
        assert!(started.elapsed() < Duration::from_secs(10), "the child outlived its run");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn endless_output_is_cut_and_endless_errors_are_drained() {
    let mut bench = Bench::new();
    let exchange = bench.run(&this(), Command::new(["yes"]).limit(100_001)).await;
    assert_eq!((exchange.answer, exchange.bytes, exchange.end), (Answer::CutShort, 100_001, None));
    let noisy = bench.run(&this(), sh("head -c 300000 /dev/zero >&2")).await;
    assert_eq!((noisy.answer, noisy.stderr.len()), (Answer::Ok, STDERR_BYTES));
}

#[tokio::test]
async fn secrets_in_output_and_errors_never_reach_the_disk() {
    let mut bench = Bench::new();
    let redact = Redact::nothing()
        .line("token", "output", |line| line.windows(6).any(|part| part == b"hunter").then(|| b"removed".to_vec()));
    // The shell assembles the secret, so that the recorded argument vector does not hold it.
    let script = "s=hun; s=${s}ter2; echo a; echo $s; echo $s >&2";
    let exchange = bench.run(&this(), sh(script).redact(redact)).await;
    assert_eq!((bench.body(&exchange).as_str(), exchange.stderr.as_str()), ("a\nremoved\n", "removed\n"));
    let places: Vec<&str> = exchange.redactions.iter().map(|redaction| redaction.place.as_str()).collect();
    assert_eq!(places, ["output", "standard error"]);
    let kept = std::process::Command::new("grep").args(["-r", "hunter2"]).arg(bench.path("work")).output().unwrap();
    assert_eq!((kept.status.code(), kept.stdout.len()), (Some(1), 0));
}

#[tokio::test]
async fn below_another_root_without_a_helper_nothing_runs() {
    let mut bench = Bench::new();
    let root = bench.directory.path().join("root");
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::copy("/bin/sh", root.join("usr/bin/sh")).unwrap();
    let host = Host::new(&root, None);
    let exchange = bench.run(&host, sh("true")).await;
    assert_eq!((exchange.answer, exchange.exit_code), (Answer::Failed, None));
    assert!(exchange.detail.contains("no helper"));
    assert_eq!(bench.run(&host, Command::new(["sshd"])).await.answer, Answer::Missing);
}

#[tokio::test]
async fn a_refused_chroot_is_denied() {
    let mut bench = Bench::new();
    let root = bench.directory.path().join("root");
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::copy("/bin/sh", root.join("usr/bin/sh")).unwrap();
    let helper = bench.directory.path().join("helper");
    // Written by another process: a file that this one has open for writing could be refused as busy when it is run.
    let script = format!("#!/bin/sh\necho '{HOST_EXEC}Operation not permitted' >&2\nexit {HOST_EXEC_DENIED}\n");
    let write = "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\"";
    let status = std::process::Command::new("sh").args(["-c", write]).arg(&helper).arg(script).status().unwrap();
    assert!(status.success());
    let exchange = bench.run(&Host::new(&root, Some(helper)), sh("true")).await;
    assert_eq!((exchange.answer, exchange.exit_code), (Answer::Denied, None));
    assert!(exchange.detail.ends_with("Operation not permitted"));
}
