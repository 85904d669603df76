"""Reads reports with parsedmarc. For each file one line, between tabs: name, "parsedmarc", what it found; and for one about DMARC another: name,
"schema", "valid" or what that of RFC 9990 finds wrong with its document.

What parsedmarc fetches, mails and stores with is not needed to read a file, and is not there: empty modules stand for it.
"""

import email
import gzip
import importlib.util
import logging
import pathlib
import sys
import types

ABSENT = {
    "httpx": ["Client", "HTTPError"],
    "mailsuite": [],
    "mailsuite.smtp": ["send_email"],
    "mailsuite.mailbox": [
        "GmailConnection",
        "IMAPConnection",
        "MSGraphConnection",
        "MailboxConnection",
        "MaildirConnection",
    ],
}
for name, classes in ABSENT.items():
    module = types.ModuleType(name)
    for one in classes:
        setattr(module, one, type(one, (), {}))
    sys.modules[name] = module

import parsedmarc  # noqa: E402
from lxml import etree  # noqa: E402

complaints = []


class Complaints(logging.Handler):
    def emit(self, record):
        complaints.append(record.getMessage())


parsedmarc.logger.handlers = [Complaints(logging.WARNING)]


def policy(found):
    fields = ("domain", "p", "sp", "np", "adkim", "aspf", "testing", "discovery_method")
    return " ".join(str(found[field]) for field in fields)


def record(found):
    evaluated, results = found["policy_evaluated"], found["auth_results"]
    parts = [found["source"]["ip_address"], str(found["count"])]
    parts += [evaluated[field] for field in ("disposition", "dkim", "spf")]
    parts += [f"{reason['type']} ({reason['comment']})" for reason in evaluated["policy_override_reasons"]]
    parts += [f"from={found['identifiers']['header_from']} path={found['identifiers']['envelope_from']}"]
    parts += [
        f"dkim={one['domain']}/{one['selector']}/{one['result']} ({one['human_result']})" for one in results["dkim"]
    ]
    parts += [f"spf={one['domain']}/{one['scope']}/{one['result']}" for one in results["spf"]]
    return " ".join(parts)


def aggregate(report):
    about = report["report_metadata"]
    return [
        f"aggregate {report['xml_namespace']} {about['org_name']} {about['org_email']} {about['report_id']} "
        f"{about['begin_date']} {about['end_date']}",
        policy(report["policy_published"]),
        *(record(one) for one in report["records"]),
        *about["errors"],
    ]


def sessions(found):
    details = [
        " ".join(str(value) for value in one.values()) for one in found.get("failure_details", [])
    ]
    said = " ".join(found.get("policy_strings", []))
    counts = f"{found['successful_session_count']}/{found['failed_session_count']}"
    return "; ".join([f"{found['policy_type']} {found['policy_domain']} [{said}] {counts}", *details])


def smtp_tls(report):
    fields = ("organization_name", "contact_info", "report_id", "begin_date", "end_date")
    return [
        " ".join(["smtp_tls", *(str(report[field]) for field in fields)]),
        *(sessions(one) for one in report["policies"]),
    ]


PACKAGE = pathlib.Path(importlib.util.find_spec("dmarc").submodule_search_locations[0])
SCHEMA = etree.XMLSchema(etree.parse(str(PACKAGE / "report/schemas/dmarc-2.0.xsd")))


def wrong(document):
    SCHEMA.validate(etree.fromstring(document))
    return [f"line {one.line}: {one.message}" for one in SCHEMA.error_log]


def schema(mail):
    parts = [part for part in email.message_from_bytes(mail).walk() if part.get_content_type() == "application/gzip"]
    for part in parts:
        document = gzip.decompress(part.get_payload(decode=True))
        if not wrong(document.replace(b"<count>", b"<count>some", 1)):
            yield "the schema takes anything"
        yield " | ".join(wrong(document)) or "valid"


KINDS = {"aggregate": aggregate, "smtp_tls": smtp_tls}

for name in sys.argv[1:]:
    file = pathlib.Path(name)
    complaints.clear()
    try:
        found = parsedmarc.parse_report_email(file.read_bytes(), offline=True, always_use_local_files=True)
        lines = [*KINDS[found["report_type"]](found["report"]), *complaints]
    except Exception as error:  # what it does not read is told, not raised
        lines = [f"{type(error).__name__}: {error}"]
    print(file.stem, "parsedmarc", " | ".join(lines), sep="\t")
    verdicts = list(schema(file.read_bytes()))
    if verdicts:
        print(file.stem, "schema", " | ".join(verdicts), sep="\t")
