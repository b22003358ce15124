//! The permissions of an archive in S3: the agent's, which can put and read and never delete, an auditor's, who reads, and the bucket's own
//! policy, which refuses everybody what the archive never needs.

use serde_json::{Value, json};

use super::document::policy;
use crate::archive::s3::{PROBE, S3Config};

/// What of an origin is created once.
const CREATED: [&str; 6] = ["anchor", "append", "bundle", "document", "seal", "tile"];

/// An archive's names as IAM writes them.
pub struct Archive<'a> {
    config: &'a S3Config,
    /// The origin's directory; `*` for every origin below the prefix.
    origin: String,
}

impl<'a> Archive<'a> {
    /// Of one origin, or of all below the prefix.
    pub fn new(config: &'a S3Config, origin: Option<&str>) -> Self {
        Self { config, origin: origin.map_or("*".into(), signing::layout::origin_directory) }
    }

    fn bucket(&self) -> String {
        let region = self.config.region.as_deref().unwrap_or_default();
        let partition = match region {
            region if region.starts_with("cn-") => "aws-cn",
            region if region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        };
        format!("arn:{partition}:s3:::{}", self.config.bucket)
    }

    fn below(&self, rest: &str) -> String {
        match self.config.prefix() {
            "" => format!("{}/{rest}", self.bucket()),
            prefix => format!("{}/{prefix}/{rest}", self.bucket()),
        }
    }

    fn object(&self, name: &str) -> String {
        self.below(&format!("{}/{name}", self.origin))
    }

    fn probe(&self, name: &str) -> String {
        self.below(&format!("{PROBE}/{}/{name}", self.origin))
    }

    /// What the agent needs.
    pub fn agent(&self) -> Value {
        let lock = &self.config.object_lock;
        let mut objects = vec!["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"];
        if lock.in_force().is_some() {
            objects.extend(["s3:GetObjectRetention", "s3:PutObjectRetention"]);
        }
        if lock.legal_hold {
            objects.push("s3:PutObjectLegalHold");
        }
        objects.sort_unstable();
        // ListBucket without a condition: with one, S3 answers 403 instead of 404 for an object that is not there.
        let bucket = [
            "s3:GetBucketObjectLockConfiguration",
            "s3:GetBucketVersioning",
            "s3:ListBucket",
            "s3:ListBucketMultipartUploads",
        ];
        let objects = json!({"Sid": "Objects", "Effect": "Allow", "Action": objects, "Resource": [self.object("*"), self.probe("*")]});
        let bucket = json!({"Sid": "Bucket", "Effect": "Allow", "Action": bucket, "Resource": self.bucket()});
        policy(&[vec![objects, bucket], self.key(&["kms:Decrypt", "kms:GenerateDataKey"])].concat())
    }

    /// What reading needs, older versions among it.
    pub fn auditor(&self) -> Value {
        let objects = ["s3:GetObject", "s3:GetObjectLegalHold", "s3:GetObjectRetention", "s3:GetObjectVersion"];
        let bucket =
            ["s3:GetBucketObjectLockConfiguration", "s3:GetBucketVersioning", "s3:ListBucket", "s3:ListBucketVersions"];
        let objects = json!({"Sid": "Objects", "Effect": "Allow", "Action": objects, "Resource": self.object("*")});
        let bucket = json!({"Sid": "Bucket", "Effect": "Allow", "Action": bucket, "Resource": self.bucket()});
        policy(&[vec![objects, bucket], self.key(&["kms:Decrypt"])].concat())
    }

    fn key(&self, actions: &[&str]) -> Vec<Value> {
        let statement = |key| json!({"Sid": "Key", "Effect": "Allow", "Action": actions, "Resource": key});
        self.config.kms_key.iter().map(statement).collect()
    }

    /// What the bucket refuses everybody: writes without a condition, deletion, ending a lock, and requests without TLS. Parts of an upload
    /// take no condition; completing it does (`s3:ObjectCreationOperation`).
    pub fn bucket_policy(&self) -> Value {
        let created: Vec<String> =
            CREATED.iter().map(|kind| self.object(&format!("{kind}/*"))).chain([self.probe("create")]).collect();
        let replaced = [self.object("checkpoint"), self.probe("replace")];
        let all = [self.object("*"), self.probe("*")];
        let deny = |sid: &str, action: Value, resource: Value, condition: Value| {
            let mut statement =
                json!({"Sid": sid, "Effect": "Deny", "Principal": "*", "Action": action, "Resource": resource});
            if !condition.is_null() {
                statement["Condition"] = condition;
            }
            statement
        };
        let creates = json!({"s3:ObjectCreationOperation": "true"});
        policy(&[
            deny(
                "CreatedOnce",
                json!("s3:PutObject"),
                json!(created),
                json!({"Null": {"s3:if-none-match": "true"}, "Bool": creates}),
            ),
            deny(
                "ComparedAndReplaced",
                json!("s3:PutObject"),
                json!(replaced),
                json!({"Null": {"s3:if-match": "true", "s3:if-none-match": "true"}, "Bool": creates}),
            ),
            deny(
                "NeverDeleted",
                json!(["s3:BypassGovernanceRetention", "s3:DeleteObject", "s3:DeleteObjectVersion"]),
                json!(all),
                Value::Null,
            ),
            deny(
                "TlsOnly",
                json!("s3:*"),
                json!([self.bucket(), format!("{}/*", self.bucket())]),
                json!({"Bool": {"aws:SecureTransport": "false"}}),
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn actions(policy: &Value) -> Vec<&str> {
        let statements = policy["Statement"].as_array().unwrap();
        let allowed = statements.iter().filter(|statement| statement["Effect"] == "Allow");
        allowed.flat_map(|statement| statement["Action"].as_array().unwrap()).map(|a| a.as_str().unwrap()).collect()
    }

    #[test]
    fn the_agent_can_put_and_read_one_origin_and_can_delete_or_unlock_nothing() {
        let config = S3Config { prefix: Some("prod".into()), ..S3Config::new("acme-evidence") };
        let printed = Archive::new(&config, Some("evidence.acme.example/prod")).agent();
        let allowed = actions(&printed);
        assert!(allowed.contains(&"s3:PutObject") && allowed.contains(&"s3:PutObjectRetention"));
        for action in &allowed {
            assert!(!action.contains("Delete") && !action.contains("Bypass") && !action.contains('*'), "{action}");
        }
        assert_eq!(
            printed["Statement"][0]["Resource"],
            json!([
                "arn:aws:s3:::acme-evidence/prod/evidence.acme.example+prod/*",
                "arn:aws:s3:::acme-evidence/prod/.evidenced-probe/evidence.acme.example+prod/*"
            ])
        );
    }

    #[test]
    fn rights_that_the_settings_do_not_use_are_left_out() {
        let mut config = S3Config::new("acme-evidence");
        config.object_lock.mode = Some(crate::archive::s3::LockMode::None);
        let plain = Archive::new(&config, None).agent();
        assert!(!actions(&plain).iter().any(|action| action.contains("Retention") || action.starts_with("kms:")));
        config.object_lock = crate::archive::s3::ObjectLock { legal_hold: true, ..Default::default() };
        config.kms_key = Some("arn:aws:kms:eu-west-1:111122223333:key/1".into());
        let full = Archive::new(&config, None).agent();
        assert!(actions(&full).contains(&"s3:PutObjectLegalHold") && actions(&full).contains(&"kms:GenerateDataKey"));
    }

    #[test]
    fn an_auditor_reads_versions_and_writes_nothing() {
        let config = S3Config::new("acme-evidence");
        let printed = Archive::new(&config, None).auditor();
        assert!(actions(&printed).contains(&"s3:GetObjectVersion"));
        assert!(actions(&printed).iter().all(|action| action.contains(":Get") || action.contains(":List")));
    }
}
