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
    Module { control: Control, module: String, arguments: Vec<String> },
    Sub(Vec<Entry>),
}

#[derive(Debug)]
struct Control {
    success: Action,
    failure: Action,
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
    Failure,
    Ignore,
}

/// Which modules are wrong in one play.
#[derive(Clone, Copy)]
struct Play {
    second_fails: bool,
    password_fails: bool,
    conditions_hold: bool,
}

/// Judges a service's `auth` stack.
pub(super) fn judge(service: &str, files: &Files) -> Verdict {
    let unknown = |why: String| Verdict { second: None, password: None, modules: Vec::new(), why };
    let stack = match stack(service, files, 0) {
        Ok(stack) => stack,
        Err(why) => return unknown(why),
    };
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
    // Each with the conditions met and not met.
    let plays = |second_fails, password_fails| {
        [true, false].map(|conditions_hold| passes(&stack, Play { second_fails, password_fails, conditions_hold }))
    };
    if plays(false, false) == [false, false] {
        return Verdict { modules: seconds, ..unknown("no login passes this stack".into()) };
    }
    let needs = |passed: [bool; 2]| passed == [false, false];
    let server = names.iter().find(|name| SERVER.contains(&name.as_str()));
    let (second, why) = if seconds.is_empty() {
        match server {
            Some(server) => (None, format!("{server} asks a server, which may want a second factor")),
            None => (Some(false), "no module of the stack asks for a second factor".to_string()),
        }
    } else if needs(plays(true, false)) {
        (Some(true), format!("no login passes without {}", seconds.join(", ")))
    } else {
        match server {
            Some(server) => {
                (None, format!("a login passes without {}, but {server} may want a second factor", seconds.join(", ")))
            }
            None => (Some(false), format!("a login passes without {}", seconds.join(", "))),
        }
    };
    Verdict { second, password: Some(needs(plays(false, true))), modules: seconds, why }
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
            entries.extend(stack(file_name(included.trim()), files, depth + 1)?);
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
            "include" => entries.extend(stack(file_name(module), files, depth + 1)?),
            "substack" => entries.push(Entry::Sub(stack(file_name(module), files, depth + 1)?)),
            control => {
                let control =
                    parse_control(control).ok_or_else(|| format!("{service}: \"{control}\" is no control"))?;
                let arguments = words.map(String::from).collect();
                entries.push(Entry::Module { control, module: file_name(module).into(), arguments });
            }
        }
    }
    Ok(entries)
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
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
    let (success, failure, ignore) = match text {
        "required" => (Ok, Bad, Ignore),
        "requisite" => (Ok, Die, Ignore),
        "sufficient" => (Done, Ignore, Ignore),
        "optional" => (Ok, Ignore, Ignore),
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
            (of("success"), of("auth_err"), of("ignore"))
        }
    };
    Some(Control { success, failure, ignore })
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
            Entry::Module { control, module, arguments } => (control, says(module, arguments, play)),
        };
        let action = match said {
            Said::Success => control.success,
            Said::Failure => control.failure,
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

fn says(module: &str, arguments: &[String], play: Play) -> Said {
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let fails = |fails: bool| if fails { Said::Failure } else { Said::Success };
    match module {
        "pam_deny.so" | "pam_rootok.so" => Said::Failure,
        "pam_permit.so" => Said::Success,
        "pam_faillock.so" => fails(has("authfail")),
        // Whoever has not set up a second factor passes without one.
        module if SECOND.contains(&module) => fails(play.second_fails && !has("nullok") && !has("nouserok")),
        module if PASSWORD.contains(&module) || SERVER.contains(&module) => fails(play.password_fails),
        module if CONDITION.contains(&module) => fails(!play.conditions_hold),
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
