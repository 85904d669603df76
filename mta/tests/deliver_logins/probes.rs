//! A try of a route: how far it comes, without mail.

use postroad_config::admin::LoginFault;
use postroad_mta::deliver::probe::Prober;
use postroad_mta::deliver::tls::ClientTls;
use postroad_mta::dns::Dns;
use postroad_mta::dns::table::Table;
use postroad_mta::logins::Logins;

use crate::authority::Authority;
use crate::deliver_support::settings;
use crate::sink::{Reply, Script, Sink, eventually};
use crate::{ANN, client, policy, route, server, yes};

/// A probe of one route.
pub async fn probe(policies: &str, tls: ClientTls) -> postroad_config::admin::UpstreamTested {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(directory.path(), policies);
    let dns = Dns::new(Table::default());
    let prober = Prober::new(dns.clone(), tls.clone(), Logins::new(dns, tls));
    assert!(prober.test(&settings.set.file, "test/none").await.is_none());
    let mut tested = prober.test(&settings.set.file, "test/all").await.unwrap();
    assert_eq!(tested.len(), 1);
    tested.remove(0)
}

#[tokio::test]
async fn a_probe_says_how_far_it_came_and_sends_no_mail() {
    let (sink, tls) = server("AUTH PLAIN", yes()).await;
    let good = probe(&policy(&[route(&sink, "Verified", ANN)]), tls.clone()).await;
    assert_eq!(
        (good.reachable, good.secured, good.authenticated, good.fault),
        (true, Some(true), Some(true), None),
        "{good:?}"
    );
    assert!(good.message.starts_with("TLSv1"), "{good:?}");
    assert!(sink.taken().is_empty() && sink.asked().is_empty());

    let basic: Reply =
        Box::new(|_, _| "550 5.7.30 Basic authentication is not supported for Client Submission".to_owned());
    let (sink, tls) = server("AUTH LOGIN", basic).await;
    let refused = probe(&policy(&[route(&sink, "Verified", ANN)]), tls.clone()).await;
    assert_eq!(
        (
            refused.reachable,
            refused.secured,
            refused.authenticated,
            refused.fault
        ),
        (
            true,
            Some(true),
            Some(false),
            Some(LoginFault::BasicAuthenticationDisabled)
        ),
        "{refused:?}"
    );
    assert!(!refused.message.contains("s3cret"), "{refused:?}");

    let authority = Authority::start(Box::new(|_, _| {
        let body =
            r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret."}"#;
        (401, String::new(), body.to_owned())
    }))
    .await;
    let credentials = client(&authority, "{secret: s-1}");
    let (sink, tls) = server("AUTH XOAUTH2", yes()).await;
    let no_token = probe(&policy(&[route(&sink, "Verified", &credentials)]), tls).await;
    assert_eq!(
        (no_token.reachable, no_token.authenticated, no_token.fault),
        (true, Some(false), Some(LoginFault::TokenRefused)),
        "{no_token:?}"
    );
    let token = no_token.token.unwrap();
    assert!(token.expires.is_none() && token.last_error.unwrap().contains("AADSTS7000215"));
    assert!(sink.logins().is_empty() && !no_token.message.contains("s-1"));

    let plain = Sink::start(Script::default()).await;
    let (_, tls) = server("AUTH PLAIN", yes()).await;
    let in_clear = probe(&policy(&[route(&plain, "Verified", ANN)]), tls.clone()).await;
    assert_eq!(
        (in_clear.reachable, in_clear.secured, in_clear.authenticated),
        (true, Some(false), None)
    );
    let address = plain.address;
    drop(plain);
    eventually("nobody listens", || {
        std::net::TcpStream::connect(address).is_err()
    })
    .await;
    let gone = format!(
        "policies:\n  - name: test/all\n    routes: [{{to: {{smartHosts: [{{host: {}, port: {}}}]}}, tls: Verified}}]\n",
        address.ip(),
        address.port()
    );
    let gone = probe(&gone, tls).await;
    assert_eq!(
        (gone.reachable, gone.secured, gone.authenticated),
        (false, None, None)
    );
    assert!(gone.message.contains("no connection"), "{gone:?}");
}
