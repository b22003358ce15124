//! `host/sshd`: the settings that sshd would apply, as `sshd -T` prints them, and for each `Match` block those of one connection that
//! fits it. It never reads a host key, never starts a server, and never takes a missing program alone as proof that there is no sshd.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    time::Duration,
};

use serde_json::json;

use super::{
    access::{Command, Host},
    kept::{self, Kept, Listing, Reading, fits, record, why_not},
};
use crate::{
    contract::{BoxFuture, CollectError, Collector, Context, Evidence, Need, NeedKind, Population, Records, Spec},
    redact::Redact,
};

const CONFIG: &str = "/etc/ssh/sshd_config";
const DIRECTORY: &str = "/etc/ssh";
const DEFAULT: [&str; 2] = ["sshd", "-T"];
const DPKG: [&str; 5] = ["dpkg-query", "-W", "-f", "${Package}\\t${Status}\\t${Version}\\n", "openssh-server"];
const RPM: [&str; 3] = ["rpm", "-q", "openssh-server"];
const APK: [&str; 4] = ["apk", "info", "-e", "openssh-server"];
/// Where a unit or init script would start an sshd; asked only where no package database answers.
const UNITS: [&str; 5] = [
    "/usr/lib/systemd/system/sshd.service",
    "/usr/lib/systemd/system/ssh.service",
    "/lib/systemd/system/ssh.service",
    "/etc/systemd/system/sshd.service",
    "/etc/init.d/sshd",
];
/// A connection from outside that no `Match` block names: addresses of RFC 5737, a name of RFC 2606.
const OUTSIDE: &str = "user=root,host=client.invalid,addr=203.0.113.1";
/// Another user than root, whom no block is likely to name: the first block that fits decides a setting, so that a block for root
/// hides from root what a later block sets for everybody else.
const SOMEBODY: &str = "somebody";
/// More included files, blocks or contexts than this are not followed, and the list is cut.
const MOST: usize = 64;
/// Settings of which every context has a record, `null` where this sshd does not print it.
const ALWAYS: [&str; 11] = [
    "authenticationmethods",
    "ciphers",
    "clientaliveinterval",
    "kbdinteractiveauthentication",
    "kexalgorithms",
    "macs",
    "maxauthtries",
    "passwordauthentication",
    "permitemptypasswords",
    "permitrootlogin",
    "pubkeyauthentication",
];

const CHECKS: &str = r#"
- id: sshd-root-login
  item: linux_host_access
  population: 'sshd_setting | .keyword == "permitrootlogin"'
  pass: 'if .value == null then null else .value | IN("no", "prohibit-password", "without-password", "forced-commands-only") end'
  says: "sshd lets root log in with a password ({context}: PermitRootLogin {value})"
  unknown: "whether sshd lets root log in with a password is not known ({context}): sshd -T prints no PermitRootLogin"
- id: sshd-password-authentication
  item: linux_host_access
  population: 'sshd_setting | .keyword == "passwordauthentication"'
  pass: 'if .value == null then null elif .value == "no" then true else .alone | if . == null then null else not end end'
  says: "sshd accepts a password alone ({context}: PasswordAuthentication {value})"
  unknown: "whether sshd accepts a password alone is not known ({context}): sshd -T prints no PasswordAuthentication or no AuthenticationMethods"
- id: sshd-keyboard-interactive
  item: linux_host_access
  population: 'sshd_setting | .keyword == "kbdinteractiveauthentication"'
  pass: 'if .value == null then null elif .value == "no" then true else .alone | if . == null then null else not end end'
  says: "sshd accepts keyboard-interactive authentication alone ({context}); host/mfa tells whether PAM asks for a second factor then"
  unknown: "whether sshd accepts keyboard-interactive authentication alone is not known ({context}): sshd -T prints no KbdInteractiveAuthentication or no AuthenticationMethods"
- id: sshd-empty-passwords
  item: linux_host_access
  population: 'sshd_setting | .keyword == "permitemptypasswords"'
  pass: 'if .value == null then null else .value == "no" end'
  says: "sshd accepts empty passwords ({context})"
  unknown: "whether sshd accepts empty passwords is not known ({context}): sshd -T prints no PermitEmptyPasswords"
- id: sshd-authentication-tries
  item: linux_host_access
  population: 'sshd_setting | .keyword == "maxauthtries"'
  pass: 'if .value == null then null else (.value | tonumber) <= ($parameters.sshd_max_auth_tries // 6) end'
  says: "sshd allows {value} authentication attempts in a connection ({context})"
  unknown: "how many authentication attempts sshd allows is not known ({context}): sshd -T prints no MaxAuthTries"
- id: sshd-dead-session-ends
  item: session_logoff
  population: 'sshd_setting | .keyword == "clientaliveinterval"'
  pass: 'if .value == null or .count_max == null then null else (.value | tonumber) as $every | (.count_max | tonumber) as $count | $every > 0 and $count > 0 and $every * $count <= ($parameters.session_idle_seconds // 900) end'
  says: "sshd does not soon end the session of a client that no longer answers ({context}: ClientAliveInterval {value}, ClientAliveCountMax {count_max}); an idle client that answers stays in either case"
  unknown: "whether sshd ends the sessions of clients that no longer answer is not known ({context}): sshd -T prints no ClientAliveInterval or no ClientAliveCountMax"
- id: sshd-ciphers
  item: encryption_transit
  population: 'sshd_setting | .keyword == "ciphers"'
  pass: 'if (.value // "") == "" then null else .value | split(",") | all(IN("3des-cbc", "aes128-cbc", "aes192-cbc", "aes256-cbc", "blowfish-cbc", "cast128-cbc", "arcfour", "arcfour128", "arcfour256", "rijndael-cbc@lysator.liu.se", "none") | not) end'
  says: "sshd offers weak ciphers ({context}): {value}"
  unknown: "which ciphers sshd offers is not known ({context}): sshd -T prints none"
- id: sshd-macs
  item: encryption_transit
  population: 'sshd_setting | .keyword == "macs"'
  pass: 'if (.value // "") == "" then null else .value | split(",") | all(IN("hmac-md5", "hmac-md5-96", "hmac-md5-etm@openssh.com", "hmac-md5-96-etm@openssh.com", "hmac-sha1-96", "hmac-sha1-96-etm@openssh.com", "hmac-ripemd160", "hmac-ripemd160@openssh.com", "hmac-ripemd160-etm@openssh.com", "none") | not) end'
  says: "sshd offers weak message authentication codes ({context}): {value}"
  unknown: "which message authentication codes sshd offers is not known ({context}): sshd -T prints none"
- id: sshd-key-exchange
  item: encryption_transit
  population: 'sshd_setting | .keyword == "kexalgorithms"'
  pass: 'if (.value // "") == "" then null else .value | split(",") | all(IN("diffie-hellman-group1-sha1", "diffie-hellman-group14-sha1", "diffie-hellman-group-exchange-sha1", "rsa1024-sha1") | not) end'
  says: "sshd offers weak key exchange ({context}): {value}"
  unknown: "which key exchange sshd offers is not known ({context}): sshd -T prints none"
"#;

/// Effective sshd settings.
pub struct Sshd {
    host: Host,
    spec: Spec,
}

impl Sshd {
    /// Of this host.
    pub fn new(host: Host) -> Self {
        let need = |kind, what: &str, why: &str| Need { kind, what: what.into(), why: why.into(), cells: Vec::new() };
        let spec = Spec {
            id: "host/sshd".into(),
            version: 1,
            title: "Effective sshd settings".into(),
            source: "host".into(),
            schedule: "20 */6 * * *".into(),
            deadline: Duration::from_secs(300),
            needs: vec![
                need(NeedKind::Command, "sshd -T", "every setting"),
                need(NeedKind::Command, "dpkg-query, rpm or apk", "whether openssh-server is proved absent"),
                need(NeedKind::File, "/etc/ssh/sshd_config and what it includes", "which Match blocks there are"),
                need(
                    NeedKind::Right,
                    "root",
                    "sshd -T reads the host keys first: as another user every setting is unknown",
                ),
            ],
            kinds: vec!["sshd_setting".into()],
            checks: CHECKS.into(),
            inputs: Vec::new(),
            window: None,
        };
        Self { host, spec }
    }
}

impl Collector for Sshd {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn collect<'a>(&'a self, context: &'a mut Context<'_>) -> BoxFuture<'a, Result<(), CollectError>> {
        Box::pin(ask(&self.host, context))
    }

    fn derive(&self, evidence: &dyn Evidence, out: &mut dyn Records) -> io::Result<()> {
        match read(&Kept::read(evidence)?)? {
            Found::Absent(proof) => out.population("sshd_setting", Population::Absent(proof)),
            Found::Unknown(why) => out.population("sshd_setting", Population::Unread(why)),
            Found::Settings { effective, cut } => {
                for context in &effective {
                    put(context, out)?;
                }
                out.population("sshd_setting", cut.map_or(Population::Whole, Population::Cut));
            }
        }
        Ok(())
    }
}

/// What is known of this host's sshd.
#[derive(Debug)]
pub(super) enum Found {
    /// Proved not to be there.
    Absent(String),
    /// Not known, and why.
    Unknown(String),
    /// Its settings in each context; `cut` says why there may be more contexts.
    Settings { effective: Vec<Effective>, cut: Option<String> },
}

/// The settings for one kind of connection.
#[derive(Debug)]
pub(super) struct Effective {
    /// `default`, or the connection asked about, in the words of `sshd -C`.
    pub(super) context: String,
    pub(super) exchange: u64,
    settings: BTreeMap<String, Vec<String>>,
}

impl Effective {
    /// A setting's value; several lines are joined by a comma.
    pub(super) fn value(&self, keyword: &str) -> Option<String> {
        self.settings.get(keyword).map(|lines| lines.join(","))
    }

    /// The lists of methods of which one has to be passed in full; `None` when sshd does not say.
    pub(super) fn methods(&self) -> Option<Vec<Vec<String>>> {
        let said = self.settings.get("authenticationmethods")?;
        let lists = said.iter().flat_map(|line| line.split_whitespace());
        Some(
            lists.map(|list| list.split(',').map(|m| m.split(':').next().unwrap_or(m).to_string()).collect()).collect(),
        )
    }

    /// Whether this method opens a session without another one.
    fn alone(&self, method: &str) -> Option<bool> {
        Some(self.methods()?.iter().any(|list| list.iter().all(|m| m == method || m == "any")))
    }
}

/// Asks for everything that [`read`] needs.
pub(super) async fn ask(host: &Host, context: &mut Context<'_>) -> Result<(), CollectError> {
    let settings = host.run(context, command(&DEFAULT)).await?;
    let mut databases = 0;
    for (argv, codes) in [(&DPKG[..], &[0, 1][..]), (&RPM[..], &[0, 1][..]), (&APK[..], &[0, 1][..])] {
        let answer = host.run(context, command(argv).accept(codes)).await?;
        if answer.answer != crate::contract::Answer::Missing {
            databases += 1;
            break;
        }
    }
    host.list_directory(context, DIRECTORY).await?;
    if databases == 0 {
        for unit in UNITS {
            host.read_file(context, unit, &Redact::nothing()).await?;
        }
    }
    // The files decide which connections to ask about; each is read once, in the order in which they are included.
    let mut texts = BTreeMap::new();
    let mut queue = VecDeque::from([CONFIG.to_string()]);
    while let Some(path) = queue.pop_front() {
        if texts.contains_key(&path) || texts.len() >= MOST {
            continue;
        }
        let exchange = host.read_file(context, &path, &Redact::nothing()).await?;
        let text = String::from_utf8_lossy(&context.recorder.body(&exchange)?).into_owned();
        for pattern in includes(&text) {
            match Included::of(&pattern) {
                Included::File => queue.push_back(pattern),
                Included::In { directory, name } => {
                    let listed = host.list_directory(context, directory).await?;
                    let entries = kept::names(&context.recorder.body(&listed)?);
                    queue.extend(entries.iter().filter(|entry| fits(name, entry)).map(|e| format!("{directory}/{e}")));
                }
                Included::NotFollowed => {}
            }
        }
        texts.insert(path, text);
    }
    if settings.answer == crate::contract::Answer::Ok {
        let blocks: Vec<Block> = texts.iter().flat_map(|(path, text)| blocks(path, text)).collect();
        for connection in connections(&blocks) {
            host.run(context, command(&["sshd", "-T", "-C", &connection])).await?;
        }
    }
    Ok(())
}

/// Reads back what [`ask`] kept.
pub(super) fn read(kept: &Kept<'_>) -> io::Result<Found> {
    let default = match kept.command(&DEFAULT)? {
        Reading::Missing(why) => return absent(kept, &why),
        Reading::Unknown(why) => return refused(kept, why),
        Reading::Text(text) => match effective("default", text.exchange, &text.text) {
            Some(effective) => effective,
            None => return Ok(Found::Unknown("sshd -T: the answer is no list of settings".into())),
        },
    };
    let mut cut = Vec::new();
    let blocks = configured(kept, &mut cut)?;
    let mut all = vec![default];
    cut.extend(
        blocks.iter().filter(|block| block.connections.is_empty()).map(|block| {
            format!("{}: no connection could be asked about for \"Match {}\"", block.place, block.criteria)
        }),
    );
    for connection in connections(&blocks) {
        let argv = ["sshd", "-T", "-C", &connection];
        match kept.command(&argv)? {
            Reading::Text(text) => match effective(&connection, text.exchange, &text.text) {
                Some(effective) => all.push(effective),
                None => cut.push(format!("{}: the answer is no list of settings", argv.join(" "))),
            },
            Reading::Missing(why) | Reading::Unknown(why) => cut.push(why),
        }
    }
    let cut = (!cut.is_empty()).then(|| cut.join("; "));
    Ok(Found::Settings { effective: all, cut })
}

fn put(context: &Effective, out: &mut dyn Records) -> io::Result<()> {
    let keywords: BTreeSet<&str> = context.settings.keys().map(String::as_str).chain(ALWAYS).collect();
    for keyword in keywords {
        let mut fields = json!({"context": context.context, "keyword": keyword, "value": context.value(keyword)});
        match keyword {
            "passwordauthentication" => fields["alone"] = json!(context.alone("password")),
            "kbdinteractiveauthentication" => fields["alone"] = json!(context.alone("keyboard-interactive")),
            "clientaliveinterval" => fields["count_max"] = json!(context.value("clientalivecountmax")),
            _ => {}
        }
        let id = format!("{}/{keyword}", context.context);
        out.record("sshd_setting", record(id, None, context.exchange, fields))?;
    }
    Ok(())
}

fn command(argv: &[&str]) -> Command {
    Command::new(argv.iter().copied()).timeout(Duration::from_secs(20)).limit(1 << 20)
}

/// The keywords and values of `sshd -T`; `None` when the text is something else.
fn effective(context: &str, exchange: u64, text: &str) -> Option<Effective> {
    let mut settings: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
        if !keyword.chars().all(|c| c.is_ascii_alphanumeric()) {
            return None;
        }
        settings.entry(keyword.to_ascii_lowercase()).or_default().push(value.trim().into());
    }
    // Two settings that every sshd prints: a list cut between lines must not look like a shorter list.
    let whole = settings.contains_key("port") && settings.contains_key("permitrootlogin") && text.ends_with('\n');
    whole.then(|| Effective { context: context.into(), exchange, settings })
}

/// The program is not there. Is the package?
fn absent(kept: &Kept<'_>, no_program: &str) -> io::Result<Found> {
    let mut doubts = Vec::new();
    for argv in [&DPKG[..], &RPM[..], &APK[..]] {
        match kept.command(argv)? {
            Reading::Missing(_) => {}
            Reading::Unknown(why) => return Ok(Found::Unknown(format!("{no_program}, but {why}"))),
            Reading::Text(text) => {
                let said = format!("{} {}", text.text.trim(), text.stderr.trim()).trim().replace('\t', " ");
                return Ok(match package(argv[0], text.exit_code, &text.text, &text.stderr) {
                    Some(false) => {
                        let said = if said.is_empty() { "nothing".into() } else { format!("\"{said}\"") };
                        let asked = argv[0];
                        Found::Absent(format!("openssh-server is not installed ({no_program}; {asked} says {said})"))
                    }
                    Some(true) => Found::Unknown(format!("{no_program}, but {} says \"{said}\"", argv[0])),
                    None => {
                        Found::Unknown(format!("{no_program}, and {} answered nothing usable: \"{said}\"", argv[0]))
                    }
                });
            }
        }
    }
    for path in [CONFIG].iter().chain(&UNITS) {
        match kept.file(path)? {
            Reading::Missing(_) => {}
            Reading::Text(_) => doubts.push(format!("{path} is there")),
            Reading::Unknown(why) => doubts.push(why),
        }
    }
    Ok(if doubts.is_empty() {
        Found::Absent(format!("no sshd here ({no_program}; no package database, no {CONFIG}, no unit)"))
    } else {
        Found::Unknown(format!("{no_program}, but {}", doubts.join("; ")))
    })
}

/// Whether a package database says that the package is installed; `None` when its answer is not understood.
pub(super) fn package(database: &str, exit_code: i32, out: &str, stderr: &str) -> Option<bool> {
    match (database, exit_code) {
        ("dpkg-query", 0) => {
            let status = out.trim().split('\t').nth(1)?;
            let state = status.split_whitespace().last()?;
            match state {
                "not-installed" | "config-files" => Some(false),
                _ => Some(true),
            }
        }
        ("dpkg-query", 1) if stderr.contains("no packages found") => Some(false),
        ("rpm", 0) if !out.trim().is_empty() => Some(true),
        ("rpm", 1) if out.contains("is not installed") => Some(false),
        ("apk", 0) => Some(!out.trim().is_empty()),
        ("apk", 1) if out.trim().is_empty() && stderr.trim().is_empty() => Some(false),
        _ => None,
    }
}

/// `sshd -T` answered with an error: what to do about it.
fn refused(kept: &Kept<'_>, why: String) -> io::Result<Found> {
    let exchange = kept.run(&DEFAULT);
    if !exchange.is_some_and(|e| e.stderr.contains("no hostkeys available")) {
        return Ok(Found::Unknown(why));
    }
    let root = exchange.is_some_and(|e| e.caller.starts_with("uid 0"));
    let keys = match kept.directory(DIRECTORY)? {
        Listing::Entries(_, entries) => Some(entries.iter().any(|e| fits("ssh_host_*_key", &e.name))),
        _ => None,
    };
    let why = exchange.map_or(why, |exchange| why_not(exchange, "sshd -T"));
    Ok(Found::Unknown(match keys {
        Some(false) => format!(
            "{why}: there is no host key in {DIRECTORY}, and without one sshd -T prints nothing; make them with ssh-keygen -A"
        ),
        _ if !root => format!("{why}: the host keys may not be read; run as root to know"),
        _ => format!("{why}: no host key could be read"),
    }))
}

/// A `Match` block.
#[derive(Debug)]
struct Block {
    place: String,
    criteria: String,
    /// Connections that fit it, as `sshd -C` takes them; none where none can be made up.
    connections: Vec<String>,
}

/// The `Match` blocks of the configuration files as they were read; adds to `cut` what was not.
fn configured(kept: &Kept<'_>, cut: &mut Vec<String>) -> io::Result<Vec<Block>> {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let mut queue = VecDeque::from([CONFIG.to_string()]);
    while let Some(path) = queue.pop_front() {
        if seen.contains_key(&path) {
            continue;
        }
        if seen.len() >= MOST {
            cut.push(format!("more than {MOST} configuration files: {path} and others were not read for Match blocks"));
            break;
        }
        let text = match kept.file(&path)? {
            Reading::Text(text) => text.text,
            // sshd itself passes over an included file that is not there.
            Reading::Missing(_) => String::new(),
            Reading::Unknown(why) => {
                cut.push(format!("{why}: it may hold Match blocks"));
                String::new()
            }
        };
        for pattern in includes(&text) {
            let (directory, name) = match Included::of(&pattern) {
                Included::In { directory, name } => (directory, name),
                Included::File => {
                    queue.push_back(pattern);
                    continue;
                }
                Included::NotFollowed => {
                    cut.push(format!("{path}: Include {pattern} was not followed: its files may hold Match blocks"));
                    continue;
                }
            };
            match kept.directory(directory)? {
                Listing::Entries(_, entries) => {
                    let fitting = entries.iter().filter(|entry| fits(name, &entry.name));
                    queue.extend(fitting.map(|entry| format!("{directory}/{}", entry.name)));
                }
                Listing::Missing(_) => {}
                Listing::Unknown(why) => cut.push(format!("{why}: its files may hold Match blocks")),
            }
        }
        seen.insert(path, text);
    }
    let blocks: Vec<Block> = seen.iter().flat_map(|(path, text)| blocks(path, text)).collect();
    let wanted = all_connections(&blocks).len();
    if wanted > MOST {
        cut.push(format!("the Match blocks want {wanted} connections to be asked about, of which {MOST} were"));
    }
    Ok(blocks)
}

/// The connections to ask about: none without `Match` blocks.
fn connections(blocks: &[Block]) -> Vec<String> {
    let mut all = all_connections(blocks);
    all.truncate(MOST);
    all
}

fn all_connections(blocks: &[Block]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    if !blocks.is_empty() {
        all.extend([OUTSIDE.to_string(), OUTSIDE.replace("root", SOMEBODY)]);
    }
    for connection in blocks.iter().flat_map(|block| &block.connections) {
        if !all.contains(connection) {
            all.push(connection.clone());
        }
    }
    all
}

/// Keyword and arguments of each line.
fn lines(text: &str) -> impl Iterator<Item = (usize, String, Vec<String>)> {
    text.lines().enumerate().filter_map(|(number, line)| {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let (keyword, rest) = line.split_once([' ', '\t', '=']).unwrap_or((line, ""));
        let rest = rest.trim_start_matches([' ', '\t', '=']);
        let words = rest.split_whitespace().map(|word| word.trim_matches('"').to_string());
        let words = words.take_while(|word| !word.starts_with('#')).collect();
        Some((number + 1, keyword.to_ascii_lowercase(), words))
    })
}

/// The patterns of `Include` lines, as absolute paths.
fn includes(text: &str) -> Vec<String> {
    let all = lines(text).filter(|(_, keyword, _)| keyword == "include").flat_map(|(_, _, words)| words);
    all.map(|word| if word.starts_with('/') { word } else { format!("{DIRECTORY}/{word}") }).collect()
}

/// What an `Include` names.
enum Included<'a> {
    File,
    /// The files of a directory that fit a pattern of `*` and `?`.
    In {
        directory: &'a str,
        name: &'a str,
    },
    /// A pattern of another kind (glob(7)), or one among the directories.
    NotFollowed,
}

impl<'a> Included<'a> {
    fn of(pattern: &'a str) -> Self {
        let (directory, name) = pattern.rsplit_once('/').unwrap_or((DIRECTORY, pattern));
        if pattern.contains(['[', '{', '\\', '~']) || directory.contains(['*', '?']) {
            Self::NotFollowed
        } else if name.contains(['*', '?']) {
            Self::In { directory, name }
        } else {
            Self::File
        }
    }
}

/// The `Match` blocks of one file.
fn blocks(path: &str, text: &str) -> Vec<Block> {
    let matches = lines(text).filter(|(_, keyword, _)| keyword == "match");
    matches
        .map(|(number, _, words)| Block {
            place: format!("{path} line {number}"),
            criteria: words.join(" "),
            connections: examples(&words).unwrap_or_default(),
        })
        .collect()
}

/// Connections that fit a block's criteria: one for each way to meet them, since an earlier block may name one of them and decide for
/// it. `None` where none can be made up (groups, negations alone).
fn examples(words: &[String]) -> Option<Vec<String>> {
    let mut users = vec!["root".to_string(), SOMEBODY.to_string()];
    let (mut hosts, mut addresses) = (vec!["client.invalid".to_string()], vec!["203.0.113.1".to_string()]);
    let mut locals = vec![String::new()];
    let all = words.len() == 1 && words[0].eq_ignore_ascii_case("all");
    // `user=deploy` and `user deploy` are the same.
    let words: Vec<&str> = words.iter().flat_map(|word| word.splitn(2, '=')).filter(|word| !word.is_empty()).collect();
    if !all && (words.is_empty() || !words.len().is_multiple_of(2)) {
        return None;
    }
    for pair in words.chunks_exact(2) {
        let fitting = |star: &str| -> Option<Vec<String>> {
            let patterns = pair[1].split(',').filter(|pattern| !pattern.starts_with('!'));
            let made: Vec<String> = patterns
                .map(|pattern| pattern.split('/').next().unwrap_or(pattern).replace('*', star).replace('?', "1"))
                .collect();
            (!made.is_empty() && !made.iter().any(|made| made.contains('='))).then_some(made)
        };
        let with = |locals: &[String], key: &str, values: &[String]| -> Vec<String> {
            locals.iter().flat_map(|local| values.iter().map(move |value| format!("{local},{key}={value}"))).collect()
        };
        match pair[0].to_ascii_lowercase().as_str() {
            "user" => users = fitting("x")?,
            "host" => hosts = fitting("x")?,
            "address" => addresses = fitting("1")?,
            "localaddress" => locals = with(&locals, "laddr", &fitting("1")?),
            "localport" => locals = with(&locals, "lport", &fitting("1")?),
            _ => return None,
        }
    }
    let mut all = Vec::new();
    for (user, host) in users.iter().flat_map(|user| hosts.iter().map(move |host| (user, host))) {
        for (address, local) in addresses.iter().flat_map(|a| locals.iter().map(move |local| (a, local))) {
            // One more than is asked about shows that there are more.
            if all.len() <= MOST {
                all.push(format!("user={user},host={host},addr={address}{local}"));
            }
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests;
