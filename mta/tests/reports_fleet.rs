//! Pods of one fleet count what they see, and report a day once: after its end, by the pod that the day belongs to.

#![allow(clippy::unwrap_used, reason = "a test may end so, its helpers too")]

mod fleet;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fleet::http::api;
use fleet::{Fleet, Pod, Start};
use postroad_config::admin::{SealState, State};
use postroad_config::{Endpoint, FleetPod};
use postroad_mta::reports::{Day, Kind, Letter, NotNow, Writer, Writing, Written};
use postroad_mta::settings::Settings;

const DAY: u64 = 86_400;
/// Noon of some day.
const NOON: u64 = 20_785 * DAY + DAY / 2;
/// So many that each of two pods has its share: whose a domain is hangs on their names, which are random.
const DOMAINS: u64 = 40;

/// Writes down what it is given, and a letter of it.
struct Scribe {
    days: Arc<Mutex<Vec<Day>>>,
    able: Arc<AtomicBool>,
}

impl Writer for Scribe {
    fn kind(&self) -> Kind {
        Kind::Tls
    }

    fn is_wanted(&self, settings: &Settings) -> bool {
        settings.set.file.reports.organization.as_deref() != Some("nobody")
    }

    fn write<'a>(&'a self, day: &'a Day, settings: &'a Settings) -> Writing<'a> {
        Box::pin(async move {
            if !self.able.load(Ordering::Relaxed) {
                return Err(NotNow("not able".to_owned()));
            }
            self.days.lock().unwrap().push(day.clone());
            let letter = Letter {
                from: format!("postmaster@{}", settings.hostname()),
                to: format!("reports@{}", day.of.domain),
                subject: vec!["Report".to_owned()],
                message_id: format!("{}@{}", day.id, settings.hostname()),
                fields: vec![],
                report_type: None,
                text: vec![],
                media_type: "application/gzip",
                file_name: "report.gz".to_owned(),
                report: vec![],
            };
            Ok(Written {
                letters: vec![letter],
                ..Written::default()
            })
        })
    }
}

/// What the pods have in common.
struct Play {
    fleet: Fleet,
    clock: Arc<AtomicU64>,
    days: Arc<Mutex<Vec<Day>>>,
    able: Arc<AtomicBool>,
}

impl Play {
    fn new() -> Self {
        Self {
            fleet: Fleet::new(),
            clock: Arc::new(AtomicU64::new(NOON)),
            days: Arc::default(),
            able: Arc::new(AtomicBool::new(true)),
        }
    }

    async fn start(&self, name: &str) -> Pod {
        self.start_leaving(name, None).await
    }

    /// A pod that, when it leaves, waits for others so long.
    async fn start_leaving(&self, name: &str, leave: Option<Duration>) -> Pod {
        let scribe = Scribe {
            days: self.days.clone(),
            able: self.able.clone(),
        };
        let start = Start {
            writers: vec![Arc::new(scribe)],
            clock: Some(self.clock.clone()),
            leave,
            ..Start::default()
        };
        self.fleet.start(name, start).await
    }

    /// Tells these pods that the members are the fleet.
    fn tell(&self, pods: &[&Pod], members: &[&Pod], organization: Option<&str>) {
        for pod in pods {
            let mut set = self.fleet.set(pod.address(), vec![]);
            let member = |member: &&Pod| FleetPod {
                name: member.spool.uuid().to_string(),
                admin: Endpoint {
                    host: member.address().ip().to_string(),
                    port: member.address().port(),
                },
            };
            set.file.peers.fleet = members.iter().map(member).collect();
            set.file.reports.organization = organization.map(str::to_owned);
            pod.live.swap(Settings::new(set).unwrap());
        }
    }

    /// Noon of such a day: all reports about the days before are due.
    fn days_later(&self, days: u64) {
        self.later(days * DAY);
    }

    fn later(&self, seconds: u64) {
        self.clock.fetch_add(seconds, Ordering::Relaxed);
    }

    /// What was reported: domain, rows and count of all of them.
    fn reported(&self) -> Vec<(String, usize, u64)> {
        let days = self.days.lock().unwrap();
        let shown = days.iter().map(|day| {
            let count = day.rows.iter().map(|(_, count)| count).sum();
            (day.of.domain.clone(), day.rows.len(), count)
        });
        let mut shown: Vec<_> = shown.collect();
        shown.sort();
        shown
    }
}

fn domain(number: u64) -> String {
    format!("d{number:02}.example")
}

fn rows(pod: &Pod) -> u64 {
    figure(pod, "postroad_mta_report_rows ")
}

fn figure(pod: &Pod, name: &str) -> u64 {
    let text = pod.metrics.text().unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |count| count.parse().unwrap())
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_mins(1);
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_pods_report_a_day_once_each_a_share_of_it() {
    let play = Play::new();
    let (one, two, three) = (
        play.start("one").await,
        play.start("two").await,
        play.start("three").await,
    );
    let all = [&one, &two, &three];
    play.tell(&all, &all, None);
    for number in 0..DOMAINS {
        for (at, pod) in all.iter().enumerate() {
            pod.reports
                .count(Kind::Tls, &domain(number).to_uppercase(), &"common");
            pod.reports.count(Kind::Tls, &domain(number), &"common");
            pod.reports.count(Kind::Tls, &domain(number), &at);
        }
    }
    until("it is counted", || all.iter().all(|pod| rows(pod) == 2 * DOMAINS)).await;
    assert!(play.reported().is_empty(), "the day is not over");
    // One that leaves in the middle of the day gives all away, and ends.
    play.tell(&all, &[&one, &two], None);
    until("the third has given all away", || rows(&three) == 0).await;
    three.end().await;
    let standing = || (rows(&one), rows(&two));
    // Of each domain one has three rows, and the other the two that it counted itself.
    until("the others have seen what it gave", || {
        let (first, second) = standing();
        first + second == 5 * DOMAINS
    })
    .await;
    play.later(DAY / 2 + 60);
    // A figure is as old as the pod's last look. With four rows for each domain of its own, neither is of before.
    until("each row is where its report is made", || {
        let (first, second) = standing();
        first + second == 4 * DOMAINS && first % 4 == 0 && second % 4 == 0
    })
    .await;
    assert!(play.reported().is_empty(), "it is not due");
    play.later(DAY / 2);
    let expected: Vec<_> = (0..DOMAINS).map(|number| (domain(number), 4, 9)).collect();
    until("all is reported", || play.reported().len() >= expected.len()).await;
    assert_eq!(play.reported(), expected);
    until("nothing is left", || rows(&one) + rows(&two) == 0).await;
    let shares = [one.book.queued(), two.book.queued()];
    assert_eq!(shares[0] + shares[1], expected.len());
    assert!(!shares.contains(&0), "each pod has its share: {shares:?}");
    let queued = "postroad_mta_reports_total{kind=\"Tls\",end=\"Queued\"} ";
    assert_eq!(figure(&one, queued) + figure(&two, queued), DOMAINS);
    one.end().await;
    two.end().await;
    let two = play.start("two").await;
    until("it has looked", || {
        two.metrics.text().unwrap().contains("postroad_mta_report_rows 0")
    })
    .await;
    assert_eq!(play.reported().len(), expected.len(), "a restart repeats nothing");
    two.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_counted_outlives_the_process_and_waits_for_who_can_write_it() {
    let play = Play::new();
    let pod = play.start("one").await;
    for _ in 0..3 {
        pod.reports.count(Kind::Tls, "a.example", &"row");
    }
    pod.end().await;
    play.able.store(false, Ordering::Relaxed);
    play.days_later(1);
    let pod = play.start("one").await;
    pod.reports.count(Kind::Tls, "a.example", &"row");
    until("both days are known", || rows(&pod) == 2).await;
    assert!(play.reported().is_empty());
    play.able.store(true, Ordering::Relaxed);
    play.days_later(1);
    until("two days are reported", || play.reported().len() == 2).await;
    assert_eq!(
        play.reported(),
        [("a.example".to_owned(), 1, 1), ("a.example".to_owned(), 1, 3)]
    );
    let days = play.days.lock().unwrap().clone();
    assert_ne!(days[0].id, days[1].id);
    pod.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_wants_or_is_too_old_goes_without_a_word_to_anybody() {
    let play = Play::new();
    let pod = play.start("one").await;
    play.able.store(false, Ordering::Relaxed);
    pod.reports.count(Kind::Tls, "a.example", &"row");
    play.days_later(5);
    let too_old = "postroad_mta_reports_total{kind=\"Tls\",end=\"TooOld\"} ";
    until("it is too old", || figure(&pod, too_old) == 1).await;
    play.tell(&[&pod], &[], Some("nobody"));
    play.able.store(true, Ordering::Relaxed);
    pod.reports.count(Kind::Tls, "b.example", &"row");
    until("it is counted", || rows(&pod) == 1).await;
    play.days_later(1);
    until("it is dropped", || rows(&pod) == 0).await;
    assert!(play.reported().is_empty());
    assert_eq!(pod.book.queued(), 0);
    pod.end().await;
}

/// What the admin API of a pod says of its seal.
async fn seal(play: &Play, pod: &Pod) -> SealState {
    let operator = play.fleet.operator();
    let (status, text) = api(
        &play.fleet,
        pod.address(),
        "GET",
        "/v1/state",
        Some(&operator),
        "",
    )
    .await;
    assert_eq!(status, 200, "{text}");
    let state: State = serde_json::from_str(&text).unwrap();
    state.seal.unwrap()
}

/// Tells a pod that another one is of its fleet, and where it is.
fn tell_of(play: &Play, pod: &Pod, other: &Pod, port: u16) {
    play.tell(&[pod], &[pod, other], None);
    let mut set = pod.live.current().set.clone();
    let member = set.file.peers.fleet.last_mut().unwrap();
    member.admin.port = port;
    pod.live.swap(Settings::new(set).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_leaves_is_not_empty_before_another_one_has_its_counts() {
    let play = Play::new();
    let (one, two) = (play.start("one").await, play.start("two").await);
    // Nobody listens there.
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = nowhere.local_addr().unwrap().port();
    drop(nowhere);
    tell_of(&play, &one, &two, closed);
    play.tell(&[&two], &[&one, &two], None);
    for number in 0..DOMAINS {
        one.reports.count(Kind::Tls, &domain(number), &"row");
    }
    // The configuration still says that it stays: the seal alone says that it leaves.
    one.seal(&[]).await;
    for _ in 0..3 {
        let seal = seal(&play, &one).await;
        assert!(!seal.empty && seal.remaining > 0, "{seal:?}");
        assert!(seal.stuck.unwrap().contains("counts"));
    }
    assert!(one.spool.is_empty(), "it has no mail");
    tell_of(&play, &one, &two, two.address().port());
    let end = Instant::now() + Duration::from_mins(1);
    while !seal(&play, &one).await.empty {
        assert!(Instant::now() < end, "it is never empty");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    one.end().await;
    // All of it, those that would have been the other's too.
    until("the other has all", || rows(&two) == DOMAINS).await;
    play.tell(&[&two], &[&two], None);
    play.days_later(1);
    until("all is reported", || play.reported().len() as u64 == DOMAINS).await;
    two.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_is_not_held_up_for_ever_by_counts_that_nobody_takes() {
    let play = Play::new();
    let one = play.start_leaving("one", Some(Duration::ZERO)).await;
    let two = play.start("two").await;
    play.tell(&[&one], &[&one, &two], None);
    let address = two.address();
    two.end().await;
    one.reports.count(Kind::Tls, "a.example", &"row");
    one.seal(&[address]).await;
    assert!(seal(&play, &one).await.empty);
    one.end().await;
    // Who has nobody to give to waits for nobody.
    let one = play.start("one").await;
    until("it was kept on the volume", || rows(&one) == 1).await;
    play.tell(&[&one], &[&one], None);
    assert!(seal(&play, &one).await.empty);
    one.end().await;
}
