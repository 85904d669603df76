//! What a route logs in with.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::common::{SecretRef, own_words, told};

/// Rule and sentence for a tenant of Entra.
fn tenant() -> Value {
    told(
        "self.matches('^[A-Za-z0-9.-]+$')",
        "is no tenant; write the id or the domain of the Entra tenant, such as contoso.onmicrosoft.com",
    )
}

/// Rule and sentence for where tokens are given. What else such an address must be, the operator says.
fn token_endpoint() -> Value {
    told(
        "self.matches('^https?://')",
        "is no tokenEndpoint; write https://HOST/PATH, as the authority gives it",
    )
}

/// What a route logs in with.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("self.type == 'None' || self.type == 'OAuthClient' || has(self.secretRef)").message("credentials: this type needs secretRef"))]
#[x_kube(validation = Rule::new("self.type != 'OAuthClient' || has(self.secretRef) != (has(self.proof) && self.proof == 'ServiceAccountToken')").message("credentials: OAuthClient needs secretRef, or proof ServiceAccountToken without it"))]
#[x_kube(validation = Rule::new("self.type != 'None' || !has(self.secretRef)").message("credentials: type None has no secretRef"))]
#[x_kube(validation = Rule::new("self.type == 'AwsAccessKey' || !has(self.region)").message("credentials: region is for type AwsAccessKey"))]
#[x_kube(validation = Rule::new("has(self.user) == (self.type in ['OAuthClient', 'GoogleServiceAccount'])").message("credentials: user is needed by the types OAuthClient and GoogleServiceAccount, and by these alone"))]
#[x_kube(validation = Rule::new("has(self.clientId) == (self.type == 'OAuthClient')").message("credentials: clientId is needed by type OAuthClient, and by that alone"))]
#[x_kube(validation = Rule::new("self.type != 'OAuthClient' || has(self.tenant) != has(self.tokenEndpoint)").message("credentials: type OAuthClient needs tenant or tokenEndpoint, and not both"))]
#[x_kube(validation = Rule::new("self.type == 'OAuthClient' || (!has(self.tenant) && !has(self.proof))").message("credentials: tenant and proof are for type OAuthClient"))]
#[x_kube(validation = Rule::new("self.type in ['OAuthClient', 'GoogleServiceAccount'] || (!has(self.tokenEndpoint) && !has(self.scope))").message("credentials: tokenEndpoint and scope are for the types OAuthClient and GoogleServiceAccount"))]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// What there is to log in with.
    #[serde(rename = "type")]
    pub type_: CredentialType,
    /// The Secret, in the namespace of this object. Its keys depend on the type: `username` and `password`; `accessKeyId` and
    /// `secretAccessKey`; `clientSecret`, or `tls.crt` and `tls.key`; `key.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// AwsAccessKey: the region that the password is made for. Default: the one in the name of the smart host, or `provider.region`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 5, max = 40))]
    pub region: Option<String>,
    /// OAuthClient, GoogleServiceAccount: the mailbox to log in as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 254))]
    pub user: Option<String>,
    /// OAuthClient: id of the client (Entra: of the application).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub client_id: Option<String>,
    /// OAuthClient: id or domain of the Entra tenant, whose address for tokens is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 253), extend("x-kubernetes-validations" = [tenant()]))]
    pub tenant: Option<String>,
    /// OAuthClient: how the client proves itself. Default `ClientSecret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = own_words)]
    pub proof: Option<ClientProof>,
    /// OAuthClient, GoogleServiceAccount: where tokens are given. Default: that of the tenant, or `token_uri` of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 10, max = 2048), extend("x-kubernetes-validations" = [token_endpoint()]))]
    pub token_endpoint: Option<String>,
    /// OAuthClient, GoogleServiceAccount: what the token is to be for. Default `https://outlook.office365.com/.default`, or
    /// `https://mail.google.com/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub scope: Option<String>,
}

/// What there is to log in with.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialType {
    /// Nothing: the provider knows us by our address.
    None,
    /// A user name and a password.
    Password,
    /// An AWS access key, of which the password for Amazon SES is made. The secret key stays with the operator.
    AwsAccessKey,
    /// Tokens that a client of an OAuth 2.0 authority gets, such as an application of Microsoft Entra.
    OAuthClient,
    /// Tokens that a Google service account gets in the name of a mailbox, by domain-wide delegation.
    GoogleServiceAccount,
    /// A TLS client certificate.
    ClientCertificate,
}

/// How a client proves itself to its authority.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientProof {
    /// By `clientSecret` of the Secret.
    #[default]
    ClientSecret,
    /// By `tls.crt` and `tls.key` of the Secret.
    Certificate,
    /// By the token of the pods' ServiceAccount for the audience `api://AzureADTokenExchange`, which the authority trusts. Only at a
    /// listener of this object's own namespace.
    ServiceAccountToken,
}
