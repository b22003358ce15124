//! How a run begins: the expected cells, and what is kept of finding them out.

use std::sync::atomic::{AtomicUsize, Ordering};

use collectors::contract::{Answer, BoxFuture, CollectError, Collector, Need, NeedKind, Records, Spec};

use super::*;

const MANAGEMENT: &str = "999988887777";

#[tokio::test]
async fn the_scope_is_the_first_exchange_and_how_it_was_found_out_follows() {
    let server = Server::start(usual).await;
    let run = Run::begin(&aws(&server, json!({"regions": "enabled"}))).await;
    let exchanges = run.exchanges();
    let names: Vec<_> = exchanges.iter().map(|e| (e.operation.as_str(), e.request["request"].as_str())).collect();
    assert_eq!(
        names,
        [
            ("scope", None),
            ("sts.GetCallerIdentity", Some("scope.identity")),
            ("ec2.DescribeRegions", Some("scope.regions")),
            ("organizations.DescribeOrganization", Some("scope.organization")),
        ]
    );
    let scope: Scope = serde_json::from_slice(&run.body(&exchanges[0])).unwrap();
    assert_eq!(scope, run.scope);
    assert_eq!((exchanges[0].answer, exchanges[0].end.is_some()), (Answer::Ok, true));
    let account = json!({"account": "111122223333"});
    assert_eq!(run.cells("source"), json!([{"cell": account}]));
    assert_eq!(run.cells("accounts"), json!([{"cell": account}]));
    assert_eq!(run.cells("accounts x regions"), json!([{"cell": {"account": "111122223333", "region": "eu-west-1"}}]));
    let left_out = serde_json::to_value(&run.scope.left_out).unwrap();
    assert_eq!(left_out[0]["cell"]["region"], "ap-east-1");
    assert!(left_out[0]["why"].as_str().unwrap().contains("ec2.DescribeRegions"), "{left_out}");
    assert!(
        exchanges[1..].iter().all(|e| e.caller == "arn:aws:sts::111122223333:assumed-role/evidenced-read/evidenced")
    );
}

#[tokio::test]
async fn a_role_is_assumed_with_its_external_id_and_nothing_of_it_is_kept() {
    let server = Server::start(usual).await;
    let aws = aws(&server, json!({"external_id": "ours", "session_name": "auditor"}));
    let run = Run::begin(&aws).await;
    let assumed = server.seen().into_iter().find(|seen| seen.call() == "sts.AssumeRole").unwrap();
    assert_eq!(assumed.access_key(), "AKIAOWN999999999999");
    assert_eq!(assumed.form("RoleArn").unwrap(), "arn:aws:iam::111122223333:role/evidenced-read");
    assert_eq!(
        (assumed.form("ExternalId").unwrap(), assumed.form("RoleSessionName").unwrap()),
        ("ours".into(), "auditor".into())
    );
    // No exchange shows it, and nothing of it is kept.
    let kept: Vec<u8> = run.exchanges().iter().flat_map(|e| run.body(e)).collect();
    let kept = format!("{}{:?}", String::from_utf8_lossy(&kept), run.exchanges());
    assert!(!kept.contains("AssumeRole") && !kept.contains("s3cr3t") && !kept.contains("t0k3n"), "{kept}");
}

#[tokio::test]
async fn no_more_is_found_out_than_the_run_asks_in() {
    for (kind, calls) in [
        ("accounts", vec!["sts.GetCallerIdentity"]),
        ("accounts x regions", vec!["sts.GetCallerIdentity", "ec2.DescribeRegions"]),
        ("source", vec!["sts.GetCallerIdentity", "organizations.DescribeOrganization"]),
    ] {
        let server = Server::start(usual).await;
        let run = Run::begin_in(&aws(&server, nothing()), &[kind]).await;
        assert_eq!(run.scope.cells.keys().collect::<Vec<_>>(), [kind]);
        assert_eq!(run.cells(kind).as_array().unwrap().len(), 1);
        let made: Vec<_> = run.exchanges()[1..].iter().map(|exchange| exchange.operation.clone()).collect();
        assert_eq!(made, calls);
    }
    let server = Server::start(|seen| organization(seen, |_| None)).await;
    let run = Run::begin_in(&aws(&server, of_organization()), &["source"]).await;
    assert_eq!(run.cells("source"), json!([{"cell": {"account": MANAGEMENT, "organization": "o-1"}}]));
    assert_eq!(server.count("sts.AssumeRole"), 1);
}

/// A collector that needs these actions, and is never run.
pub struct Needs(Spec);

impl Needs {
    pub fn these(actions: &[&str]) -> Arc<dyn Collector> {
        let need = |action: &&str| Need {
            kind: NeedKind::Action,
            what: (*action).into(),
            why: String::new(),
            cells: Vec::new(),
        };
        Arc::new(Self(Spec {
            id: "aws/x".into(),
            version: 1,
            title: String::new(),
            source: "aws".into(),
            schedule: "@daily".into(),
            deadline: Duration::from_secs(1),
            needs: actions.iter().map(need).collect(),
            kinds: Vec::new(),
            checks: String::new(),
            inputs: Vec::new(),
            window: None,
        }))
    }
}

impl Collector for Needs {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn collect<'a>(&'a self, _: &'a mut Context<'_>) -> BoxFuture<'a, Result<(), CollectError>> {
        Box::pin(async { Ok(()) })
    }

    fn derive(&self, _: &dyn Evidence, _: &mut dyn Records) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn sessions_are_limited_to_what_the_collectors_and_the_scope_ask() {
    let too_large = Arc::new(AtomicUsize::new(0));
    let left = too_large.clone();
    let server = Server::start(move |seen| {
        let again = |left: usize| left.checked_sub(1);
        let refused =
            seen.form("Policy").is_some() && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, again).is_ok();
        match refused {
            true => error(400, "PackedPolicyTooLarge", "101%"),
            false => usual(seen),
        }
    })
    .await;
    let policy = |server: &Server| {
        server.seen().iter().rev().find(|seen| seen.call() == "sts.AssumeRole").unwrap().form("Policy")
    };
    let limited = aws(&server, nothing());
    limited.limit_sessions(&[Needs::these(&["iam:ListUsers", "kms:ListKeys"])]);
    Run::begin(&limited).await;
    let actions: Value = serde_json::from_str(&policy(&server).unwrap()).unwrap();
    let expected = [
        "ec2:DescribeRegions",
        "iam:ListUsers",
        "iam:SimulatePrincipalPolicy",
        "kms:ListKeys",
        "organizations:DescribeOrganization",
        "organizations:ListAccounts",
    ];
    assert_eq!(actions["Statement"], json!([{"Effect": "Allow", "Action": expected, "Resource": "*"}]));
    // A policy that AWS finds too large is left out rather than any of it.
    too_large.store(1, Ordering::SeqCst);
    let limited = aws(&server, nothing());
    limited.limit_sessions(&[Needs::these(&["iam:ListUsers"])]);
    let run = Run::begin(&limited).await;
    assert_eq!((policy(&server), run.cells("accounts")), (None, json!([{"cell": {"account": "111122223333"}}])));
}

#[tokio::test]
async fn credentials_are_kept_from_run_to_run_and_renewed_before_they_expire() {
    let roles = Arc::new(AtomicUsize::new(0));
    let count = roles.clone();
    let server = Server::start(move |seen| match seen.call().as_str() {
        "sts.AssumeRole" if count.fetch_add(1, Ordering::SeqCst) == 0 => {
            let soon = system_now()() + chrono::TimeDelta::seconds(200);
            assumed("111122223333", &soon.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
        }
        _ => usual(seen),
    })
    .await;
    let aws = aws(&server, nothing());
    for expected in [2, 2, 2] {
        Run::begin(&aws).await;
        // The first ones expire within five minutes, and are not used a second time.
        assert_eq!(roles.load(Ordering::SeqCst), expected);
    }
}

#[test]
fn runs_on_runtimes_of_their_own_share_credentials_and_no_connections() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outer = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = outer.block_on(Server::start(usual));
    let aws = aws(&server, nothing());
    for _ in 0..3 {
        let run = runtime().block_on(Run::begin(&aws));
        assert_eq!(run.cells("accounts"), json!([{"cell": {"account": "111122223333"}}]));
    }
    assert_eq!(server.count("sts.AssumeRole"), 1);
    assert_eq!(server.count("sts.GetCallerIdentity"), 3);
}

#[tokio::test]
async fn an_account_whose_role_cannot_be_assumed_is_expected_and_unread() {
    let server = Server::start(|seen| match seen.call().as_str() {
        "sts.AssumeRole" if seen.form("RoleArn").unwrap().contains("444455556666") => {
            error(403, "AccessDenied", "not authorized to perform: sts:AssumeRole")
        }
        _ => usual(seen),
    })
    .await;
    let run = Run::begin(&aws(&server, json!({"accounts": ["111122223333", "444455556666"]}))).await;
    let accounts = run.cells("accounts");
    assert_eq!(accounts[0], json!({"cell": {"account": "111122223333"}}));
    let why = accounts[1]["unread"].as_str().unwrap();
    let role = "arn:aws:iam::444455556666:role/evidenced-read";
    assert!(why.starts_with(&format!("the role {role} could not be assumed: AccessDenied: not authorized")), "{why}");
    let regions = run.cells("accounts x regions");
    assert_eq!(regions[1]["cell"], json!({"account": "444455556666", "region": "eu-west-1"}));
    assert_eq!(regions[1]["unread"], why);
}

#[tokio::test]
async fn what_is_no_answer_of_sts_gives_no_credentials_and_is_said() {
    let page = "<html><body>Service Temporarily Unavailable</body></html>";
    let cut = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIAROLE111122223333</AccessKeyId>\
               <SecretAccessKey>s3cr3t</SecretAccessKey><SessionToken>t0k";
    for (answer, says) in [
        (
            Reply::Full(400, Vec::new(), page.into()),
            "could not be assumed: HTTP 400 (the answer has not the form of AWS's",
        ),
        (Reply::Full(403, Vec::new(), page.into()), "could not be assumed: HTTP 403 (something on the way refused"),
        (ok(page), "could not be assumed: the answer cannot be read"),
        (ok(""), "could not be assumed: the answer cannot be read"),
        (ok(cut), "could not be assumed: the answer has no whole credentials in it"),
    ] {
        let server = Server::start(move |seen| match seen.call().as_str() {
            "sts.AssumeRole" => answer.clone(),
            other => panic!("{other} was asked without credentials"),
        })
        .await;
        let run = Run::begin(&aws(&server, nothing())).await;
        let why = run.cells("accounts")[0]["unread"].as_str().unwrap().to_owned();
        assert!(why.contains(says), "{why}");
    }
}

#[tokio::test]
async fn a_role_that_answers_for_another_account_is_unread() {
    let server = Server::start(|seen| match seen.call().as_str() {
        "sts.GetCallerIdentity" => identity("444455556666"),
        _ => usual(seen),
    })
    .await;
    let run = Run::begin(&aws(&server, nothing())).await;
    let why = run.cells("accounts")[0]["unread"].as_str().unwrap().to_owned();
    assert!(why.ends_with("evidenced-read answers for another account, 444455556666"), "{why}");
    assert_eq!(server.count("ec2.DescribeRegions"), 0);
}

#[tokio::test]
async fn without_an_identity_or_a_list_of_regions_nothing_reads_as_whole() {
    for (call, kind, says) in [
        ("sts.GetCallerIdentity", "accounts", "whose the credentials are is not known: AccessDenied"),
        (
            "ec2.DescribeRegions",
            "accounts x regions",
            "which regions the account has enabled is not known: AccessDenied",
        ),
    ] {
        let server = Server::start(move |seen| match seen.call() {
            refused if refused == call => error(403, "AccessDenied", "no"),
            _ => usual(seen),
        })
        .await;
        let run = Run::begin(&aws(&server, json!({"regions": "enabled"}))).await;
        let cells = run.cells(kind);
        assert_eq!(cells[0]["cell"], json!({"account": "111122223333"}));
        assert!(cells[0]["unread"].as_str().unwrap().starts_with(says), "{cells}");
        assert!(cells.as_array().unwrap().len() == 1);
        assert!(run.exchanges().iter().any(|e| e.operation == call && e.answer == Answer::Denied));
    }
}

#[tokio::test]
async fn given_regions_are_asked_left_out_or_unread_as_aws_lists_them() {
    let server = Server::start(usual).await;
    let given = json!({"regions": ["eu-west-1", "ap-east-1", "eu-wset-1"]});
    let run = Run::begin(&aws(&server, given.clone())).await;
    let cells = run.cells("accounts x regions");
    assert_eq!(cells[0], json!({"cell": {"account": "111122223333", "region": "eu-west-1"}}));
    assert_eq!(cells[1]["cell"]["region"], "eu-wset-1");
    assert!(cells[1]["unread"].as_str().unwrap().contains("lists no such region"), "{cells}");
    assert_eq!(run.scope.left_out[0].cell.get("region"), Some("ap-east-1"));
    let server = Server::start(|seen| match seen.call().as_str() {
        "ec2.DescribeRegions" => error(403, "UnauthorizedOperation", "no"),
        _ => usual(seen),
    })
    .await;
    let run = Run::begin(&aws(&server, given)).await;
    let cells = run.cells("accounts x regions");
    assert_eq!(cells.as_array().unwrap().len(), 3);
    assert!(cells.as_array().unwrap().iter().all(|cell| cell.get("unread").is_none()), "{cells}");
}

#[tokio::test]
async fn regions_left_out_by_the_configuration_carry_its_reason() {
    let server = Server::start(usual).await;
    let except =
        json!({"regions": "enabled", "except_regions": [{"region": "eu-west-1", "reason": "empty by policy"}]});
    let run = Run::begin(&aws(&server, except)).await;
    assert_eq!(run.cells("accounts x regions"), json!([]));
    assert!(run.scope.left_out.iter().any(|left| left.why == "by the configuration: empty by policy"));
}

/// An organisation of three accounts and a suspended one, on two pages; `page` may change them.
fn organization(seen: &Seen, page: impl Fn(&str) -> Option<Reply>) -> Reply {
    if seen.call() != "organizations.ListAccounts" {
        return usual(seen);
    }
    let row = |id: &str, status: &str| json!({"Id": id, "Status": status, "Arn": format!("arn:aws:organizations::{MANAGEMENT}:account/o-1/{id}")});
    let token = serde_json::from_str::<Value>(&seen.body).unwrap()["NextToken"].as_str().unwrap_or_default().to_owned();
    if let Some(reply) = page(&token) {
        return reply;
    }
    ok(match token.as_str() {
        "" => json!({"Accounts": [row(MANAGEMENT, "ACTIVE"), row("111122223333", "ACTIVE")], "NextToken": "2"}),
        _ => json!({"Accounts": [row("444455556666", "SUSPENDED"), row("777788889999", "ACTIVE")]}),
    }
    .to_string())
}

fn of_organization() -> Value {
    let role = |account: &str, name: &str| format!("arn:aws:iam::{account}:role/{name}");
    json!({"regions": ["eu-west-1"], "accounts": {"organization": {
        "role": role("222233334444", "list"),
        "management_role": role(MANAGEMENT, "management"),
        "except": [{"account": "777788889999", "reason": "sandbox"}],
    }}})
}

#[tokio::test]
async fn the_accounts_of_an_organisation_are_all_expected_each_with_its_role() {
    let server = Server::start(|seen| organization(seen, |_| None)).await;
    let run = Run::begin(&aws(&server, of_organization())).await;
    assert_eq!(run.cells("source"), json!([{"cell": {"account": MANAGEMENT, "organization": "o-1"}}]));
    let accounts = run.cells("accounts");
    assert_eq!(accounts[0], json!({"cell": {"account": MANAGEMENT}}));
    assert_eq!(accounts[1], json!({"cell": {"account": "111122223333"}}));
    assert_eq!(accounts[2]["cell"], json!({"account": "444455556666"}));
    assert!(accounts[2]["unread"].as_str().unwrap().contains("SUSPENDED"), "{accounts}");
    assert_eq!(accounts.as_array().unwrap().len(), 3);
    assert_eq!(run.scope.left_out[0].why, "by the configuration: sandbox");
    let pages: Vec<_> = run.exchanges().into_iter().filter(|e| e.operation == "organizations.ListAccounts").collect();
    assert_eq!((pages[0].page, pages[0].end.clone()), (Some(1), None));
    assert_eq!((pages[1].page, pages[1].end.as_deref()), (Some(2), Some("no NextToken")));
    let mut roles: Vec<_> = server.seen().iter().filter_map(|seen| seen.form("RoleArn")).collect();
    roles.sort();
    let role = |account: &str, name: &str| format!("arn:aws:iam::{account}:role/{name}");
    assert_eq!(
        roles,
        [role("111122223333", "evidenced-read"), role("222233334444", "list"), role(MANAGEMENT, "management")]
    );
    // The organisation is read by the role that lists it.
    let cell = Cell::new([("account", MANAGEMENT), ("organization", "o-1")]);
    let asked = run.session.ask(Ask { cell, ..ask("organizations.ListAccounts", nothing()) }).await;
    assert_eq!(asked.draft.caller, "arn:aws:sts::222233334444:assumed-role/evidenced-read/evidenced");
}

#[tokio::test]
async fn a_list_of_accounts_that_was_refused_or_cut_leaves_every_kind_with_something_unread() {
    let denied: fn() -> Reply = || json_error(400, "AccessDeniedException");
    let circle: fn() -> Reply = || ok(json!({"Accounts": [], "NextToken": "2"}).to_string());
    let foreign: fn() -> Reply = || ok(json!({"NextToken": "x"}).to_string());
    for (at, answer, known) in [("", denied, 0), ("2", denied, 2), ("2", circle, 2), ("", foreign, 0)] {
        let server = Server::start(move |seen| organization(seen, |token| (token == at).then(answer))).await;
        let run = Run::begin(&aws(&server, of_organization())).await;
        for kind in ["source", "accounts", "accounts x regions"] {
            let cells = run.cells(kind);
            let why = "the organisation's list of accounts was not read to its end: ";
            let rest = cells.as_array().unwrap().iter().find(|cell| cell["cell"] == json!({})).unwrap();
            assert!(rest["unread"].as_str().unwrap().starts_with(why), "{cells}");
        }
        assert_eq!(run.cells("accounts").as_array().unwrap().len(), known + 1);
    }
}

#[tokio::test]
async fn a_discovery_role_that_cannot_be_assumed_leaves_every_kind_unread() {
    let server = Server::start(|seen| match seen.call().as_str() {
        "sts.AssumeRole" => error(403, "AccessDenied", "no"),
        _ => usual(seen),
    })
    .await;
    let run = Run::begin(&aws(&server, of_organization())).await;
    for kind in ["source", "accounts", "accounts x regions"] {
        let why = run.cells(kind)[0]["unread"].as_str().unwrap().to_owned();
        assert!(why.contains("role/list could not be assumed: AccessDenied: no"), "{why}");
    }
}

#[tokio::test]
async fn without_configured_accounts_it_is_the_one_of_the_credentials() {
    let server = Server::start(usual).await;
    let mut config = config(&server, nothing());
    (config.accounts, config.role) = (None, None);
    let aws = Aws::with(config, own(), limits());
    let run = Run::begin(&aws).await;
    assert_eq!(run.cells("accounts"), json!([{"cell": {"account": "999999999999"}}]));
    assert_eq!((server.count("sts.AssumeRole"), server.count("sts.GetCallerIdentity")), (0, 1));
    assert!(run.exchanges()[2].caller.contains("999999999999"));
}

#[tokio::test]
async fn the_management_account_that_is_not_read_leaves_the_organisation_unread() {
    let described = json!({"Organization": {"Id": "o-1", "MasterAccountId": MANAGEMENT}}).to_string();
    let answers = move |seen: &Seen| match seen.call().as_str() {
        "organizations.DescribeOrganization" => ok(described.clone()),
        _ => usual(seen),
    };
    let server = Server::start(answers).await;
    let run = Run::begin(&aws(&server, nothing())).await;
    let source = run.cells("source");
    assert_eq!(source[0]["cell"], json!({"account": MANAGEMENT}));
    assert!(source[0]["unread"].as_str().unwrap().contains("configure `accounts.organization`"), "{source}");
    let run = Run::begin(&aws(&server, json!({"accounts": [MANAGEMENT, "111122223333"]}))).await;
    assert_eq!(run.cells("source"), json!([{"cell": {"account": MANAGEMENT}}]));
}

#[derive(Debug)]
pub struct NoCredentials;

impl aws_credential_types::provider::ProvideCredentials for NoCredentials {
    fn provide_credentials<'a>(&'a self) -> aws_credential_types::provider::future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let none = aws_credential_types::provider::error::CredentialsError::not_loaded("no file, no variable");
        aws_credential_types::provider::future::ProvideCredentials::ready(Err(none))
    }
}

#[tokio::test]
async fn without_credentials_every_cell_is_unread_with_the_chains_own_words() {
    let server = Server::start(usual).await;
    let mut one = config(&server, nothing());
    (one.accounts, one.role) = (None, None);
    for config in [one, config(&server, nothing()), config(&server, of_organization())] {
        let aws = Aws::with(config, SharedCredentialsProvider::new(NoCredentials), limits());
        let run = Run::begin(&aws).await;
        for kind in ["accounts", "accounts x regions", "source"] {
            for cell in run.cells(kind).as_array().unwrap() {
                assert!(cell["unread"].is_string(), "{cell}");
            }
            assert_ne!(run.cells(kind), json!([]));
        }
        let why = run.cells("accounts")[0]["unread"].as_str().unwrap().to_owned();
        assert!(why.contains("the agent has no credentials") && why.contains("no file, no variable"), "{why}");
    }
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_leaves_every_named_cell_unread() {
    let server = Server::start(usual).await;
    for broken in [json!({"external_id_file": "/nowhere/id"}), json!({"ca_bundle": "/nowhere/ca.pem"})] {
        let run = Run::begin(&aws(&server, broken)).await;
        let cells = run.cells("accounts x regions");
        assert_eq!(cells[0]["cell"], json!({"account": "111122223333", "region": "eu-west-1"}));
        assert!(cells[0]["unread"].as_str().unwrap().contains("/nowhere/"), "{cells}");
        assert_eq!(run.ask("iam.ListUsers", nothing()).await.draft.answer, Answer::Failed);
    }
    assert_eq!(server.seen().len(), 0);
}
