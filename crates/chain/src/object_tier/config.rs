//! Settings, as they stand in a configuration file.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::settings;

/// How an [`crate::ObjectTier`] is set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ObjectTierConfig {
    /// Most bytes that it may hold, with checksums.
    #[serde(deserialize_with = "settings::bytes")]
    pub capacity: u64,
    /// What the keys begin with: names with `/` between them. Empty for the whole bucket.
    #[serde(default)]
    pub prefix: String,
    /// The form of the keys; cannot be changed later.
    #[serde(default)]
    pub keys: KeyForm,
    /// Larger chunks are put in parts of this size, from 5 MiB to 1 GiB; an open write has up to one in memory.
    #[serde(default = "ObjectTierConfig::default_part", deserialize_with = "settings::bytes")]
    pub part_size: u64,
    /// How long one request may take, retries apart.
    #[serde(
        default = "ObjectTierConfig::default_timeout",
        deserialize_with = "settings::duration"
    )]
    pub timeout: Duration,
    /// Where the bucket is.
    pub bucket: Provider,
}

impl ObjectTierConfig {
    /// A store in this bucket, otherwise as by default.
    pub fn at(capacity: u64, bucket: Provider) -> Self {
        Self {
            capacity,
            prefix: String::new(),
            keys: KeyForm::default(),
            part_size: Self::default_part(),
            timeout: Self::default_timeout(),
            bucket,
        }
    }

    /// 16 MiB: a chunk of the default size is one request.
    fn default_part() -> u64 {
        16 << 20
    }

    /// 60 s.
    fn default_timeout() -> Duration {
        Duration::from_secs(60)
    }
}

/// The form of a chunk's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyForm {
    /// The chunk's id.
    #[default]
    Plain,
    /// The SHA-256 of the chunk's id, in hex.
    Hashed,
}

impl KeyForm {
    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Hashed => "hashed",
        }
    }
}

/// Where a bucket is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "provider", rename_all = "kebab-case")]
pub enum Provider {
    /// Amazon S3, and servers that speak it.
    S3(S3Config),
    /// Google Cloud Storage.
    Gcs(GcsConfig),
    /// Azure Blob Storage.
    Azure(AzureConfig),
}

impl Provider {
    /// The bucket's address: two of one address are one bucket.
    pub(crate) fn address(&self) -> String {
        match self {
            Self::S3(s3) => {
                format!("s3:{}/{}", s3.endpoint.as_deref().unwrap_or_default(), s3.name)
            }
            Self::Gcs(gcs) => {
                format!("gcs:{}/{}", gcs.endpoint.as_deref().unwrap_or_default(), gcs.name)
            }
            Self::Azure(azure) => {
                let endpoint = azure.endpoint.as_deref().unwrap_or_default();
                format!("azure:{endpoint}/{}/{}", azure.account, azure.name)
            }
        }
    }
}

/// A bucket of S3.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct S3Config {
    /// The bucket's name.
    pub name: String,
    /// Its region. Left out: what the environment says, or `us-east-1`.
    #[serde(default)]
    pub region: Option<String>,
    /// The URL of another server than Amazon's.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Puts the bucket's name into the path of a request rather than the host's name. Most servers beside Amazon's
    /// want it so.
    #[serde(default = "yes")]
    pub path_style: bool,
    /// Permits an endpoint without TLS.
    #[serde(default)]
    pub allow_http: bool,
    /// How requests are signed.
    #[serde(default)]
    pub credentials: S3Credentials,
    /// The id of the key with which KMS encrypts new objects.
    #[serde(default)]
    pub sse_kms_key_id: Option<String>,
    /// Who else may get at new objects.
    #[serde(default)]
    pub acl: CannedAcl,
}

fn yes() -> bool {
    true
}

/// How requests to S3 are signed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum S3Credentials {
    /// By the role of the machine that this runs on.
    #[default]
    Role,
    /// By what `AWS_…` variables say: keys, a web identity, a container's role; else by the machine's role.
    Environment,
    /// By these keys.
    Static {
        /// The id of the key.
        #[serde(rename = "access-key-id")]
        access_key_id: String,
        /// The key.
        #[serde(rename = "secret-access-key")]
        secret_access_key: Secret,
        /// The token of a session.
        #[serde(rename = "session-token", default)]
        session_token: Option<Secret>,
    },
}

/// Who else may get at new objects of S3: the canned ACLs. A bucket may forbid all but the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CannedAcl {
    /// Nobody but the bucket's owner. Nothing is sent, as this is what S3 does by itself.
    #[default]
    Private,
    /// Everybody may read.
    PublicRead,
    /// Everybody may read, and write where the bucket permits it.
    PublicReadWrite,
    /// Whoever has an account may read.
    AuthenticatedRead,
}

impl CannedAcl {
    /// What S3 calls it, when it has to be sent.
    pub(super) fn header(self) -> Option<&'static str> {
        match self {
            Self::Private => None,
            Self::PublicRead => Some("public-read"),
            Self::PublicReadWrite => Some("public-read-write"),
            Self::AuthenticatedRead => Some("authenticated-read"),
        }
    }
}

/// A bucket of Google Cloud Storage. Who may read is the bucket's matter there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GcsConfig {
    /// The bucket's name.
    pub name: String,
    /// The URL of another server than Google's.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Permits an endpoint without TLS.
    #[serde(default)]
    pub allow_http: bool,
    /// How requests are authorized.
    #[serde(default)]
    pub credentials: GcsCredentials,
}

/// How requests to Google Cloud Storage are authorized.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GcsCredentials {
    /// By the role of the machine that this runs on.
    #[default]
    Role,
    /// By what `GOOGLE_…` variables say.
    Environment,
    /// By the service account in this file.
    ServiceAccountFile(PathBuf),
    /// By this service account, as JSON.
    ServiceAccountKey(Secret),
}

/// A container of Azure Blob Storage. Who may read is the container's matter there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AzureConfig {
    /// The container's name.
    pub name: String,
    /// The account.
    pub account: String,
    /// The URL of another server than Azure's.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Permits an endpoint without TLS.
    #[serde(default)]
    pub allow_http: bool,
    /// How requests are authorized.
    #[serde(default)]
    pub credentials: AzureCredentials,
}

/// How requests to Azure Blob Storage are authorized.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AzureCredentials {
    /// By the identity of the machine that this runs on.
    #[default]
    Role,
    /// By what `AZURE_…` variables say.
    Environment,
    /// By the account's key.
    AccessKey(Secret),
    /// By a registered application.
    Client {
        /// The application.
        id: String,
        /// Its secret.
        secret: Secret,
        /// The directory that it is registered in.
        tenant: String,
    },
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canned_acl_is_sent_by_the_name_that_s3_gives_it() {
        assert_eq!(CannedAcl::Private.header(), None);
        assert_eq!(CannedAcl::PublicRead.header(), Some("public-read"));
        assert_eq!(CannedAcl::PublicReadWrite.header(), Some("public-read-write"));
        assert_eq!(CannedAcl::AuthenticatedRead.header(), Some("authenticated-read"));
    }
}
