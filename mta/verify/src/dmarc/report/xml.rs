//! Rows as the XML document of RFC 9990 appendix A. Pure; every text is escaped, so that none of it is markup.

use super::super::record::{Alignment, Policy};
use super::row::{Applied, DkimResult, Published, Reason, ReasonKind, Row, SpfResult};

/// Who reports about what time (section 2.1.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata<'a> {
    /// Who reports, in words.
    pub organization: &'a str,
    /// Address of who reports.
    pub email: &'a str,
    /// How to reach a person, otherwise.
    pub contact: Option<&'a str>,
    /// Unique among reports to the domain.
    pub report_id: &'a str,
    /// First second, since 1970.
    pub begin: u64,
    /// Last second.
    pub end: u64,
    /// Name and version of the program.
    pub generator: &'a str,
}

/// Writes a report about one policy. `rows`: at least one, with how often it came; their policies are this one.
pub fn write(metadata: &Metadata<'_>, policy: &Published, rows: &[(Row, u64)]) -> String {
    let mut out = Document(String::with_capacity(1_024 + rows.len() * 700));
    out.0.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    out.0
        .push_str("<feedback xmlns=\"urn:ietf:params:xml:ns:dmarc-2.0\">\n");
    out.text("version", "1.0");
    out.within("report_metadata", |out| {
        out.text("org_name", metadata.organization);
        out.text("email", metadata.email);
        if let Some(contact) = metadata.contact {
            out.text("extra_contact_info", contact);
        }
        out.text("report_id", metadata.report_id);
        out.within("date_range", |out| {
            out.text("begin", &metadata.begin.to_string());
            out.text("end", &metadata.end.to_string());
        });
        out.text("generator", metadata.generator);
    });
    out.policy(policy);
    for (row, count) in rows {
        out.record(row, *count);
    }
    out.0.push_str("</feedback>\n");
    out.0
}

struct Document(String);

impl Document {
    fn within(&mut self, name: &str, inside: impl FnOnce(&mut Self)) {
        self.0.extend(["<", name, ">\n"]);
        inside(self);
        self.0.extend(["</", name, ">\n"]);
    }

    fn text(&mut self, name: &str, text: &str) {
        self.0.extend(["<", name, ">"]);
        self.escaped(text);
        self.0.extend(["</", name, ">\n"]);
    }

    /// What XML 1.0 has no place for becomes U+FFFD (section 2.2 there).
    fn escaped(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&apos;"),
                '\u{fffe}' | '\u{ffff}' => self.0.push('\u{fffd}'),
                other if other.is_control() => self.0.push('\u{fffd}'),
                other => self.0.push(other),
            }
        }
    }

    fn policy(&mut self, policy: &Published) {
        self.within("policy_published", |out| {
            out.text("domain", &policy.domain);
            out.text("discovery_method", "treewalk");
            out.text("p", of_policy(policy.p));
            out.text("sp", of_policy(policy.sp));
            out.text("np", of_policy(policy.np));
            out.text("adkim", of_alignment(policy.adkim));
            out.text("aspf", of_alignment(policy.aspf));
            out.text("testing", if policy.testing { "y" } else { "n" });
        });
    }

    fn record(&mut self, row: &Row, count: u64) {
        self.within("record", |out| {
            out.within("row", |out| {
                out.text("source_ip", &row.source.to_string());
                out.text("count", &count.to_string());
                out.evaluated(row);
            });
            out.within("identifiers", |out| {
                out.text("header_from", &row.header_from);
                out.text("envelope_from", &row.envelope_from);
            });
            out.within("auth_results", |out| {
                row.dkim.iter().for_each(|one| out.dkim(one));
                row.spf.iter().for_each(|one| out.spf(one));
            });
        });
    }

    fn evaluated(&mut self, row: &Row) {
        let aligned = |passed| if passed { "pass" } else { "fail" };
        self.within("policy_evaluated", |out| {
            out.text("disposition", of_disposition(row.disposition));
            out.text("dkim", aligned(row.dkim_aligned));
            out.text("spf", aligned(row.spf_aligned));
            row.reasons.iter().for_each(|one| out.reason(one));
        });
    }

    fn reason(&mut self, reason: &Reason) {
        self.within("reason", |out| {
            out.text(
                "type",
                match reason.kind {
                    ReasonKind::LocalPolicy => "local_policy",
                    ReasonKind::PolicyTestMode => "policy_test_mode",
                    ReasonKind::TrustedForwarder => "trusted_forwarder",
                },
            );
            if !reason.comment.is_empty() {
                out.text("comment", &reason.comment);
            }
        });
    }

    fn dkim(&mut self, result: &DkimResult) {
        self.within("dkim", |out| {
            out.text("domain", &result.domain);
            out.text("selector", &result.selector);
            out.text("result", &result.result);
            if let Some(why) = &result.why {
                out.text("human_result", why);
            }
        });
    }

    fn spf(&mut self, result: &SpfResult) {
        self.within("spf", |out| {
            out.text("domain", &result.domain);
            out.text("scope", "mfrom");
            out.text("result", &result.result);
            if let Some(why) = &result.why {
                out.text("human_result", why);
            }
        });
    }
}

fn of_policy(policy: Policy) -> &'static str {
    policy.as_str()
}

fn of_alignment(alignment: Alignment) -> &'static str {
    match alignment {
        Alignment::Relaxed => "r",
        Alignment::Strict => "s",
    }
}

fn of_disposition(disposition: Applied) -> &'static str {
    match disposition {
        Applied::None => "none",
        Applied::Pass => "pass",
        Applied::Quarantine => "quarantine",
        Applied::Reject => "reject",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: Metadata<'_> = Metadata {
        organization: "Ears & Eyes <Inc.>",
        email: "reports@mx.example",
        contact: Some("https://mx.example/?a=1&b=2"),
        report_id: "a1b2",
        begin: 1_795_824_000,
        end: 1_795_910_399,
        generator: "Postroad 0.1.0",
    };

    fn policy() -> Published {
        Published {
            domain: "a.example".to_owned(),
            p: Policy::Reject,
            sp: Policy::Quarantine,
            np: Policy::None,
            adkim: Alignment::Relaxed,
            aspf: Alignment::Strict,
            testing: true,
        }
    }

    fn row() -> Row {
        Row {
            policy: policy(),
            source: "2001:db8::1".parse().unwrap(),
            disposition: Applied::Quarantine,
            dkim_aligned: false,
            spf_aligned: true,
            reasons: vec![Reason {
                kind: ReasonKind::PolicyTestMode,
                comment: String::new(),
            }],
            header_from: "a.example".to_owned(),
            envelope_from: String::new(),
            dkim: vec![DkimResult {
                domain: "a.example".to_owned(),
                selector: "s1".to_owned(),
                result: "fail".to_owned(),
                why: Some("a ]]> \"b\" \u{0} <c/>".to_owned()),
            }],
            spf: Some(SpfResult {
                domain: "mx.a.example".to_owned(),
                result: "pass".to_owned(),
                why: None,
            }),
            is_report: false,
        }
    }

    const WHOLE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0">
<version>1.0</version>
<report_metadata>
<org_name>Ears &amp; Eyes &lt;Inc.&gt;</org_name>
<email>reports@mx.example</email>
<extra_contact_info>https://mx.example/?a=1&amp;b=2</extra_contact_info>
<report_id>a1b2</report_id>
<date_range>
<begin>1795824000</begin>
<end>1795910399</end>
</date_range>
<generator>Postroad 0.1.0</generator>
</report_metadata>
<policy_published>
<domain>a.example</domain>
<discovery_method>treewalk</discovery_method>
<p>reject</p>
<sp>quarantine</sp>
<np>none</np>
<adkim>r</adkim>
<aspf>s</aspf>
<testing>y</testing>
</policy_published>
<record>
<row>
<source_ip>2001:db8::1</source_ip>
<count>3</count>
<policy_evaluated>
<disposition>quarantine</disposition>
<dkim>fail</dkim>
<spf>pass</spf>
<reason>
<type>policy_test_mode</type>
</reason>
</policy_evaluated>
</row>
<identifiers>
<header_from>a.example</header_from>
<envelope_from></envelope_from>
</identifiers>
<auth_results>
<dkim>
<domain>a.example</domain>
<selector>s1</selector>
<result>fail</result>
<human_result>a ]]&gt; &quot;b&quot; � &lt;c/&gt;</human_result>
</dkim>
<spf>
<domain>mx.a.example</domain>
<scope>mfrom</scope>
<result>pass</result>
</spf>
</auth_results>
</record>
</feedback>
"#;

    #[test]
    fn the_document_is_that_of_the_standard_and_text_is_no_markup() {
        assert_eq!(write(&METADATA, &policy(), &[(row(), 3)]), WHOLE);
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_markup(text in ".{0,80}") {
            let mut row = row();
            row.reasons[0].comment.clone_from(&text);
            row.header_from.clone_from(&text);
            if let Some(dkim) = row.dkim.first_mut() {
                dkim.selector.clone_from(&text);
            }
            let metadata = Metadata { organization: &text, ..METADATA };
            let document = write(&metadata, &policy(), &[(row, 1)]);
            let tags = |text: &str| text.matches('<').count();
            // A comment is an element more where it is not empty.
            let more = if text.is_empty() { 0 } else { 2 };
            proptest::prop_assert_eq!(tags(&document), tags(WHOLE) + more);
            proptest::prop_assert!(!document.chars().any(|c| c != '\n' && c.is_control()));
        }
    }
}
