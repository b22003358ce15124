//! A time stamping authority (RFC 3161) of `openssl ts`, with a root and an intermediate certificate, without a network.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
};

use crate::tools;

const CONFIGURATION: &str = "\
[tsa]
serial = serial
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_alg = sha256
signer_digest = sha256
";

/// An authority that answers at once, with this machine's time.
pub struct Tsa {
    directory: tempfile::TempDir,
    openssl: PathBuf,
    one: Mutex<()>,
}

impl Tsa {
    /// With keys of `algorithm`, as `openssl genpkey` names it with its options (`RSA`, `EC -pkeyopt ec_paramgen_curve:P-256`).
    pub fn new(name: &str, algorithm: &str) -> Self {
        let openssl = tools::debian("openssl", "openssl").expect("openssl can be had");
        let directory = tempfile::tempdir().expect("a scratch directory can be made");
        let tsa = Self { directory, openssl, one: Mutex::new(()) };
        let file = |name: &str, text: &str| fs::write(tsa.path().join(name), text).expect("a file can be written");
        file("tsa.cnf", CONFIGURATION);
        file("serial", "01\n");
        // Longer than the authority's own, so that tokens have the two in the order of DER, which openssl does not see to. cosign wants the
        // use on this one too.
        file(
            "ca.ext",
            "basicConstraints=critical,CA:TRUE\nextendedKeyUsage=timeStamping\nnsComment=an authority of tests alone\n",
        );
        file("tsa.ext", "extendedKeyUsage=critical,timeStamping\nkeyUsage=critical,digitalSignature\n");
        for key in ["root", "ca", "tsa"] {
            tsa.run(&format!("genpkey -algorithm {algorithm} -out {key}.key"));
        }
        let subject = |role| format!("/O={name}/CN={name}-{role}");
        tsa.run(&format!(
            "req -x509 -new -key root.key -days 3650 -subj {} -addext basicConstraints=critical,CA:TRUE -out root.pem",
            subject("root")
        ));
        for (key, by, extensions) in [("ca", "root", "ca.ext"), ("tsa", "ca", "tsa.ext")] {
            tsa.run(&format!("req -new -key {key}.key -subj {} -out {key}.csr", subject(key)));
            tsa.run(&format!(
                "x509 -req -in {key}.csr -CA {by}.pem -CAkey {by}.key -CAcreateserial -days 3000 -extfile {extensions} -out {key}.pem"
            ));
        }
        tsa
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn run(&self, arguments: &str) {
        let output = Command::new(&self.openssl).args(arguments.split(' ')).current_dir(self.path()).output();
        let output = output.expect("openssl starts");
        assert!(output.status.success(), "openssl {arguments}: {}", crate::program::text(&output.stderr));
    }

    /// The root certificate as PEM.
    pub fn root(&self) -> PathBuf {
        self.path().join("root.pem")
    }

    /// The whole response (DER) to a request over `message` with a nonce and the wish for certificates.
    pub fn token(&self, message: &[u8]) -> Vec<u8> {
        let _one = self.one.lock();
        fs::write(self.path().join("message"), message).expect("a file can be written");
        self.run("ts -query -data message -sha256 -cert -out request");
        self.run("ts -reply -config tsa.cnf -section tsa -queryfile request -inkey tsa.key -signer tsa.pem -chain ca.pem -out token");
        fs::read(self.path().join("token")).expect("openssl writes the response")
    }
}

/// Authorities on 127.0.0.1, for as long as this lives.
pub struct Served {
    directory: tempfile::TempDir,
    server: Child,
    port: String,
}

impl Served {
    /// With the answers of `tests/tools/tsa.py`.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let mut command = Command::new("python3");
        command.arg(tools::scripts().join("tsa.py")).arg(directory.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut server = command.spawn().expect("python3 runs");
        let mut port = String::new();
        let said = server.stdout.take().expect("its output is a pipe");
        BufReader::new(said).read_line(&mut port).expect("it tells its port");
        Self { directory, server, port: port.trim().to_owned() }
    }

    /// The one that signs by ECDSA and tells the truth.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/ecdsa", self.port)
    }

    /// The root certificate of all of them.
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root.pem")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
