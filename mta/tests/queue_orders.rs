//! Orders about the queue of a mail server that runs, given by `postroad-mta queue`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where a step fails"
)]

mod sink;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use postroad_spool::{ByMode, DeliverBy, Envelope, NEWEST_FORMAT, OLDEST_FORMAT, Options, Recipient, Spool};
use serde_json::Value;
use sink::{Script, Sink};

const PROGRAM: &str = env!("CARGO_BIN_EXE_postroad-mta");

struct Server {
    home: tempfile::TempDir,
    child: Option<Child>,
    /// Where the policy `p` leads, and nobody listens.
    nobody: u16,
    /// Where its figures are.
    health: SocketAddr,
}

/// An address of the loopback network that no other test has.
fn own_address() -> IpAddr {
    static LAST: AtomicU8 = AtomicU8::new(0);
    let [.., one, two] = std::process::id().to_be_bytes();
    IpAddr::from([127, one, two, LAST.fetch_add(1, Ordering::Relaxed) + 2])
}

impl Server {
    /// A server with mail in its queue for a next hop that nobody listens at.
    fn new(mails: &[(&str, &str)]) -> Self {
        Self::with(mails, "")
    }

    /// The same with more policies, each a line of YAML.
    fn with(mails: &[(&str, &str)], policies: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let nobody = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut server = Self {
            home,
            child: None,
            nobody,
            health: SocketAddr::new(own_address(), 9_100),
        };
        server.configure(policies);
        let promised = mails.iter().any(|(sender, _)| sender.starts_with("promised"));
        let options = Options {
            // As it writes by its configuration, where that can say it all: nothing is rewritten when it starts.
            write_format: if promised { NEWEST_FORMAT } else { OLDEST_FORMAT },
            ..Options::default()
        };
        let (spool, _) = Spool::open(&server.home.path().join("spool"), &options).unwrap();
        for (sender, recipient) in mails {
            let mut incoming = spool.begin();
            incoming.write(b"Subject: x\r\n\r\nhello\r\n").unwrap();
            let envelope = Envelope {
                reverse_path: (*sender).into(),
                recipients: vec![Recipient {
                    forward_path: (*recipient).into(),
                    ..Recipient::default()
                }],
                arrived: now(),
                expires: u64::MAX / 2,
                // What is promised to a sender of this name.
                require_tls: sender.starts_with("promised"),
                deliver_by: sender.starts_with("promised").then_some(PROMISED),
                ..Envelope::default()
            };
            incoming.commit(envelope, Vec::new()).wait().unwrap();
        }
        drop(spool);
        server.start();
        server
    }

    /// Writes the configuration; one that runs reads it again.
    fn configure(&self, policies: &str) {
        let (nobody, health, spool) = (self.nobody, self.health, self.home.path().join("spool"));
        let config = format!(
            "format: 1\nhostname: mail.example.com\nspool: {{directory: {}}}\nadmin: {{health: \"{health}\"}}\n\
             domains: [{{name: example.com, inbound: {{recipients: {{mode: Any}}, deliverTo: {{lmtp: {{host: 127.0.0.1, port: {nobody}}}}}}}}}]\n\
             policies:\n{policies}  - {{name: p, routes: [{{to: {{smartHosts: [{{host: 127.0.0.1, port: {nobody}}}]}}, tls: Disabled}}]}}\n",
            spool.display()
        );
        std::fs::write(self.config(), config).unwrap();
    }

    /// What it has said since its start.
    fn said(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap()
    }

    /// Waits for a text in the log, as a thread of its own writes that.
    fn says(&self, text: &str) {
        until(text, || self.said().contains(text));
    }

    fn config(&self) -> PathBuf {
        self.home.path().join("postroad.yaml")
    }

    fn start(&mut self) {
        let log = std::fs::File::create(self.home.path().join("log")).unwrap();
        let child = Command::new(PROGRAM)
            .arg("--config")
            .arg(self.config())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        until("it answers", || self.queue(&["sites"]).status.success());
    }

    fn restart(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        self.start();
    }

    /// Its figures.
    fn figures(&self) -> String {
        let mut stream = TcpStream::connect(self.health).unwrap();
        let ask = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(ask).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    fn queue(&self, args: &[&str]) -> Output {
        let (first, rest) = args.split_first().unwrap();
        Command::new(PROGRAM)
            .args(["queue", "--json", "--config"])
            .arg(self.config())
            .arg(first)
            .args(rest)
            .output()
            .unwrap()
    }

    fn rows(&self, args: &[&str]) -> Vec<Value> {
        let output = self.queue(args);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn state(&self, id: &str) -> Option<String> {
        let entry = self.queue(&["show", id]);
        let entry: Value = serde_json::from_slice(&entry.stdout).ok()?;
        entry["recipients"][0]["state"].as_str().map(str::to_owned)
    }
}

const PROMISED: DeliverBy = DeliverBy {
    deadline: 4_000_000_000_000,
    mode: ByMode::Return,
    trace: false,
};

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn now() -> u64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn id(row: &Value) -> &str {
    row["id"].as_str().unwrap()
}

#[test]
fn what_a_sender_was_promised_is_shown() {
    let server = Server::new(&[
        ("promised@example.org", "one@far.example"),
        ("ann@example.org", "two@far.example"),
    ]);
    let rows = server.rows(&["ls"]);
    assert_eq!(rows[0]["requireTls"], true);
    assert_eq!(rows[0]["deliverBy"], PROMISED.deadline);
    assert_eq!(rows[0]["orReturn"], true);
    assert!(rows[1].get("requireTls").is_none() && rows[1].get("deliverBy").is_none());
    let text = Command::new(PROGRAM)
        .args(["queue", "--config"])
        .arg(server.config())
        .args(["show", id(&rows[0])])
        .output()
        .unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("TLS or back  until 2096-10-02 07:06:40 or back"),
        "{text}"
    );
}

#[test]
fn messages_are_listed_held_released_and_returned() {
    let mut server = Server::new(&[
        ("ann@example.org", "one@far.example"),
        ("bob@example.com", "two@far.example"),
        ("bob@example.com", "three@near.example"),
    ]);
    assert_eq!(server.rows(&["ls"]).len(), 3);
    let near = server.rows(&["ls", "--recipient", "@near.example"]);
    assert_eq!(near.len(), 1);
    assert_eq!(near[0]["recipients"][0]["address"], "three@near.example");
    let of_bob = server.rows(&["ls", "--sender", "bob@example.com"]);
    assert_eq!(of_bob.len(), 2);
    until("the site is known with its trouble", || {
        let sites = server.rows(&["sites"]);
        sites.iter().any(|site| site["lastTrouble"].is_string())
    });

    let held = server.rows(&["hold", "--all", "--sender", "bob@example.com"]);
    assert_eq!(held[0]["ids"].as_array().unwrap().len(), 2);
    assert_eq!(server.state(id(&of_bob[0])).as_deref(), Some("held"));
    server.restart();
    assert_eq!(server.rows(&["ls", "--held"]).len(), 2, "held through a kill");

    let before = server.rows(&["show", id(&of_bob[0])])[0]["recipients"][0]["attempts"].as_u64();
    server.rows(&["release", id(&of_bob[0])]);
    until("a released message is tried", || {
        let entry = &server.rows(&["show", id(&of_bob[0])])[0]["recipients"][0];
        entry["state"] == "pending" && entry["attempts"].as_u64() > before
    });

    let returned = server.rows(&["bounce", id(&of_bob[1])]);
    assert_eq!(returned[0]["ids"][0], of_bob[1]["id"]);
    for verb in ["release", "bounce"] {
        let line = format!("\"order\":\"{verb}\"");
        server.says(&line);
        assert_eq!(server.said().matches(&line).count(), 1, "{verb}");
    }
    until("the message is gone and its sender is written to", || {
        let rows = server.rows(&["ls"]);
        let gone = rows.iter().all(|row| row["id"] != of_bob[1]["id"]);
        let notice =
            |row: &Value| row["sender"] == "" && row["recipients"][0]["address"] == "bob@example.com";
        gone && rows.iter().any(notice)
    });

    let ann = server.rows(&["ls", "--sender", "ann@example.org"]);
    let before = server.rows(&["ls"]).len();
    server.rows(&["bounce", "--silently", id(&ann[0])]);
    assert_eq!(server.rows(&["ls"]).len(), before - 1, "nobody is told");
}

#[test]
fn a_suspended_site_is_left_alone_through_a_restart_until_it_is_resumed() {
    let mut server = Server::new(&[("ann@example.org", "one@far.example")]);
    let mail = server.rows(&["ls"]);
    let attempts =
        |server: &Server| server.rows(&["show", id(&mail[0])])[0]["recipients"][0]["attempts"].as_u64();
    until("the first attempt fails", || attempts(&server) >= Some(1));
    let site = server.rows(&["sites"])[0]["name"].as_str().unwrap().to_owned();
    let suspended = server.rows(&["suspend", &site]);
    assert_eq!(suspended[0]["suspended"][0], site.as_str());
    // An attempt is recorded lazily, a hold at once: after the kill the message waits for its release, not for the site.
    server.rows(&["hold", id(&mail[0])]);
    server.restart();
    let is_suspended = |server: &Server| {
        let sites = server.rows(&["sites"]);
        sites
            .iter()
            .any(|one| one["name"] == site.as_str() && one["suspended"] == true)
    };
    assert!(is_suspended(&server), "suspended through a kill");
    server.rows(&["release", id(&mail[0])]);
    until("the message waits for its site", || {
        let sites = server.rows(&["sites"]);
        sites.iter().any(|one| one["waiting"] == 1 && one["running"] == 0)
    });
    let figures = server.figures();
    for line in [
        "postroad_mta_queue_states{state=\"Suspended\"} 1".to_owned(),
        "postroad_mta_queue_states{state=\"Running\"} 0".to_owned(),
        format!("postroad_mta_site_waiting{{site=\"{site}\"}} 1"),
        format!("postroad_mta_site_state{{site=\"{site}\",state=\"Suspended\"}} 1"),
    ] {
        assert!(figures.contains(&line), "{line} is not in\n{figures}");
    }
    let before = attempts(&server);
    server.rows(&["retry", id(&mail[0])]);
    assert_eq!(attempts(&server), before, "nothing is tried there");
    assert_eq!(
        server.rows(&["resume", &site])[0]["suspended"],
        serde_json::json!([])
    );
    until("it is tried again", || attempts(&server) > before);
    assert!(!is_suspended(&server));
}

#[test]
fn messages_that_were_moved_leave_by_the_other_policy_until_that_is_undone() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sink = runtime.block_on(Sink::start(Script::default()));
    let backup = format!(
        "  - {{name: mail/backup, match: {{recipientDomains: [nobody.example]}}, routes: [{{to: {{smartHosts: [{{host: 127.0.0.1, port: {}}}]}}, tls: Disabled}}]}}\n",
        sink.address.port()
    );
    let mails = [
        ("ann@example.org", "one@far.example"),
        ("bob@example.org", "two@far.example"),
        ("bob@example.org", "three@near.example"),
        ("cid@example.org", "four@back.example"),
        ("dan@example.org", "five@gone.example"),
    ];
    let mut server = Server::with(&mails, &backup);
    let ids: Vec<String> = server
        .rows(&["ls"])
        .iter()
        .map(|row| id(row).to_owned())
        .collect();
    let entry = |server: &Server, at: usize| server.rows(&["show", &ids[at]])[0].clone();
    let attempts = |server: &Server, at: usize| entry(server, at)["recipients"][0]["attempts"].as_u64();
    let site = format!("smtp:127.0.0.1:{}", server.nobody);
    until("all were tried in vain", || {
        (0..5).all(|at| attempts(&server, at) >= Some(1))
    });

    let refused = server.queue(&["move", &ids[0], "--to", "mail/nope"]);
    let sentence = "there is no policy `mail/nope`; there are: mail/backup, p";
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains(sentence),
        "{refused:?}"
    );

    // What is held stays held; where it goes outlives a kill.
    for at in [2, 3, 4] {
        server.rows(&["hold", &ids[at]]);
    }
    let near = server.rows(&[
        "move",
        "--recipient-domain",
        "near.example",
        "--to",
        "mail/backup",
    ]);
    assert_eq!(near[0]["ids"], serde_json::json!([ids[2]]));
    server.rows(&["move", &ids[3], &ids[4], "--to", "mail/backup"]);
    server.says("\"order\":\"move\",\"to\":\"mail/backup\"");
    assert_eq!(
        server.rows(&["move", &ids[3], "--to", "-"])[0]["ids"][0],
        ids[3].as_str()
    );
    server.restart();
    for (at, to) in [(2, Some("mail/backup")), (3, None), (4, Some("mail/backup"))] {
        let entry = entry(&server, at);
        assert_eq!(entry["movedTo"].as_str(), to, "{entry}");
        assert_eq!(entry["recipients"][0]["state"], "held", "{entry}");
    }
    server.rows(&["release", &ids[2]]);
    until("the moved one arrives", || sink.taken().len() == 1);
    assert_eq!(sink.taken()[0].rcpt.len(), 1);

    // What waits for a site, by the name of the site.
    let backlog = server.rows(&["move", "--site", &site, "--to", "mail/backup"]);
    let moved = backlog[0]["ids"].as_array().unwrap().len();
    assert_eq!(
        moved, 3,
        "the two, and the held one that was moved back: {backlog:?}"
    );
    until("the backlog arrives", || sink.taken().len() == 3);
    server.rows(&["move", &ids[3], "--to", "-"]);

    // Without its policy it takes the usual route again.
    server.configure("");
    until("the new configuration is read", || {
        let refused = server.queue(&["move", &ids[4], "--to", "mail/backup"]);
        !refused.status.success()
    });
    let before = [3, 4].map(|at| attempts(&server, at));
    server.rows(&["release", &ids[3], &ids[4]]);
    until("both are tried by the usual route", || {
        attempts(&server, 3) > before[0] && attempts(&server, 4) > before[1]
    });
    server.says("\"event\":\"move-void\"");
    assert_eq!(sink.taken().len(), 3);
    assert_eq!(server.rows(&["ls"]).len(), 2, "nothing is lost");
}

#[test]
fn a_server_is_asked_though_its_file_is_broken_meanwhile() {
    let server = Server::new(&[("ann@example.org", "one@far.example")]);
    let good = std::fs::read_to_string(server.config()).unwrap();
    for broken in [
        good.replace("hostname:", "hostnam:"),
        format!("{good}\tports: [\n"),
    ] {
        std::fs::write(server.config(), broken).unwrap();
        assert_eq!(server.rows(&["ls"]).len(), 1);
    }
    std::fs::write(server.config(), "format: 1\n").unwrap();
    let output = server.queue(&["ls"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("spool.directory"),
        "{said}"
    );
}

#[test]
fn what_cannot_be_done_is_said_in_a_sentence() {
    let server = Server::new(&[]);
    for (args, word) in [
        (&["hold", "nonsense"][..], "`nonsense` is no id"),
        (&["show", "nonsense"][..], "`nonsense` is no id"),
        (&["show", "0000000000000099"][..], "no such entry"),
        (&["hold"][..], "required"),
    ] {
        let output = server.queue(args);
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
        assert!(said.contains(word), "{args:?}: {said}");
    }
    let carried = server.rows(&["retry", "0000000000000099"]);
    assert_eq!(carried[0]["ids"].as_array().unwrap().len(), 0);
    let output = Command::new(PROGRAM)
        .args(["queue", "retry", "0000000000000099", "--config"])
        .arg(server.config())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("retry: 0 messages; 1 id with nothing to retry"),
        "{said}"
    );
    let socket = server.home.path().join("spool/admin.sock");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&socket).unwrap());
    assert_eq!(mode & 0o777, 0o600, "the socket is for its owner alone");
    let elsewhere = Command::new(PROGRAM)
        .args(["queue", "ls", "--config"])
        .arg(Path::new("/nowhere.yaml"))
        .output()
        .unwrap();
    assert!(!elsewhere.status.success());
}

#[test]
fn what_was_returned_is_not_delivered_after_a_kill_though_its_notice_has_to_wait() {
    // More than the notices that one sender gets at once.
    const MANY: usize = 40;
    let mut server = Server::new(&[("ann@example.org", "one@far.example"); MANY]);
    let returned = server.rows(&["bounce", "--all", "--sender", "ann@example.org"]);
    assert_eq!(returned[0]["ids"].as_array().unwrap().len(), MANY);
    let waits = |row: &&Value| row["recipients"][0]["state"] == "notice due";
    until("most have their notice", || {
        let waiting = server.rows(&["ls"]).iter().filter(waits).count();
        (1..=MANY / 2).contains(&waiting)
    });
    // An order is answered once all that is recorded is durable: the kill takes none of it.
    server.rows(&["release", &"0".repeat(16)]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], server.nobody));
    let sink = runtime.block_on(Sink::start_at(address, Script::default()));
    server.restart();
    until("all is gone", || server.rows(&["ls"]).is_empty());
    let taken = sink.taken();
    // A kill may have one sent again.
    assert!(taken.len() >= MANY, "{}", taken.len());
    assert!(
        taken.iter().all(|taken| taken.mail.starts_with("MAIL FROM:<>")),
        "notices, and nothing else"
    );
}

/// Changes an octet of the first `what` behind `behind` in a segment, beneath whoever has it open.
fn damage(spool: &Path, behind: &str, what: &str) {
    use std::os::unix::fs::FileExt as _;
    let find = |octets: &[u8], what: &str| octets.windows(what.len()).position(|at| at == what.as_bytes());
    for file in std::fs::read_dir(spool.join("segments")).unwrap() {
        let path = file.unwrap().path();
        let octets = std::fs::read(&path).unwrap();
        let Some(start) = find(&octets, behind) else {
            continue;
        };
        let at = start + find(&octets[start..], what).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        return file.write_all_at(b"#", at as u64).unwrap();
    }
    panic!("{behind} is in no segment");
}

#[test]
fn damage_beneath_a_running_server_is_counted_shown_and_told_to_who_can_be_named() {
    let server = Server::new(&[
        ("nameless@example.org", "one@far.example"),
        ("bodiless@example.org", "two@far.example"),
        ("whole@example.org", "three@far.example"),
    ]);
    let ids: Vec<String> = server
        .rows(&["ls"])
        .iter()
        .map(|row| id(row).to_owned())
        .collect();
    server.rows(&["hold", &ids[0], &ids[1], &ids[2]]);
    let damaged = || server.figures().contains("\npostroad_mta_spool_damaged 2\n");
    assert!(!damaged());
    let spool = server.home.path().join("spool");
    damage(&spool, "bodiless@example.org", "hello");
    damage(&spool, "nameless@example.org", "example.org");

    let rows = server.rows(&["ls"]);
    let shown: Vec<(&str, bool)> = rows
        .iter()
        .map(|row| (row["sender"].as_str().unwrap(), row["damaged"] == true))
        .collect();
    assert_eq!(
        shown,
        [
            ("", true),
            ("bodiless@example.org", true),
            ("whole@example.org", false)
        ]
    );
    assert_eq!(
        server.rows(&["show", &ids[0]])[0]["recipients"][0]["state"],
        "held"
    );
    assert!(damaged(), "{}", server.figures());

    // Where the envelope is whole its sender is told at once; the other one waits for a person.
    server.rows(&["release", &ids[0], &ids[1]]);
    until("the sender of the one is told", || {
        let rows = server.rows(&["ls"]);
        rows.iter().all(|row| id(row) != ids[1])
            && rows
                .iter()
                .any(|row| row["damaged"] != true && row["sender"] == "")
    });
    server.says("\"status\":\"5.3.0\"");
    let carried = server.rows(&["bounce", "--silently", &ids[0]]);
    assert_eq!(carried[0]["ids"].as_array().unwrap().len(), 1, "{carried:?}");
    assert!(server.rows(&["ls"]).iter().all(|row| id(row) != ids[0]));
    let said = server.said();
    let told: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("\"event\":\"damaged\""))
        .collect();
    assert_eq!(told.len(), 2, "once each: {told:?}");
    assert!(
        ids[..2]
            .iter()
            .all(|id| told.iter().any(|line| line.contains(id)))
    );
    assert!(damaged(), "the device is no better for it");
}

#[test]
fn what_cannot_be_read_does_not_hold_a_pod_that_leaves() {
    let server = Server::new(&[
        ("nameless@example.org", "one@far.example"),
        ("whole@example.org", "two@far.example"),
    ]);
    let ids: Vec<String> = server
        .rows(&["ls"])
        .iter()
        .map(|row| id(row).to_owned())
        .collect();
    let spool = server.home.path().join("spool");
    let uuid = std::fs::read_to_string(spool.join("uuid")).unwrap();
    let uuid = uuid.lines().nth(1).unwrap();
    let config = std::fs::read_to_string(server.config()).unwrap();
    std::fs::write(server.config(), format!("{config}peers: {{sealed: [{uuid}]}}\n")).unwrap();
    until("it leaves", || !server.queue(&["hold", &ids[1]]).status.success());
    let thrown_away = |id: &str| server.queue(&["bounce", "--silently", id]).status.success();
    assert!(!thrown_away(&ids[0]) && !thrown_away(&ids[1]), "both are whole");
    damage(&spool, "nameless@example.org", "example.org");
    assert!(!server.queue(&["bounce", "--silently", "--all"]).status.success());
    until("what cannot be read is gone", || {
        assert!(thrown_away(&ids[0]) && !thrown_away(&ids[1]));
        server.rows(&["ls"]).iter().all(|row| id(row) == ids[1])
    });
}
