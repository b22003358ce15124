//! Keys in AWS KMS and in a PKCS#11 token: archives that verify, services that are away, and refusals that say what to do. SoftHSM2 stands
//! in for a token; where it is not installed, its tests say SKIPPED.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output},
};

use serde_json::Value;
use tests::{
    aws::{Kms, python},
    program::{Place, stop, text, until},
    tools,
};

/// The program in a place, with what its key service needs.
struct Agent {
    place: Place,
    variables: Vec<(&'static str, String)>,
}

impl Agent {
    fn new(variables: Vec<(&'static str, String)>, receipts: &str, checkpoints: &str) -> Self {
        let agent = Self { place: Place::new(), variables };
        agent.configure(receipts, checkpoints, "[]");
        agent
    }

    fn configure(&self, receipts: &str, checkpoints: &str, earlier: &str) {
        let yaml = format!(
            "append_every: 1s\nsigning:\n  receipts: {receipts}\n  checkpoints: {checkpoints}\n  keys: keys/keys.json\n  \
             earlier: {earlier}\n"
        );
        fs::write(self.place.path().join("evidenced.yaml"), yaml).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.command(arguments);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn expect(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        said
    }

    /// What a command says that does not succeed.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_ne!(output.status.code(), Some(0), "{}", text(&output.stdout));
        text(&output.stderr)
    }

    fn start(&self) -> Child {
        let file = fs::File::create(self.place.path().join("daemon.err")).unwrap();
        self.place.answering(self.command(&["run"]).stderr(file).spawn().unwrap())
    }

    /// Collects what cannot be signed now: it waits, and `status` says why.
    fn waits(&self, why: &str) {
        let said = self.expect(2, &["collect", "host/mfa"]);
        assert!(said.contains("waits in the spool"), "{said}");
        let status = text(&self.run(&["status"]).stdout);
        assert!(status.contains("cannot sign") && status.contains(why), "{status}");
    }

    /// Waits until nothing waits.
    fn drained(&self) {
        until("the spool to be empty", || {
            let status: Value = serde_json::from_slice(&self.run(&["status", "--json"]).stdout).unwrap();
            status["spooled"] == 0
        });
    }

    /// The archive is intact. Nothing but the archive is asked.
    fn intact(&self) -> String {
        let verdict = self.place.expect(0, ["verify", "./evidence", "--trust", &self.place.root(), "--deep"]);
        assert!(verdict.contains("ARCHIVE INTACT"), "{verdict}");
        verdict
    }
}

fn kms(aliases: &[&str]) -> (Kms, Agent) {
    let kms = Kms::start();
    aliases.iter().for_each(|alias| kms.make(alias, "ed25519"));
    let variables = vec![
        ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "for-tests-on-this-machine-only".to_owned()),
        ("AWS_REGION", "eu-west-1".to_owned()),
        ("AWS_ENDPOINT_URL_KMS", kms.endpoint()),
    ];
    let written = format!("{{kms: {{key: alias/checkpoints, region: eu-west-1, endpoint: \"{}\"}}}}", kms.endpoint());
    (kms, Agent::new(variables, "{kms: alias/receipts}", &written))
}

#[test]
fn the_stand_in_for_kms_is_as_botocore_s_model_has_it() {
    let (kms, _) = kms(&["a"]);
    let output = python().args(["aws_kms.py", "check", &kms.endpoint(), "a"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn kms_signs_an_archive_that_verifies_and_what_it_cannot_sign_waits_for_it() {
    let (kms, agent) = kms(&["receipts", "checkpoints"]);
    agent.expect(0, &["keys", "init"]);
    for file in ["receipts.pem", "checkpoint.pem"] {
        assert!(!agent.place.path().join("keys").join(file).exists(), "{file}");
    }
    agent.expect(0, &["collect", "host/mfa"]);
    agent.intact();
    let child = agent.start();
    for (fault, why) in [
        ("away", "KMSInternalException"),
        ("throttle", "ThrottlingException"),
        ("denied", "Allow kms:GetPublicKey and kms:Sign"),
        ("wrong", "not by this key"),
    ] {
        kms.is(fault, true);
        agent.waits(why);
        kms.is(fault, false);
        agent.drained();
    }
    stop(child);
    // A start without it goes by keys.json.
    kms.is("away", true);
    let child = agent.start();
    let said = agent.place.said();
    assert!(said.contains("kms key alias/receipts does not answer"), "{said}");
    agent.waits("KMSInternalException");
    kms.is("away", false);
    agent.drained();
    stop(child);
    agent.intact();
}

#[test]
fn a_kms_key_that_cannot_be_used_is_refused_at_the_start_with_the_remedy() {
    let (kms, agent) = kms(&["receipts", "checkpoints"]);
    kms.make("wrong-kind", "p256");
    agent.configure("{kms: alias/none}", "{kms: alias/checkpoints}", "[]");
    let said = agent.refused(&["keys", "init"]);
    assert!(said.contains("NotFoundException") && said.contains("Correct the key's name"), "{said}");
    agent.configure("{kms: alias/wrong-kind}", "{kms: alias/checkpoints}", "[]");
    let said = agent.refused(&["keys", "init"]);
    assert!(said.contains("ECC_NIST_P256") && said.contains("ECC_NIST_EDWARDS25519 for SIGN_VERIFY"), "{said}");
    agent.configure("{kms: alias/receipts}", "{kms: alias/checkpoints}", "[]");
    agent.expect(0, &["keys", "init"]);
    kms.is("denied", true);
    let said = agent.refused(&["collect", "host/mfa"]);
    assert!(
        said.contains("kms key alias/receipts cannot be used") && said.contains("Allow kms:GetPublicKey"),
        "{said}"
    );
    kms.is("denied", false);
    kms.make("receipts", "ed25519");
    let said = agent.refused(&["collect", "host/mfa"]);
    assert!(said.contains("does not allow it") && said.contains("a revision of keys.json"), "{said}");
    assert!(!agent.place.path().join("evidence").exists());
}

#[test]
fn keys_in_files_are_followed_by_keys_in_kms() {
    let (_kms, agent) = kms(&["receipts", "checkpoints"]);
    let (receipts, checkpoints) = ("{file: keys/receipts.pem}", "{file: keys/checkpoint.pem}");
    agent.configure(receipts, checkpoints, "[]");
    agent.expect(0, &["keys", "init"]);
    agent.expect(0, &["collect", "host/mfa"]);
    agent.configure("{kms: alias/receipts}", "{kms: alias/checkpoints}", &format!("[{receipts}, {checkpoints}]"));
    agent.expect(0, &["keys", "rotate"]);
    agent.expect(0, &["collect", "host/mfa"]);
    agent.expect(0, &["collect", "host/mfa"]);
    agent.configure("{kms: alias/receipts}", "{kms: alias/checkpoints}", "[]");
    agent.expect(0, &["collect", "host/mfa"]);
    agent.intact();
}

/// A token of SoftHSM2 with two keys.
struct Token {
    directory: tempfile::TempDir,
    module: PathBuf,
}

impl Token {
    /// `None`, with the reason printed, where SoftHSM2 is not installed.
    fn new() -> Option<Self> {
        let modules =
            ["/usr/lib/softhsm", "/usr/lib64/softhsm", "/usr/lib/x86_64-linux-gnu/softhsm", "/usr/local/lib/softhsm"];
        let module = modules.iter().map(|at| Path::new(at).join("libsofthsm2.so")).find(|path| path.is_file());
        let (Some(module), Some(_)) = (module, tools::which("softhsm2-util")) else {
            tools::skipped("SoftHSM2 is not installed; Debian has it in softhsm2");
            return None;
        };
        let token = Self { directory: tempfile::tempdir().unwrap(), module };
        fs::create_dir(token.tokens()).unwrap();
        let settings = format!("directories.tokendir = {}\nlog.level = ERROR\n", token.tokens().display());
        fs::write(token.configuration(), settings).unwrap();
        token.util(&["--init-token", "--free", "--label", "evidence", "--pin", "1234", "--so-pin", "5678"]);
        for (label, id) in [("receipts", "01"), ("checkpoints", "02")] {
            let pem = token.path("key.pem");
            let openssl = tools::debian("openssl", "openssl").expect("openssl can be had");
            let made =
                Command::new(openssl).args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(&pem).output().unwrap();
            assert!(made.status.success(), "{}", text(&made.stderr));
            token.util(&[
                "--import",
                pem.to_str().unwrap(),
                "--token",
                "evidence",
                "--label",
                label,
                "--id",
                id,
                "--pin",
                "1234",
            ]);
        }
        token.pin("1234", 0o600);
        Some(token)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn tokens(&self) -> PathBuf {
        self.path("tokens")
    }

    fn configuration(&self) -> PathBuf {
        self.path("softhsm2.conf")
    }

    fn util(&self, arguments: &[&str]) {
        let output =
            Command::new("softhsm2-util").args(arguments).env("SOFTHSM2_CONF", self.configuration()).output().unwrap();
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    }

    fn pin(&self, pin: &str, mode: u32) {
        fs::write(self.path("pin"), format!("{pin}\n")).unwrap();
        fs::set_permissions(self.path("pin"), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn key(&self, module: &Path, name: &str) -> String {
        let (module, pin) = (module.display(), self.path("pin"));
        format!("{{pkcs11: {{module: {module}, token_label: evidence, {name}, pin_file: {}}}}}", pin.display())
    }

    fn agent(&self) -> Agent {
        let variables = vec![("SOFTHSM2_CONF", self.configuration().display().to_string())];
        Agent::new(variables, &self.key(&self.module, "label: receipts"), &self.key(&self.module, "id: '02'"))
    }
}

#[test]
fn a_token_signs_an_archive_that_verifies_and_one_that_is_gone_is_waited_for() {
    let Some(token) = Token::new() else { return };
    let agent = token.agent();
    agent.expect(0, &["keys", "init"]);
    agent.expect(0, &["collect", "host/mfa"]);
    agent.intact();
    let gone = token.path("gone");
    fs::rename(token.tokens(), &gone).unwrap();
    fs::create_dir(token.tokens()).unwrap();
    let child = agent.start();
    let said = agent.place.said();
    assert!(said.contains("does not answer") && said.contains("there is no such token"), "{said}");
    agent.waits("there is no such token");
    fs::remove_dir(token.tokens()).unwrap();
    fs::rename(&gone, token.tokens()).unwrap();
    agent.drained();
    agent.expect(0, &["collect", "host/mfa"]);
    stop(child);
    agent.intact();
}

#[test]
fn a_token_that_cannot_be_used_is_refused_with_the_remedy_and_its_pin_is_never_shown() {
    let Some(token) = Token::new() else { return };
    let agent = token.agent();
    agent.expect(0, &["keys", "init"]);
    for (pin, mode, says) in [("4321987", 0o600, "the PIN in"), ("1234", 0o640, "chmod 600"), ("1234", 0o644, "0644")] {
        token.pin(pin, mode);
        let said = agent.refused(&["collect", "host/mfa"]);
        assert!(said.contains("cannot be used") && said.contains(says), "{said}");
        assert!(!said.contains(pin), "{said}");
    }
    token.pin("1234", 0o600);
    let (here, checkpoints) = (&token.module, token.key(&token.module, "label: checkpoints"));
    let text_file = token.path("no-module.so");
    fs::write(&text_file, "text").unwrap();
    for (key, says) in [
        (token.key(here, "label: nobody"), "0 private keys of that name"),
        (token.key(Path::new("/nowhere/hsm.so"), "label: receipts"), "install it, or correct `module`"),
        (token.key(&text_file, "label: receipts"), "cannot be loaded"),
    ] {
        agent.configure(&key, &checkpoints, "[]");
        let said = agent.refused(&["collect", "host/mfa"]);
        assert!(said.contains(says), "{says}: {said}");
    }
    assert!(!agent.place.path().join("evidence").exists());
}
