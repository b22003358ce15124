//! `host/mfa`: whether sshd, console logins, su and sudo ask for a second factor, by sshd's `AuthenticationMethods` and PAM's stacks.
//! It tells what the configuration demands, never who has enrolled.

use std::{io, time::Duration};

use serde_json::json;

use super::{
    access::Host,
    kept::{self, Kept, Listing, Reading, record},
    pam::{self, Files, Verdict},
    scrub,
    sshd::{self, Effective, Found},
};
use crate::{
    contract::{BoxFuture, CollectError, Collector, Context, Evidence, Need, NeedKind, Population, Records, Spec},
    redact::Redact,
};

/// Distributions' own files lie in the later directory; those in the first win.
const DIRECTORIES: [&str; 2] = ["/etc/pam.d", "/usr/lib/pam.d"];
const PATHS: [(&str, &str); 5] =
    [("login", "console login"), ("su", "su"), ("su-l", "su"), ("sudo", "sudo"), ("sudo-i", "sudo")];
const MOST: usize = 200;

const CHECKS: &str = r#"
- id: remote-login-second-factor
  item: mfa_enforced_policy
  population: 'login_path | .remote'
  pass: 'if .second_factor == "unknown" then null else .second_factor == "required" end'
  says: "{path} lets in without a second factor ({second_factor}: {why})"
  unknown: "whether {path} asks for a second factor is not known: {why}"
# $parameters.second_factor_on_host: true where console logins, su and sudo have to ask for one too.
- id: privileged-second-factor
  item: mfa_root_privileged
  population: 'login_path | .remote | not'
  exempt: '$parameters.second_factor_on_host // false | not'
  pass: 'if .second_factor == "unknown" then null else .second_factor == "required" end'
  says: "{path} does not ask for a second factor ({second_factor}: {why})"
  unknown: "whether {path} asks for a second factor is not known: {why}"
"#;

/// Second factors of logins.
pub struct Mfa {
    host: Host,
    spec: Spec,
}

impl Mfa {
    /// Of this host.
    pub fn new(host: Host) -> Self {
        let need = |kind, what: &str, why: &str| Need { kind, what: what.into(), why: why.into(), cells: Vec::new() };
        let spec = Spec {
            id: "host/mfa".into(),
            version: 1,
            title: "Second factors that sshd, console logins, su and sudo ask for".into(),
            source: "host".into(),
            schedule: "30 */6 * * *".into(),
            deadline: Duration::from_secs(300),
            needs: vec![
                need(NeedKind::Command, "sshd -T", "which authentication methods sshd demands"),
                need(NeedKind::File, "/etc/ssh/sshd_config and what it includes", "which Match blocks there are"),
                need(NeedKind::File, "/etc/pam.d/*, /usr/lib/pam.d/*", "what PAM asks for"),
                need(
                    NeedKind::Right,
                    "root",
                    "sshd -T reads the host keys first: as another user sshd's demands are unknown",
                ),
            ],
            kinds: vec!["login_path".into()],
            checks: CHECKS.into(),
            inputs: Vec::new(),
            window: None,
        };
        Self { host, spec }
    }
}

impl Collector for Mfa {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn collect<'a>(&'a self, context: &'a mut Context<'_>) -> BoxFuture<'a, Result<(), CollectError>> {
        Box::pin(async move {
            sshd::ask(&self.host, context).await?;
            for directory in DIRECTORIES {
                let listed = self.host.list_directory(context, directory).await?;
                for name in service_names(kept::names(&context.recorder.body(&listed)?)) {
                    let path = format!("{directory}/{name}");
                    self.host.read_file(context, &path, &redaction(&path)).await?;
                }
            }
            Ok(())
        })
    }

    fn derive(&self, evidence: &dyn Evidence, out: &mut dyn Records) -> io::Result<()> {
        derive(&Kept::read(evidence)?, out)
    }
}

/// Modules take passwords and keys as arguments; PAM itself has a type `password`, so that only `name=value` is one.
fn redaction(path: &str) -> Redact {
    let settings =
        &["passwd", "password", "pass", "secret", "key", "bindpw", "pin", "token", "client_secret", "apikey"];
    scrub::url_credentials(scrub::arguments_of(Redact::nothing(), "pam-secret", path, settings), path)
}

fn service_names(mut names: Vec<String>) -> Vec<String> {
    names.retain(|name| {
        !name.contains('~') && !name.contains(".dpkg-") && !name.contains(".rpm") && !name.starts_with('.')
    });
    names.sort();
    names.truncate(MOST);
    names
}

fn derive(kept: &Kept<'_>, out: &mut dyn Records) -> io::Result<()> {
    let (mut files, mut places, mut cut, mut listed) = (Files::new(), Vec::new(), Vec::new(), 0);
    let mut overriding: Option<String> = None;
    for directory in DIRECTORIES {
        match kept.directory(directory)? {
            Listing::Entries(_, entries) => {
                listed += 1;
                if entries.len() > MOST {
                    cut.push(format!("{directory} holds more than {MOST} files: not all were read"));
                }
                for name in service_names(entries.into_iter().map(|entry| entry.name).collect()) {
                    if let Some(why) = &overriding {
                        // A file of the same name in the directory that was not listed would win.
                        files.entry(name).or_insert_with(|| Err(why.clone()));
                        continue;
                    }
                    let file = match kept.file(&format!("{directory}/{name}"))? {
                        Reading::Text(text) => {
                            places.push((name.clone(), text.exchange));
                            Ok(text.text)
                        }
                        Reading::Missing(why) | Reading::Unknown(why) => Err(why),
                    };
                    files.entry(name).or_insert(file);
                }
            }
            Listing::Missing(_) => {}
            Listing::Unknown(why) => {
                overriding = Some(why.clone());
                cut.push(why);
            }
        }
    }
    if listed == 0 && cut.is_empty() {
        cut.push("there is no PAM directory: how console logins, su and sudo authenticate is not known".to_string());
    }
    let mut rows = 0;
    let place = |service: &str| places.iter().find(|(name, _)| name == service).map_or(1, |(_, exchange)| *exchange);
    let pam = pam::judge("sshd", &files);
    match sshd::read(kept)? {
        Found::Absent(_) => {}
        Found::Unknown(why) => {
            rows += 1;
            let fields =
                json!({"path": "sshd", "remote": true, "second_factor": "unknown", "why": why, "modules": null});
            out.record("login_path", record("sshd", None, 1, fields))?;
        }
        Found::Settings { effective, cut: more } => {
            cut.extend(more);
            for context in &effective {
                rows += 1;
                let (second_factor, why) = ssh(context, &pam);
                let id = if context.context == "default" { "sshd".into() } else { format!("sshd {}", context.context) };
                let fields = json!({
                    "path": id, "remote": true, "second_factor": second_factor, "why": why, "modules": pam.modules,
                    "methods": context.value("authenticationmethods"),
                });
                out.record("login_path", record(id.clone(), None, context.exchange, fields))?;
            }
        }
    }
    for (service, path) in PATHS {
        if !files.contains_key(service) {
            continue;
        }
        rows += 1;
        let verdict = pam::judge(service, &files);
        let (second_factor, why) = local(&verdict);
        let fields = json!({
            "path": path, "remote": false, "second_factor": second_factor, "why": why, "modules": verdict.modules,
        });
        out.record("login_path", record(service, None, place(service), fields))?;
    }
    out.population(
        "login_path",
        match (rows, cut.is_empty()) {
            (_, true) => Population::Whole,
            (0, false) => Population::Unread(cut.join("; ")),
            (_, false) => Population::Cut(cut.join("; ")),
        },
    );
    Ok(())
}

/// A path that PAM alone guards.
fn local(verdict: &Verdict) -> (&'static str, String) {
    let factor = match (verdict.second, verdict.password) {
        (Some(true), Some(true)) => "required",
        (Some(true), Some(false)) => {
            let why = format!("{}, but no password is asked for beside it", verdict.why);
            return ("optional", why);
        }
        (Some(false), _) if verdict.modules.is_empty() => "none",
        (Some(false), _) => "optional",
        _ => "unknown",
    };
    (factor, verdict.why.clone())
}

/// sshd lets in by any of its lists of methods; `any` is each method by itself.
fn ssh(context: &Effective, pam: &Verdict) -> (&'static str, String) {
    let enabled = |keyword: &str| context.value(keyword).map(|value| value != "no");
    let uses_pam = enabled("usepam");
    let Some(mut lists) = context.methods() else {
        return ("unknown", "sshd does not say its AuthenticationMethods".into());
    };
    if lists.iter().any(|list| list.iter().any(|method| method == "any")) {
        let methods = [
            ("publickey", "pubkeyauthentication"),
            ("password", "passwordauthentication"),
            ("keyboard-interactive", "kbdinteractiveauthentication"),
            ("gssapi-with-mic", "gssapiauthentication"),
            ("hostbased", "hostbasedauthentication"),
        ];
        lists = methods
            .iter()
            .filter(|(_, key)| enabled(key) != Some(false))
            .map(|(m, _)| vec![(*m).to_string()])
            .collect();
    }
    if lists.is_empty() {
        return ("unknown", "sshd enables no method of authentication".into());
    }
    let asks_pam = |method: &String| method == "password" || method == "keyboard-interactive";
    let (mut required, mut open, mut unknown, mut some) = (0, Vec::new(), Vec::new(), false);
    for list in &lists {
        let name = list.join(",");
        let key = list.iter().any(|method| method == "publickey");
        let asks = list.iter().any(asks_pam);
        let verdict = match uses_pam {
            Some(true) => (pam.second, pam.password),
            // Without PAM, sshd compares the password itself.
            Some(false) => (Some(false), Some(true)),
            None => (None, None),
        };
        let two = match (key, asks) {
            // Beside a key, either is the second factor.
            (true, true) => match verdict {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            (false, true) => match verdict {
                (Some(true), Some(true)) => Some(true),
                (Some(_), Some(_)) => Some(false),
                _ => None,
            },
            (true, false) => Some(hardware_keys_only(context)),
            (false, false) if list.iter().any(|method| method.starts_with("gssapi")) => None,
            (false, false) => Some(false),
        };
        some |= asks && uses_pam != Some(false) && !pam.modules.is_empty();
        match two {
            Some(true) => required += 1,
            Some(false) => open.push(name),
            None => unknown.push(name),
        }
    }
    if !open.is_empty() {
        let factor = if required > 0 || some { "optional" } else { "none" };
        return (factor, format!("{} alone lets in", open.join(" or ")));
    }
    if !unknown.is_empty() {
        return ("unknown", format!("whether {} asks for one is not known: {}", unknown.join(" or "), pam.why));
    }
    (
        "required",
        format!("each of {} asks for two factors", lists.iter().map(|l| l.join(",")).collect::<Vec<_>>().join(" ")),
    )
}

/// Keys on hardware that ask for a PIN or a finger each time, and no others.
fn hardware_keys_only(context: &Effective) -> bool {
    let verified = context.value("pubkeyauthoptions").is_some_and(|options| options.contains("verify-required"));
    let algorithms = context.value("pubkeyacceptedalgorithms").unwrap_or_default();
    verified && !algorithms.is_empty() && algorithms.split(',').all(|algorithm| algorithm.starts_with("sk-"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{
        contract::Answer,
        testing::{FakeEvidence, MemoryRecords},
    };

    const DEBIAN: &str = include_str!("fixtures/sshd/sshd-T.debian12.txt");
    const CONFIG: &str = "/etc/ssh/sshd_config";
    const SSHD: &str = include_str!("fixtures/mfa/sshd.debian12");

    fn run(evidence: &FakeEvidence) -> (MemoryRecords, Population) {
        let mut out = MemoryRecords::default();
        Mfa::new(Host::new("/", None)).derive(evidence, &mut out).unwrap();
        let population = out.populations["login_path"].clone();
        (out, population)
    }

    fn host(settings: &str, pam_sshd: &str) -> FakeEvidence {
        FakeEvidence::new()
            .command(&["sshd", "-T"], 0, settings)
            .file(CONFIG, "UsePAM yes\n")
            .directory(
                DIRECTORIES[0],
                &[
                    "common-account",
                    "common-auth",
                    "common-password",
                    "common-session",
                    "common-session-noninteractive",
                    "login",
                    "sshd",
                    "sudo",
                    "su",
                    "su.dpkg-old",
                ],
            )
            .file("/etc/pam.d/common-auth", include_str!("fixtures/mfa/common-auth.debian12"))
            .file("/etc/pam.d/common-account", include_str!("fixtures/mfa/common-account.debian12"))
            .file("/etc/pam.d/common-password", include_str!("fixtures/mfa/common-password.debian12"))
            .file("/etc/pam.d/common-session", include_str!("fixtures/mfa/common-session.debian12"))
            .file(
                "/etc/pam.d/common-session-noninteractive",
                include_str!("fixtures/mfa/common-session-noninteractive.debian12"),
            )
            .file("/etc/pam.d/login", include_str!("fixtures/mfa/login.debian12"))
            .file("/etc/pam.d/sshd", pam_sshd)
            .file("/etc/pam.d/sudo", include_str!("fixtures/mfa/sudo.debian12"))
            .file("/etc/pam.d/su", include_str!("fixtures/mfa/su.debian12"))
            .no_directory(DIRECTORIES[1], Answer::Missing, "no such file")
    }

    fn methods(methods: &str) -> String {
        DEBIAN.replace("authenticationmethods any", &format!("authenticationmethods {methods}"))
    }

    fn factor(settings: &str, pam_sshd: &str) -> String {
        run(&host(settings, pam_sshd)).0.get("login_path", "sshd")["second_factor"].as_str().unwrap().to_string()
    }

    const TOTP: &str = "@include common-auth\nauth required pam_google_authenticator.so\n";

    #[test]
    fn a_debian_host_asks_for_one_factor_everywhere() {
        let (out, population) = run(&host(DEBIAN, SSHD));
        assert_eq!(population, Population::Whole);
        let told: Vec<(&str, &str)> = out
            .of("login_path")
            .iter()
            .map(|row| (row["id"].as_str().unwrap(), row["second_factor"].as_str().unwrap()))
            .collect();
        assert_eq!(told, [("sshd", "none"), ("login", "none"), ("su", "none"), ("sudo", "none")]);
    }

    #[test]
    fn a_key_alone_passes_by_pams_second_factor() {
        assert_eq!(factor(DEBIAN, TOTP), "optional");
        let no_keys = DEBIAN.replace("pubkeyauthentication yes", "pubkeyauthentication no");
        assert_eq!(factor(&no_keys, TOTP), "required");
        assert_eq!(factor(&no_keys, &TOTP.replace(".so\n", ".so nullok\n")), "optional");
    }

    #[test]
    fn a_key_and_an_answer_are_two_factors() {
        assert_eq!(factor(&methods("publickey,keyboard-interactive:pam"), SSHD), "required");
        assert_eq!(factor(&methods("publickey,password"), SSHD), "required");
        let only_code = "auth required pam_google_authenticator.so\n";
        assert_eq!(factor(&methods("publickey,keyboard-interactive"), only_code), "required");
        assert_eq!(factor(&methods("keyboard-interactive"), only_code), "optional");
        assert_eq!(factor(&methods("publickey,publickey"), SSHD), "none");
        assert_eq!(factor(&methods("publickey,password publickey"), SSHD), "optional");
    }

    #[test]
    fn without_pam_its_second_factor_does_not_count() {
        let no_pam = methods("password").replace("usepam yes", "usepam no");
        assert_eq!(factor(&no_pam, TOTP), "none");
    }

    #[test]
    fn only_verified_hardware_keys_are_two_factors() {
        let sk = methods("publickey").replace("pubkeyauthoptions none", "pubkeyauthoptions verify-required");
        assert_eq!(factor(&sk, SSHD), "none", "other keys are accepted too");
        let lines = sk.lines().map(|line| match line.split_once(' ') {
            Some(("pubkeyacceptedalgorithms", _)) => "pubkeyacceptedalgorithms sk-ssh-ed25519@openssh.com".to_string(),
            _ => line.to_string(),
        });
        assert_eq!(factor(&(lines.collect::<Vec<_>>().join("\n") + "\n"), SSHD), "required");
    }

    #[test]
    fn unread_stacks_and_settings_are_unknown() {
        let denied = host(DEBIAN, SSHD).no_file("/etc/pam.d/common-auth", Answer::Denied, "permission denied");
        let (out, _) = run(&denied);
        assert_eq!(out.get("login_path", "sudo")["second_factor"], "unknown");
        assert!(out.get("login_path", "sudo")["why"].as_str().unwrap().contains("permission denied"));
        let refused =
            host(DEBIAN, SSHD).command(&["sshd", "-T"], 1, "").stderr("sshd: no hostkeys available -- exiting.\n");
        assert_eq!(run(&refused).0.get("login_path", "sshd")["second_factor"], "unknown");
        assert_eq!(factor(&methods("keyboard-interactive"), "auth required pam_sss.so\n"), "unknown");
        let (out, population) =
            run(&FakeEvidence::new().no_directory(DIRECTORIES[0], Answer::TimedOut, "no end within 20 s"));
        assert_eq!(out.of("login_path").len(), 1);
        assert!(matches!(population, Population::Cut(why) if why.contains("no end within 20 s")));
    }

    #[test]
    fn a_vendors_file_does_not_count_while_one_that_would_override_it_may_not_be_read() {
        let (out, population) = run(&FakeEvidence::new()
            .no_directory(DIRECTORIES[0], Answer::Denied, "permission denied")
            .directory(DIRECTORIES[1], &["sudo"])
            .file("/usr/lib/pam.d/sudo", "auth required pam_oath.so\nauth required pam_unix.so\n"));
        assert_eq!(out.get("login_path", "sudo")["second_factor"], "unknown");
        assert!(matches!(population, Population::Cut(_)));
    }

    #[test]
    fn without_sshd_there_is_no_row_for_it() {
        let absent = host(DEBIAN, SSHD).no_command(&["sshd", "-T"], Answer::Missing, "no program sshd").command(
            &["dpkg-query", "-W", "-f", "${Package}\\t${Status}\\t${Version}\\n", "openssh-server"],
            0,
            "openssh-server\tunknown ok not-installed\t\n",
        );
        assert!(run(&absent).0.get("login_path", "sshd").is_null());
    }

    #[test]
    fn pam_arguments_that_are_secret_are_removed_and_paths_stay() {
        let text = "auth required pam_yubico.so id=1 key=hunter2\nauth required pam_mysql.so passwd=hunter3\n\
                    auth required pam_google_authenticator.so secret=/var/totp/${USER}\npassword include common-password\n";
        let (mut kept, mut redactor) = (Vec::new(), redaction("/etc/pam.d/x").begin());
        redactor.push(text.as_bytes(), &mut kept).unwrap();
        assert_eq!(redactor.finish(&mut kept).unwrap()[0].count, 2);
        let kept = String::from_utf8(kept).unwrap();
        assert!(!kept.contains("hunter") && kept.contains("secret=/var/totp/${USER}"));
        assert!(kept.contains("password include common-password"));
    }
}
