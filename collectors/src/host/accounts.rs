//! `host/accounts`: who has an account on the host, who is privileged and by which path, and what sudo allows. It never keeps a password
//! hash, and never asks a directory service: accounts from elsewhere make its lists cut.

mod derive;
mod files;
mod logins;
mod rules;
mod sudoers;

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    time::Duration,
};

use self::sudoers::Line;
use super::{
    access::{Command, Host},
    kept,
};
use crate::{
    contract::{
        Answer, BoxFuture, CollectError, Collector, Context, Evidence, Exchange, Need, NeedKind, Records, Spec,
    },
    redact::Redact,
};

/// More sudoers files than this are not read; deriving then names the first that is missing.
const SUDOERS_FILES: usize = 500;

/// Accounts and privileged access.
pub struct Accounts {
    host: Host,
    spec: Spec,
}

impl Accounts {
    /// Of this host.
    pub fn new(host: Host) -> Self {
        let need = |kind, what: &str, why: &str| Need { kind, what: what.into(), why: why.into(), cells: Vec::new() };
        let (file, command, right) = (NeedKind::File, NeedKind::Command, NeedKind::Right);
        let spec = Spec {
            id: "host/accounts".into(),
            version: 1,
            title: "Accounts, privileged access and sudo rules".into(),
            source: "host".into(),
            schedule: "10 */6 * * *".into(),
            deadline: Duration::from_secs(300),
            needs: vec![
                need(file, "/etc/passwd", "every account"),
                need(file, "/etc/group", "who is privileged"),
                need(
                    file,
                    "/etc/shadow",
                    "the states of passwords, and expiry; the hashes are removed before anything is kept",
                ),
                need(file, "/etc/sudoers and what it includes", "sudo rules, and who is privileged by them"),
                need(file, "/etc/sudo.conf", "whether sudo takes its rules from elsewhere"),
                need(file, "/etc/doas.conf", "whether there are rules beside sudo's, which are not interpreted"),
                need(
                    file,
                    "/etc/nsswitch.conf and systemd's userdb directories",
                    "whether accounts come from elsewhere too",
                ),
                need(file, "/etc/login.defs", "which uids are people's"),
                need(command, "last, lastlog or lastlog2", "last logins"),
                need(right, "root", "/etc/shadow and /etc/sudoers; without it passwords and privileges are unknown"),
            ],
            kinds: vec!["account".into(), "sudo_rule".into()],
            checks: include_str!("accounts/checks.yaml").into(),
            inputs: Vec::new(),
            window: None,
        };
        Self { host, spec }
    }
}

impl Collector for Accounts {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn collect<'a>(&'a self, context: &'a mut Context<'_>) -> BoxFuture<'a, Result<(), CollectError>> {
        Box::pin(ask(&self.host, context))
    }

    fn derive(&self, evidence: &dyn Evidence, out: &mut dyn Records) -> io::Result<()> {
        derive::derive(evidence, out)
    }
}

async fn ask(host: &Host, context: &mut Context<'_>) -> Result<(), CollectError> {
    let nothing = Redact::nothing();
    let nss = host.read_file(context, "/etc/nsswitch.conf", &nothing).await?;
    host.read_file(context, "/etc/login.defs", &nothing).await?;
    host.read_file(context, "/etc/passwd", &files::passwd_redact()).await?;
    host.read_file(context, "/etc/group", &files::group_redact()).await?;
    host.read_file(context, "/etc/shadow", &files::shadow_redact()).await?;
    let nss = text(context, &nss)?;
    if files::nss_sources(&nss, "passwd").iter().any(|source| source == "systemd") {
        for path in derive::USERDB {
            host.list_directory(context, path).await?;
        }
    }
    ask_sudoers(host, context).await?;
    host.read_file(context, rules::SUDO_CONF, &nothing).await?;
    host.read_file(context, "/etc/doas.conf", &files::hash_redact("/etc/doas.conf")).await?;
    for argv in derive::LOGINS {
        host.run(context, Command::new(argv.iter().copied())).await?;
    }
    Ok(())
}

/// Follows sudoers' includes, each file and directory once.
async fn ask_sudoers(host: &Host, context: &mut Context<'_>) -> Result<(), CollectError> {
    let [first, second, other] = rules::SUDOERS;
    let mut waiting: VecDeque<(String, bool)> = [(first.to_string(), false), (other.to_string(), false)].into();
    let mut asked = BTreeSet::new();
    while let Some((path, directory)) = waiting.pop_front() {
        if asked.len() >= SUDOERS_FILES || !asked.insert(path.clone()) {
            continue;
        }
        if directory {
            let listed = host.list_directory(context, &path).await?;
            let entries = kept::entries(&context.recorder.body(&listed)?);
            let read = entries.iter().filter(|e| e.is_file() && sudoers::is_read_from_directory(&e.name));
            waiting.extend(read.map(|entry| (format!("{path}/{}", entry.name), false)));
            continue;
        }
        let exchange = host.read_file(context, &path, &files::hash_redact(&path)).await?;
        if exchange.answer == Answer::Missing && path == first {
            waiting.push_front((second.to_string(), false));
        }
        for line in sudoers::lines(&text(context, &exchange)?) {
            let (target, directory) = match &line {
                Line::Include(target) => (target, false),
                Line::IncludeDirectory(target) => (target, true),
                Line::Other { .. } => continue,
            };
            waiting.extend(sudoers::resolve(target, &path).map(|target| (target, directory)));
        }
    }
    Ok(())
}

fn text(context: &Context<'_>, exchange: &Exchange) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&context.recorder.body(exchange)?).into_owned())
}

#[cfg(test)]
mod tests;
