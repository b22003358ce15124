//! PAM's `auth` stacks, read and played through: would a login succeed if every second factor, or every password, were wrong? It knows
//! the modules that are common; one that it does not know, and that may decide by itself, leaves the answer unknown.

use std::collections::BTreeMap;

/// Modules that ask for a second factor.
const SECOND: [&str; 9] = [
    "pam_google_authenticator.so",
    "pam_u2f.so",
    "pam_duo.so",
    "pam_yubico.so",
    "pam_oath.so",
    "pam_privacyidea.so",
    "pam_okta_auth.so",
    "pam_totp.so",
    "pam_rsa.so",
];
/// Modules that ask for a password, or for whatever a server behind them wants: that may be a second factor.
const SERVER: [&str; 6] =
    ["pam_sss.so", "pam_radius_auth.so", "pam_winbind.so", "pam_krb5.so", "pam_ldap.so", "pam_himmelblau.so"];
const PASSWORD: [&str; 3] = ["pam_unix.so", "pam_unix2.so", "pam_pwdb.so"];
/// Modules that decide by who logs in, and from where: both answers are played.
const CONDITION: [&str; 11] = [
    "pam_succeed_if.so",
    "pam_usertype.so",
    "pam_localuser.so",
    "pam_listfile.so",
    "pam_access.so",
    "pam_time.so",
    "pam_wheel.so",
    "pam_rhosts.so",
    "pam_shells.so",
    "pam_exec.so",
    "pam_script.so",
];
/// Modules that never decide a login, or whose answer is given.
const PLAIN: [&str; 20] = [
    "pam_permit.so",
    "pam_deny.so",
    "pam_rootok.so",
    "pam_faillock.so",
    "pam_faildelay.so",
    "pam_env.so",
    "pam_warn.so",
    "pam_nologin.so",
    "pam_securetty.so",
    "pam_group.so",
    "pam_cap.so",
    "pam_gnome_keyring.so",
    "pam_kwallet5.so",
    "pam_ecryptfs.so",
    "pam_mount.so",
    "pam_tally2.so",
    "pam_issue.so",
    "pam_echo.so",
    "pam_keyinit.so",
    "pam_systemd.so",
];
const DEPTH: usize = 16;
/// A stack with more modules that may answer either way is not played through.
const MOST_FREE: usize = 12;
/// The answers with which a second factor may fail (pam.conf(5)): one without a configuration for the user is `user_unknown` to one module
/// and `authinfo_unavail` to the next, and a stack may treat each differently.
const FAILURES: [&str; 12] = [
    "auth_err",
    "user_unknown",
    "authinfo_unavail",
    "cred_insufficient",
    "cred_unavail",
    "cred_err",
    "perm_denied",
    "maxtries",
    "acct_expired",
    "service_err",
    "system_err",
    "abort",
];

/// What a service asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verdict {
    /// Whether no login passes without the second factor.
    pub(super) second: Option<bool>,
    /// Whether no login passes without the password.
    pub(super) password: Option<bool>,
    /// The modules of the stack that ask for a second factor.
    pub(super) modules: Vec<String>,
    /// What the answers rest on.
    pub(super) why: String,
}

/// Service files by name; `Err` says why one is not known.
pub(super) type Files = BTreeMap<String, Result<String, String>>;

#[derive(Debug)]
enum Entry {
    /// `free` numbers the modules whose answer depends on who logs in.
    Module {
        control: Control,
        module: String,
        arguments: Vec<String>,
        free: Option<usize>,
    },
    Sub(Vec<Entry>),
}

#[derive(Debug)]
struct Control {
    success: Action,
    /// For each of [`FAILURES`].
    failures: Vec<Action>,
    ignore: Action,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Action {
    Ignore,
    Bad,
    Die,
    Ok,
    Done,
    Reset,
    Jump(usize),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Said {
    Success,
    /// With one of [`FAILURES`].
    Failure(usize),
    Ignore,
}

/// Which modules are wrong in one play.
#[derive(Clone, Copy)]
struct Play {
    /// Every second factor fails, with this one of [`FAILURES`].
    second_fails: Option<usize>,
    password_fails: bool,
    /// The answers of the free modules, a bit each.
    answers: u32,
    /// Whether modules that usually abstain succeed.
    plain_succeeds: bool,
}

/// Judges a service's `auth` stack.
pub(super) fn judge(service: &str, files: &Files) -> Verdict {
    let unknown = |why: String| Verdict { second: None, password: None, modules: Vec::new(), why };
    let mut stack = match stack(service, files, 0) {
        Ok(stack) => stack,
        Err(why) => return unknown(why),
    };
    let mut free = 0;
    number(&mut stack, &mut free);
    let mut names = Vec::new();
    modules(&stack, &mut names);
    let seconds: Vec<String> = names.iter().filter(|name| SECOND.contains(&name.as_str())).cloned().collect();
    let strange = names.iter().find(|name| {
        let known: [&[&str]; 5] = [&SECOND, &SERVER, &PASSWORD, &CONDITION, &PLAIN];
        !known.iter().any(|list| list.contains(&name.as_str()))
    });
    if let Some(strange) = strange {
        return Verdict { modules: seconds, ..unknown(format!("{strange} is not a module that this collector knows")) };
    }
    if free > MOST_FREE {
        let why = format!("{free} modules of the stack may answer either way: it is not played through");
        return Verdict { modules: seconds, ..unknown(why) };
    }
    // Whether a login passes, whoever logs in: each module that looks at that answers either way, independently of the others.
    let passes_with = |second_fails: Option<usize>, password_fails: bool| {
        (0..1_u32 << free).any(|answers| {
            let mut plays =
                [false, true].map(|plain_succeeds| Play { second_fails, password_fails, answers, plain_succeeds });
            plays.iter_mut().any(|play| passes(&stack, *play))
        })
    };
    if !passes_with(None, false) {
        return Verdict { modules: seconds, ..unknown("no login passes this stack".into()) };
    }
    let server = names.iter().find(|name| SERVER.contains(&name.as_str()));
    let (second, why) = if seconds.is_empty() {
        match server {
            Some(server) => (None, format!("{server} asks a server, which may want a second factor")),
            None => (Some(false), "no module of the stack asks for a second factor".to_string()),
        }
    } else if !(0..FAILURES.len()).any(|failure| passes_with(Some(failure), false)) {
        (Some(true), format!("no login passes without {}", seconds.join(", ")))
    } else {
        match server {
            Some(server) => {
                (None, format!("a login passes without {}, but {server} may want a second factor", seconds.join(", ")))
            }
            None => (Some(false), format!("a login passes without {}", seconds.join(", "))),
        }
    };
    Verdict { second, password: Some(!passes_with(None, true)), modules: seconds, why }
}

/// The `auth` entries of a service, included files in place.
fn stack(service: &str, files: &Files, depth: usize) -> Result<Vec<Entry>, String> {
    if depth > DEPTH {
        return Err(format!("{service}: included too deep"));
    }
    let text = match files.get(service) {
        Some(Ok(text)) => text,
        Some(Err(why)) => return Err(why.clone()),
        None => return Err(format!("the PAM service {service} has no file")),
    };
    let mut entries = Vec::new();
    for line in text.replace("\\\n", " ").lines() {
        let line = line.split('#').next().unwrap_or(line).trim();
        if line.is_empty() {
            continue;
        }
        if let Some(included) = line.strip_prefix("@include") {
            entries.extend(stack(service_name(service, included.trim())?, files, depth + 1)?);
            continue;
        }
        let (kind, rest) =
            line.split_once([' ', '\t']).ok_or_else(|| format!("{service}: \"{line}\" is no PAM line"))?;
        let kind = kind.trim_start_matches('-').to_ascii_lowercase();
        if !["auth", "account", "password", "session"].contains(&kind.as_str()) {
            return Err(format!("{service}: \"{line}\" is no PAM line"));
        }
        if kind != "auth" {
            continue;
        }
        let rest = rest.trim_start();
        let (control, rest) = if let Some(inside) = rest.strip_prefix('[') {
            inside.split_once(']').ok_or_else(|| format!("{service}: \"{line}\" has no closing bracket"))?
        } else {
            rest.split_once([' ', '\t']).ok_or_else(|| format!("{service}: \"{line}\" names no module"))?
        };
        let mut words = rest.split_whitespace();
        let module = words.next().ok_or_else(|| format!("{service}: \"{line}\" names no module"))?;
        match control {
            "include" => entries.extend(stack(service_name(service, module)?, files, depth + 1)?),
            "substack" => entries.push(Entry::Sub(stack(service_name(service, module)?, files, depth + 1)?)),
            control => {
                let control =
                    parse_control(control).ok_or_else(|| format!("{service}: \"{control}\" is no control"))?;
                let arguments = words.map(String::from).collect();
                entries.push(Entry::Module { control, module: module_name(module).into(), arguments, free: None });
            }
        }
    }
    Ok(entries)
}

/// The service that an include names: by itself, or by its path in a directory that was read.
fn service_name<'a>(by: &str, included: &'a str) -> Result<&'a str, String> {
    match included.rsplit_once('/') {
        None => Ok(included),
        Some(("/etc/pam.d", name)) => Ok(name),
        Some(_) => Err(format!("{by}: includes {included}, which was not read")),
    }
}

/// A module by its file's name where it lies among the system's own; another file of that name is another module.
fn module_name(path: &str) -> &str {
    let system = ["/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/"].iter().any(|place| path.starts_with(place));
    match path.rsplit_once('/') {
        Some((directory, name)) if system && directory.ends_with("/security") => name,
        _ => path,
    }
}

/// Numbers the modules whose answer depends on who logs in.
fn number(stack: &mut [Entry], next: &mut usize) {
    for entry in stack {
        match entry {
            Entry::Sub(sub) => number(sub, next),
            Entry::Module { module, free, .. } => {
                let kinds: [&[&str]; 4] = [&SECOND, &SERVER, &PASSWORD, &CONDITION];
                if kinds.iter().any(|kind| kind.contains(&module.as_str())) {
                    *free = Some(*next);
                    *next += 1;
                }
            }
        }
    }
}

fn modules(stack: &[Entry], names: &mut Vec<String>) {
    for entry in stack {
        match entry {
            Entry::Module { module, .. } if !names.contains(module) => names.push(module.clone()),
            Entry::Module { .. } => {}
            Entry::Sub(sub) => modules(sub, names),
        }
    }
}

/// pam.conf(5): the four words, or `value=action` pairs.
fn parse_control(text: &str) -> Option<Control> {
    use Action::{Bad, Die, Done, Ignore, Ok, Reset};
    let all = |action: Action| vec![action; FAILURES.len()];
    let (success, failures, ignore) = match text {
        "required" => (Ok, all(Bad), Ignore),
        "requisite" => (Ok, all(Die), Ignore),
        "sufficient" => (Done, all(Ignore), Ignore),
        "optional" => (Ok, all(Ignore), Ignore),
        pairs => {
            let mut actions = BTreeMap::new();
            for pair in pairs.split_whitespace() {
                let (value, action) = pair.split_once('=')?;
                let action = match action {
                    "ignore" => Ignore,
                    "bad" => Bad,
                    "die" => Die,
                    "ok" => Ok,
                    "done" => Done,
                    "reset" => Reset,
                    number => Action::Jump(number.parse().ok()?),
                };
                actions.insert(value, action);
            }
            let of = |value: &str| actions.get(value).or_else(|| actions.get("default")).copied().unwrap_or(Bad);
            (of("success"), FAILURES.map(of).to_vec(), of("ignore"))
        }
    };
    Some(Control { success, failures, ignore })
}

/// Whether a login passes: libpam's `_pam_dispatch_aux`.
fn passes(stack: &[Entry], play: Play) -> bool {
    let mut state = State { decided: None };
    run(stack, play, &mut state);
    state.decided == Some(true)
}

/// The impression so far: none, good or bad.
struct State {
    decided: Option<bool>,
}

fn run(stack: &[Entry], play: Play, state: &mut State) {
    let mut at = 0;
    while let Some(entry) = stack.get(at) {
        at += 1;
        let (control, said) = match entry {
            Entry::Sub(sub) => {
                run(sub, play, state);
                continue;
            }
            Entry::Module { control, module, arguments, free } => (control, says(module, arguments, *free, play)),
        };
        let action = match said {
            Said::Success => control.success,
            Said::Failure(failure) => control.failures.get(failure).copied().unwrap_or(Action::Bad),
            Said::Ignore => control.ignore,
        };
        match action {
            Action::Ignore => {}
            Action::Reset => state.decided = None,
            Action::Ok | Action::Done => {
                if state.decided.is_none() && said != Said::Ignore {
                    state.decided = Some(said == Said::Success);
                }
                if action == Action::Done && state.decided == Some(true) {
                    return;
                }
            }
            Action::Bad => state.decided = Some(false),
            Action::Die => {
                state.decided = Some(false);
                return;
            }
            Action::Jump(skip) => {
                if state.decided.is_none() && said == Said::Success {
                    state.decided = Some(true);
                }
                at = at.saturating_add(skip);
            }
        }
    }
}

fn says(module: &str, arguments: &[String], free: Option<usize>, play: Play) -> Said {
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let fails = |fails: bool| if fails { Said::Failure(0) } else { Said::Success };
    let other_way = free.is_some_and(|bit| play.answers >> bit & 1 == 1);
    match module {
        "pam_deny.so" | "pam_rootok.so" => Said::Failure(0),
        "pam_permit.so" => Said::Success,
        "pam_faillock.so" => fails(has("authfail")),
        module if SECOND.contains(&module) => match play.second_fails {
            // Whoever has not set up a second factor passes without one.
            Some(_) if has("nullok") || has("nouserok") => Said::Success,
            Some(failure) => Said::Failure(failure),
            None => fails(other_way),
        },
        module if PASSWORD.contains(&module) || SERVER.contains(&module) => fails(play.password_fails || other_way),
        module if CONDITION.contains(&module) => fails(other_way),
        _ if play.plain_succeeds => Said::Success,
        _ => Said::Ignore,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const COMMON: &str = include_str!("fixtures/mfa/common-auth.debian12");

    fn verdict(service: &str) -> Verdict {
        let files = [
            ("common-auth", COMMON),
            ("common-account", include_str!("fixtures/mfa/common-account.debian12")),
            ("common-password", include_str!("fixtures/mfa/common-password.debian12")),
            ("common-session", include_str!("fixtures/mfa/common-session.debian12")),
            ("common-session-noninteractive", include_str!("fixtures/mfa/common-session-noninteractive.debian12")),
            ("service", service),
        ];
        let files = files.map(|(name, text)| (name.to_string(), Ok(text.to_string())));
        judge("service", &files.into_iter().collect())
    }

    fn told(service: &str) -> (Option<bool>, Option<bool>) {
        let verdict = verdict(service);
        (verdict.second, verdict.password)
    }

    #[test]
    fn debians_services_want_a_password_and_nothing_else() {
        for service in [
            include_str!("fixtures/mfa/sshd.debian12"),
            include_str!("fixtures/mfa/login.debian12"),
            include_str!("fixtures/mfa/su.debian12"),
            include_str!("fixtures/mfa/sudo.debian12"),
        ] {
            assert_eq!(told(service), (Some(false), Some(true)), "{:?}", verdict(service));
        }
    }

    #[test]
    fn a_required_second_factor_beside_the_password_is_required() {
        assert_eq!(told("@include common-auth\nauth required pam_google_authenticator.so\n"), (Some(true), Some(true)));
        assert_eq!(told("auth requisite pam_u2f.so cue\nauth substack common-auth\n"), (Some(true), Some(true)));
        assert_eq!(
            told("auth [success=ok default=die] /lib/security/pam_duo.so\n@include common-auth\n"),
            (Some(true), Some(true))
        );
    }

    #[test]
    fn nullok_makes_it_optional() {
        assert_eq!(told("@include common-auth\nauth required pam_google_authenticator.so nullok\n").0, Some(false));
        assert_eq!(told("@include common-auth\nauth required pam_u2f.so nouserok\n").0, Some(false));
    }

    #[test]
    fn sufficient_earlier_makes_it_optional() {
        assert_eq!(
            told("auth sufficient pam_unix.so\nauth required pam_google_authenticator.so\n"),
            (Some(false), Some(false))
        );
        assert_eq!(told("auth sufficient pam_u2f.so\n@include common-auth\n"), (Some(false), Some(false)));
        let exempted = "auth [success=1 default=ignore] pam_succeed_if.so user ingroup nomfa\n\
                        auth required pam_oath.so\n@include common-auth\n";
        assert_eq!(told(exempted).0, Some(false));
    }

    #[test]
    fn a_factor_that_may_fail_in_a_way_that_the_stack_ignores_is_not_required() {
        let unconfigured =
            "@include common-auth\nauth [success=ok auth_err=die default=ignore] pam_google_authenticator.so\n";
        assert_eq!(told(unconfigured).0, Some(false));
        let strict = "@include common-auth\nauth [success=ok default=die] pam_google_authenticator.so\n";
        assert_eq!(told(strict).0, Some(true));
    }

    #[test]
    fn conditions_and_passwords_answer_each_for_itself() {
        // Who is in the first group and not in the second passes without the second factor.
        let mixed = "auth [success=ignore default=2] pam_succeed_if.so user ingroup a\n\
                     auth [success=1 default=ignore] pam_succeed_if.so user ingroup b\n\
                     auth [default=1] pam_permit.so\n\
                     auth required pam_oath.so\n\
                     @include common-auth\n";
        assert_eq!(told(mixed).0, Some(false));
        // Who has a password on a server only is never asked for it.
        let elsewhere = "auth [success=2 default=ignore] pam_unix.so\n\
                         auth [success=2 default=die] pam_sss.so\n\
                         auth requisite pam_deny.so\n\
                         auth required pam_oath.so\n\
                         auth required pam_permit.so\n";
        assert_ne!(told(elsewhere).0, Some(true));
    }

    #[test]
    fn a_module_that_usually_abstains_may_let_in() {
        assert_eq!(
            told("auth sufficient pam_nologin.so\nauth required pam_oath.so\n@include common-auth\n").0,
            Some(false)
        );
    }

    #[test]
    fn a_module_or_service_from_another_place_is_not_known_by_its_name() {
        assert_eq!(told("auth required /opt/own/pam_oath.so\n@include common-auth\n"), (None, None));
        assert!(verdict("auth include /opt/own/common-auth\n").why.contains("/opt/own/common-auth"));
        assert_eq!(told("@include /etc/pam.d/common-auth\n"), (Some(false), Some(true)));
    }

    #[test]
    fn a_stack_of_too_many_ways_is_unknown() {
        let many = "auth optional pam_succeed_if.so\n".repeat(MOST_FREE + 1);
        assert!(verdict(&format!("{many}@include common-auth\n")).why.contains("either way"));
    }

    #[test]
    fn a_second_factor_without_a_password_leaves_the_password_out() {
        assert_eq!(told("auth required pam_google_authenticator.so\n"), (Some(true), Some(false)));
    }

    #[test]
    fn what_a_server_or_an_unknown_module_wants_is_unknown() {
        assert_eq!(told("auth required pam_sss.so\n"), (None, Some(true)));
        assert!(verdict("auth required pam_house_made.so\n").why.contains("pam_house_made.so"));
        assert_eq!(told("auth required pam_house_made.so\n@include common-auth\n"), (None, None));
    }

    #[test]
    fn what_cannot_be_read_is_unknown() {
        for service in [
            "@include nowhere\n",
            "auth\n",
            "auth required\n",
            "auth [success=x] a.so\n",
            "auth [a=ok b.so\n",
            "\u{1}\n",
            "",
        ] {
            assert_eq!(told(service), (None, None), "{service:?}");
        }
        assert_eq!(told("auth include service\n"), (None, None), "a file that includes itself");
        let files = BTreeMap::from([("service".to_string(), Err("permission denied".to_string()))]);
        assert_eq!(judge("service", &files).why, "permission denied");
        assert_eq!(told("auth required pam_deny.so\n"), (None, None));
    }
}
