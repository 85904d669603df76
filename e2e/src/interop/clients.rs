//! Programs that people send mail with: each logs in and hands a message in, over STARTTLS and over implicit TLS as far as
//! it knows them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::ours::{Ours, USER};
use super::sink::Sink;
use super::{Table, Verdict};
use crate::kubectl::Outcome;
use crate::place::{self, free_address};
use crate::rootfs::Rootfs;
use crate::shell::Shell;

/// A client: the root file system it lives in, and the shell commands for each mode. They find `$PORT`, `$PASSWORD`, `$TO`, a
/// message in `/mail` and the authority of our
/// certificate in `/ca.pem`.
struct Client {
    name: &'static str,
    root: &'static str,
    starttls: Option<&'static str>,
    implicit: Option<&'static str>,
}

/// Root file systems: name, packages of Debian, and what pip adds.
const ROOTS: &[(&str, &[&str], &str)] = &[
    (
        "clients",
        &[
            "swaks",
            "libnet-ssleay-perl",
            "libauthen-sasl-perl",
            "msmtp",
            "s-nail",
            "mutt",
            "neomutt",
            "libsasl2-modules",
            "python3",
            "node-nodemailer",
            "ca-certificates",
        ],
        "",
    ),
    ("aiosmtplib", &["python3", "python3-pip"], AIOSMTPLIB),
    ("nullmailer", &["nullmailer"], ""),
    ("esmtp", &["esmtp"], ""),
    ("dma", &["dma"], ""),
    ("nodemailer", &["node-nodemailer", "nodejs"], ""),
];

/// Debian has aiosmtplib 2.0 only.
const AIOSMTPLIB: &str = include_str!("../../peers/clients.txt");

macro_rules! python {
    ($text:literal) => {
        concat!(
            "exec python3 -c 'import os, ssl, smtplib, asyncio\n",
            "port, to, word = int(os.environ[\"PORT\"]), os.environ[\"TO\"], os.environ[\"PASSWORD\"]\n",
            "context = ssl.create_default_context(cafile=\"/ca.pem\")\nmail = open(\"/mail\").read()\n",
            $text,
            "'"
        )
    };
}

/// It sends its queue in the background until it is told to end.
macro_rules! nullmailer {
    ($tls:literal) => {
        concat!(
            "echo \"127.0.0.1 smtp --port=$PORT ",
            $tls,
            " --insecure --auth-login --user=alice --pass=$PASSWORD\" >/etc/nullmailer/remotes\n",
            "echo back.test >/etc/mailname; chown mail /etc/nullmailer/remotes; cd /var/spool/nullmailer\n",
            "test -p trigger || mkfifo -m 622 trigger; chown -R mail .\n",
            "nullmailer-inject -f alice@back.test $TO </mail\n",
            "setpriv --reuid=mail --clear-groups nullmailer-send & \n",
            "while [ -n \"$(ls queue)\" ]; do sleep 0.05; done; kill $!"
        )
    };
}

const CLIENTS: &[Client] = &[
    Client {
        name: "swaks",
        root: "clients",
        starttls: Some(
            "exec swaks --server 127.0.0.1:$PORT -tls --auth-user alice --auth-password $PASSWORD \
             --auth PLAIN --from alice@back.test --to $TO",
        ),
        implicit: Some(
            "exec swaks --server 127.0.0.1:$PORT -tlsc --auth-user alice --auth-password $PASSWORD \
             --auth LOGIN --from alice@back.test --to $TO",
        ),
    },
    Client {
        name: "smtplib",
        root: "clients",
        starttls: Some(python!(
            "with smtplib.SMTP(\"localhost\", port) as s: s.starttls(context=context); s.login(\"alice\", word); \
             s.sendmail(\"alice@back.test\", to, mail)"
        )),
        implicit: Some(python!(
            "with smtplib.SMTP_SSL(\"localhost\", port, context=context) as s: s.login(\"alice\", word); \
             s.sendmail(\"alice@back.test\", to, mail)"
        )),
    },
    Client {
        name: "aiosmtplib",
        root: "aiosmtplib",
        starttls: Some(python!(
            "import aiosmtplib\nasyncio.run(aiosmtplib.send(mail, sender=\"alice@back.test\", recipients=[to], \
             hostname=\"localhost\", port=port, username=\"alice\", password=word, start_tls=True, tls_context=context))"
        )),
        implicit: Some(python!(
            "import aiosmtplib\nasyncio.run(aiosmtplib.send(mail, sender=\"alice@back.test\", recipients=[to], \
             hostname=\"localhost\", port=port, username=\"alice\", password=word, use_tls=True, tls_context=context))"
        )),
    },
    Client {
        name: "msmtp",
        root: "clients",
        starttls: Some(
            "exec msmtp --host=localhost --port=$PORT --tls=on --tls-starttls=on --tls-trust-file=/ca.pem --auth=on \
             --user=alice --passwordeval=\"echo $PASSWORD\" --from=alice@back.test $TO </mail",
        ),
        implicit: Some(
            "exec msmtp --host=localhost --port=$PORT --tls=on --tls-starttls=off --tls-trust-file=/ca.pem --auth=on \
             --user=alice --passwordeval=\"echo $PASSWORD\" --from=alice@back.test $TO </mail",
        ),
    },
    Client {
        name: "nullmailer",
        root: "nullmailer",
        starttls: Some(nullmailer!("--starttls")),
        implicit: Some(nullmailer!("--ssl")),
    },
    Client {
        name: "dma",
        root: "dma",
        starttls: Some(
            "printf 'SMARTHOST 127.0.0.1\\nPORT %s\\nAUTHPATH /etc/dma/auth.conf\\nSECURETRANSFER\\nSTARTTLS\\n' $PORT \
             >/etc/dma/dma.conf; echo \"alice|127.0.0.1:$PASSWORD\" >/etc/dma/auth.conf; \
             exec dma -f alice@back.test $TO </mail",
        ),
        implicit: Some(
            "printf 'SMARTHOST 127.0.0.1\\nPORT %s\\nAUTHPATH /etc/dma/auth.conf\\nSECURETRANSFER\\n' $PORT \
             >/etc/dma/dma.conf; echo \"alice|127.0.0.1:$PASSWORD\" >/etc/dma/auth.conf; \
             exec dma -f alice@back.test $TO </mail",
        ),
    },
    Client {
        name: "s-nail",
        root: "clients",
        starttls: Some(
            "exec s-nail -:/ -Sv15-compat -Smta=smtp://alice:$PASSWORD@localhost:$PORT -Ssmtp-use-starttls -Ssmtp-auth=plain \
             -Stls-ca-file=/ca.pem -Stls-ca-no-defaults -Sfrom=alice@back.test -s x $TO </mail",
        ),
        implicit: Some(
            "exec s-nail -:/ -Sv15-compat -Smta=submissions://alice:$PASSWORD@localhost:$PORT \
             -Stls-ca-file=/ca.pem -Stls-ca-no-defaults -Sfrom=alice@back.test -s x $TO </mail",
        ),
    },
    Client {
        name: "mutt",
        root: "clients",
        starttls: Some(
            "exec mutt -n -F /dev/null -e \"set from=alice@back.test smtp_url=smtp://alice:$PASSWORD@localhost:$PORT \
             ssl_force_tls=yes ssl_starttls=yes certificate_file=/ca.pem copy=no\" -s x $TO </mail",
        ),
        implicit: Some(
            "exec mutt -n -F /dev/null -e \"set from=alice@back.test smtp_url=smtps://alice:$PASSWORD@localhost:$PORT \
             certificate_file=/ca.pem copy=no\" -s x $TO </mail",
        ),
    },
    Client {
        name: "neomutt",
        root: "clients",
        starttls: Some(
            "exec neomutt -n -F /dev/null -e \"set from=alice@back.test smtp_url=smtp://alice:$PASSWORD@localhost:$PORT \
             ssl_force_tls=yes ssl_starttls=yes certificate_file=/ca.pem copy=no\" -s x $TO </mail",
        ),
        implicit: Some(
            "exec neomutt -n -F /dev/null -e \"set from=alice@back.test smtp_url=smtps://alice:$PASSWORD@localhost:$PORT \
             certificate_file=/ca.pem copy=no\" -s x $TO </mail",
        ),
    },
    Client {
        name: "esmtp",
        root: "esmtp",
        // libESMTP 1.1 waits for ever for a reply to what it has not said yet, where a session ticket of TLS 1.3 is there
        // before it looks; any server that gives tickets meets that. So it speaks TLS 1.2.
        starttls: Some(
            "mkdir -p $HOME/.config/libesmtp; chmod 700 $HOME/.config/libesmtp; cp /ca.pem $HOME/.config/libesmtp/ca.pem
             printf 'hostname = localhost:%s\nusername = \"alice\"\npassword = \"%s\"\nstarttls = required\n' \
               $PORT $PASSWORD >$HOME/.esmtprc
             printf 'openssl_conf=a\n[a]\nssl_conf=b\n[b]\nsystem_default=c\n[c]\nMaxProtocol=TLSv1.2\n' >$HOME/tls.cnf
             export OPENSSL_CONF=$HOME/tls.cnf
             chmod 600 $HOME/.esmtprc $HOME/.config/libesmtp/ca.pem; exec esmtp -f alice@back.test $TO </mail",
        ),
        // libESMTP knows only STARTTLS.
        implicit: None,
    },
    Client {
        name: "nodemailer",
        root: "nodemailer",
        starttls: Some(NODE),
        implicit: Some(NODE),
    },
];

const NODE: &str = "export NODE_PATH=/usr/share/nodejs; exec node -e '
    const { PORT, PASSWORD, TO, MODE } = process.env;
    require(\"nodemailer\").createTransport({
      host: \"localhost\", port: +PORT, secure: MODE === \"implicit\", requireTLS: true,
      auth: { user: \"alice\", pass: PASSWORD }, tls: { ca: require(\"fs\").readFileSync(\"/ca.pem\") },
    }).sendMail({ from: \"alice@back.test\", to: TO, subject: \"x\", text: \"hello\" })
      .catch(error => { console.error(error); process.exit(1) })'";

const MAIL: &str = "From: alice@back.test\nTo: bob@any.test\nSubject: x\n\nhello\n";

pub(super) fn play() -> Outcome<Vec<Table>> {
    let sink = Sink::start()?;
    let ours = Ours::start(free_address()?, &[], sink.address)?;
    let mut table = Table::new("client", &["STARTTLS", "implicit TLS"]);
    for (root, packages, wheels) in ROOTS {
        let scratch = tempfile::tempdir()?;
        let jail = Rootfs::with_wheels(root, packages, wheels)?.enter(scratch.path(), &[])?;
        jail.write("/ca.pem", std::fs::read(ours.authority())?)?;
        jail.write("/mail", MAIL)?;
        for client in CLIENTS.iter().filter(|client| client.root == *root) {
            let scripts = [client.starttls, client.implicit];
            let programs = scripts.map(|script| Some(jail.shell("sh").args(["-c", script?])));
            table.rows.push(row(client.name, programs, &ours, &sink));
        }
    }
    let lettre = lettre()?;
    let programs = [(); 2].map(|()| Some(Shell::new(&lettre).env("CA", ours.authority())));
    table.rows.push(row("lettre", programs, &ours, &sink));
    Ok(vec![table])
}

/// lettre is a library: a program with it is an example of this crate.
fn lettre() -> Outcome<PathBuf> {
    let build = [
        "build",
        "--locked",
        "--quiet",
        "--package",
        "postroad-e2e",
        "--example",
        "lettre",
    ];
    Shell::new(place::cargo()).dir(&place::tree()).args(build).run()?;
    Ok(place::target().join("debug/examples/lettre"))
}

/// `programs`: for STARTTLS and for implicit TLS, if it knows that.
fn row(name: &str, programs: [Option<Shell>; 2], ours: &Ours, sink: &Sink) -> (String, Vec<Verdict>) {
    let modes = [("starttls", ours.submission), ("implicit", ours.submissions)];
    let start = Instant::now();
    let verdicts: Vec<_> = modes
        .into_iter()
        .zip(programs)
        .map(|((mode, address), program)| {
            program.map_or(Verdict::Absent, |program| {
                submit(program, sink, name, mode, address.port())
            })
        })
        .collect();
    eprintln!("    {name}: {:.1} s", start.elapsed().as_secs_f32());
    if verdicts.iter().any(|one| matches!(one, Verdict::Fail(_))) {
        eprintln!("our log:\n{}", ours.log());
    }
    (name.to_owned(), verdicts)
}

fn submit(program: Shell, sink: &Sink, name: &str, mode: &str, port: u16) -> Verdict {
    let to = format!("{name}-{mode}@any.test");
    let said = program
        .env("PORT", port.to_string())
        .env("PASSWORD", USER.1)
        .env("TO", &to)
        .env("MODE", mode)
        .limit(Duration::from_mins(1))
        .try_run();
    let arrived = sink.wait(Duration::from_secs(5), |one| one.recipient == to);
    match (arrived, said) {
        (Some(_), _) => Verdict::Yes,
        (None, Ok(said)) => Verdict::Fail(format!("nothing arrived; it said: {} {}", said.text(), said.err)),
        (None, Err(error)) => Verdict::Fail(error.to_string()),
    }
}
