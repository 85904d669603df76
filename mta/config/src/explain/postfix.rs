//! Names that somebody knows from Postfix (`main.cf`), and what there is here in their place.

/// What to write in place of a parameter of Postfix; `None`: it is none that is known here.
pub(super) fn in_place_of(name: &str) -> Option<&'static str> {
    let found = HERE.iter().find(|(names, _)| names.contains(&name));
    found.map(|(_, here)| *here)
}

const HERE: &[(&[&str], &str)] = &[
    (&["myhostname", "smtp_helo_name"], "`hostname`"),
    (
        &[
            "mydomain",
            "mydestination",
            "virtual_mailbox_domains",
            "relay_domains",
        ],
        "`domains`, one entry for each domain",
    ),
    (
        &["virtual_alias_maps", "alias_maps", "virtual_alias_domains"],
        "`domains[].inbound.recipients.aliases`",
    ),
    (
        &[
            "local_recipient_maps",
            "virtual_mailbox_maps",
            "relay_recipient_maps",
        ],
        "`domains[].inbound.recipients`",
    ),
    (
        &["virtual_transport", "mailbox_transport", "local_transport"],
        "`domains[].inbound.deliverTo`",
    ),
    (
        &["mynetworks", "mynetworks_style"],
        "`relayFrom`, a list of networks",
    ),
    (
        &["relayhost", "transport_maps", "default_transport"],
        "`policies[].routes[].to.smartHosts`, with host and port",
    ),
    (
        &["smtp_sasl_password_maps", "smtp_sasl_auth_enable"],
        "`policies[].routes[].credentials`",
    ),
    (
        &["smtp_tls_security_level", "smtp_tls_policy_maps", "smtp_use_tls"],
        "`policies[].routes[].tls`",
    ),
    (
        &[
            "smtpd_tls_cert_file",
            "smtpd_tls_chain_files",
            "smtpd_tls_eccert_file",
        ],
        "`tls.certificateFile`",
    ),
    (&["smtpd_tls_key_file", "smtpd_tls_eckey_file"], "`tls.keyFile`"),
    (&["smtpd_tls_security_level", "smtpd_use_tls"], "`ports[].tls`"),
    (
        &["inet_interfaces", "inet_protocols"],
        "`ports[].address`, with IP and port",
    ),
    (&["queue_directory"], "`spool.directory`"),
    (&["message_size_limit"], "`limits.messageSize`"),
    (&["smtpd_recipient_limit"], "`limits.recipientsPerMessage`"),
    (
        &["smtpd_client_connection_count_limit"],
        "`limits.connectionsPerClient`",
    ),
    (&["maximal_queue_lifetime"], "`queue.lifetime`"),
    (&["bounce_queue_lifetime"], "`queue.nullSenderLifetime`"),
    (&["delay_warning_time"], "`queue.delayNotice`"),
    (
        &["minimal_backoff_time", "maximal_backoff_time"],
        "`policies[].retry`",
    ),
    (
        &["smtpd_sasl_auth_enable", "smtpd_sasl_type", "smtpd_sasl_path"],
        "`users`, at ports of role Submission",
    ),
    (
        &["smtpd_milters", "non_smtpd_milters", "milter_default_action"],
        "`filters`",
    ),
    (
        &[
            "smtpd_client_restrictions",
            "smtpd_helo_restrictions",
            "smtpd_sender_restrictions",
            "smtpd_recipient_restrictions",
            "smtpd_relay_restrictions",
            "postscreen_dnsbl_sites",
        ],
        "`access` (who is let in) and `relayFrom` (who may relay)",
    ),
];
