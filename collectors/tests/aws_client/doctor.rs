//! What the doctor finds out of an AWS source.

use collectors::{
    aws::doctor,
    finding::{Finding, State},
};

use super::{scope::Needs, *};

/// Decisions by action: all are allowed but these.
fn simulated(seen: &Seen, but: &[(&str, &str)]) -> Reply {
    let actions = (1..).map_while(|number| seen.form(&format!("ActionNames.member.{number}")));
    let row = |action: String| {
        let decision = but.iter().find(|(name, _)| *name == action).map_or("allowed", |(_, decision)| decision);
        format!("<member><EvalActionName>{action}</EvalActionName><EvalDecision>{decision}</EvalDecision></member>")
    };
    let rows: String = actions.map(row).collect();
    ok(format!(
        "<SimulatePrincipalPolicyResponse><SimulatePrincipalPolicyResult><EvaluationResults>{rows}</EvaluationResults>\
         <IsTruncated>false</IsTruncated></SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>"
    ))
}

/// What a role that only reads is refused.
const MINIMAL: [(&str, &str); 16] = {
    let deny = "implicitDeny";
    [
        ("cloudtrail:StopLogging", deny),
        ("dynamodb:GetItem", deny),
        ("ec2:TerminateInstances", deny),
        ("iam:AttachRolePolicy", deny),
        ("iam:CreateAccessKey", deny),
        ("iam:CreateUser", deny),
        ("iam:PutRolePolicy", deny),
        ("kms:Decrypt", deny),
        ("kms:ScheduleKeyDeletion", deny),
        ("lambda:InvokeFunction", deny),
        ("rds:DeleteDBInstance", deny),
        ("s3:DeleteObject", deny),
        ("s3:GetObject", deny),
        ("s3:PutObject", deny),
        ("secretsmanager:GetSecretValue", deny),
        ("ssm:GetParameter", deny),
    ]
};

/// `answers` goes before the usual ones, where a role that only reads is fine.
async fn examined(
    more: Value,
    answers: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static,
) -> (Vec<Finding>, Server) {
    let server = Server::start(move |seen| {
        answers(seen).unwrap_or_else(|| match seen.call().as_str() {
            "iam.SimulatePrincipalPolicy" => simulated(seen, &MINIMAL),
            _ => usual(seen),
        })
    })
    .await;
    let aws = aws(&server, more);
    let collectors = [Needs::these(&["iam:ListUsers", "kms:ListKeys"])];
    (doctor::examine(&aws, &collectors, system_now()).await, server)
}

fn find<'f>(findings: &'f [Finding], about: &str) -> &'f Finding {
    findings.iter().find(|finding| finding.about.starts_with(about)).unwrap_or_else(|| panic!("{findings:#?}"))
}

fn with_date(reply: Reply, date: String) -> Reply {
    let Reply::Full(status, mut headers, body) = reply else { panic!("{reply:?}") };
    headers.push(("date", date));
    Reply::Full(status, headers, body)
}

const ROLE: &str = "permissions of arn:aws:iam::111122223333:role/evidenced-read";

#[tokio::test]
async fn a_source_as_it_should_be_is_fine_in_everything() {
    let now = system_now()().to_rfc2822();
    let (findings, server) = examined(nothing(), move |seen| {
        (seen.call() == "sts.GetCallerIdentity").then(|| with_date(usual(seen), now.clone()))
    })
    .await;
    let told: Vec<_> = findings.iter().map(|finding| (finding.about.as_str(), finding.state)).collect();
    let fine = ["credentials", "clock", "accounts", "regions", ROLE];
    let expected: Vec<_> = fine.into_iter().map(|about| (about, State::Fine)).collect();
    let told: Vec<_> = told.into_iter().filter(|(about, _)| *about != "organisation").collect();
    assert_eq!(told, expected, "{findings:#?}");
    assert!(find(&findings, ROLE).says.starts_with("all 2 that"), "{findings:#?}");
    assert!(server.seen().iter().any(|seen| seen.call() == "sts.GetCallerIdentity" && seen.region() == "eu-west-1"));
}

#[tokio::test]
async fn a_missing_permission_is_named_with_the_collectors_that_need_it() {
    let (findings, _) = examined(nothing(), |seen| {
        let but = [MINIMAL.as_slice(), &[("kms:ListKeys", "explicitDeny")]].concat();
        (seen.call() == "iam.SimulatePrincipalPolicy").then(|| simulated(seen, &but))
    })
    .await;
    let finding = find(&findings, ROLE);
    assert_eq!(finding.state, State::Finding);
    assert_eq!(finding.says, "kms:ListKeys is denied (a policy denies it by name): needed by aws/x");
    assert!(finding.to_do.as_ref().unwrap().contains("iam-policy"));
}

#[tokio::test]
async fn a_role_that_may_do_far_more_than_it_needs_is_a_finding_and_a_line_at_start() {
    let (findings, server) = examined(nothing(), |seen| {
        (seen.call() == "iam.SimulatePrincipalPolicy").then(|| simulated(seen, &MINIMAL[..14]))
    })
    .await;
    let says = "arn:aws:iam::111122223333:role/evidenced-read may do far more than it needs: secretsmanager:GetSecretValue, ssm:GetParameter";
    assert!(findings.iter().any(|finding| finding.state == State::Finding && finding.says == says), "{findings:#?}");
    assert_eq!(doctor::far_more(&aws(&server, nothing()), system_now()).await, [says]);
}

#[tokio::test]
async fn permissions_that_cannot_be_asked_about_are_unknown_and_no_line_at_start() {
    let (findings, server) = examined(nothing(), |seen| {
        (seen.call() == "iam.SimulatePrincipalPolicy").then(|| error(403, "AccessDenied", "no"))
    })
    .await;
    let finding = find(&findings, ROLE);
    assert_eq!(finding.state, State::Unknown);
    assert!(finding.says.starts_with("whether they suffice cannot be told: AccessDenied"), "{finding:?}");
    assert_eq!(doctor::far_more(&aws(&server, nothing()), system_now()).await, [""; 0]);
}

#[tokio::test]
async fn an_account_whose_role_cannot_be_assumed_says_what_trust_is_missing() {
    let (findings, _) =
        examined(json!({"accounts": ["111122223333", "444455556666"], "external_id": "ours"}), |seen| {
            let refused = seen.form("RoleArn").is_some_and(|role| role.contains("444455556666"));
            refused.then(|| error(403, "AccessDenied", "no"))
        })
        .await;
    let finding = find(&findings, "account 444455556666");
    assert_eq!(finding.state, State::Finding);
    let to_do = finding.to_do.as_deref().unwrap();
    assert!(
        to_do.contains("assumed-role/evidenced-read/evidenced assume it, with the configured external id"),
        "{to_do}"
    );
    assert_eq!(find(&findings, "accounts").says, "1 answer as themselves");
}

#[tokio::test]
async fn a_region_that_does_not_answer_is_a_finding() {
    let (findings, _) = examined(json!({"regions": ["eu-west-1", "eu-west-2"]}), |seen| match seen.call().as_str() {
        "ec2.DescribeRegions" => Some(regions(&[("eu-west-1", "opted-in"), ("eu-west-2", "opted-in")])),
        "sts.GetCallerIdentity" if seen.region() == "eu-west-2" => Some(error(403, "InvalidClientTokenId", "invalid")),
        _ => None,
    })
    .await;
    assert_eq!(find(&findings, "region eu-west-2").state, State::Finding);
    assert_eq!(find(&findings, "regions").says, "1 of 2 answer");
}

#[tokio::test]
async fn a_clock_more_than_five_minutes_off_is_a_finding() {
    let (findings, _) = examined(nothing(), |seen| {
        let late = || "Sun, 22 Nov 2015 04:00:00 GMT".to_owned();
        (seen.call() == "sts.GetCallerIdentity")
            .then(|| with_date(error(403, "SignatureDoesNotMatch", "expired"), late()))
    })
    .await;
    let finding = find(&findings, "clock");
    assert_eq!(finding.state, State::Finding);
    assert!(finding.says.contains(" s ahead of AWS's"), "{finding:?}");
    assert_eq!(find(&findings, "credentials").state, State::Finding);
}

#[tokio::test]
async fn without_credentials_nothing_else_is_tried() {
    let server = Server::start(usual).await;
    let own = SharedCredentialsProvider::new(scope::NoCredentials);
    let aws = Aws::with(config(&server, nothing()), own, limits());
    let findings = doctor::examine(&aws, &[], system_now()).await;
    assert_eq!(findings.len(), 1);
    assert_eq!((findings[0].about.as_str(), findings[0].state), ("credentials", State::Finding));
    assert!(findings[0].to_do.as_ref().unwrap().contains("AWS_PROFILE"));
    assert_eq!(server.seen().len(), 0);
}
