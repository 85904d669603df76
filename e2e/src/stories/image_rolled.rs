//! A new image goes pod by pod, highest first, under mail that waits and a client in the middle of a mail: that mail is accepted,
//! and all of it arrives once. An image that cannot be had stops the rollout at one pod, and says so; the way back mends it.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::images::{self, Image, Product};
use crate::install;
use crate::kubectl::{Failure, Outcome, condition, is, until};
use crate::mail::Mail;
use crate::mail::submit::Security;
use crate::mailroom::{LISTENER, Mailroom, PASSWORD, USER};
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let mut room = Mailroom::new(scene, 3);
    room.listener["spec"]["rollout"] = json!({"deadline": "60s"});
    let room = room.open()?;
    budget_restored(&room)?;
    let next = images::next_mta(&scene.world.product)?;
    scene.world.cluster.load(&[next.archive.as_path()])?;
    scene.world.peers.set_far_running(false)?;
    let result = with_far_down(scene, &room, &next);
    // Whatever happened, the next story has the usual image.
    scene.world.peers.set_far_running(true)?;
    let usual = install(scene, &scene.world.product.mta);
    let mails = result?;
    usual?;
    room.expect_at_far(&mails, Duration::from_mins(3))?;
    await_rolled_out(&room, &scene.world.product.mta)
}

fn with_far_down(scene: &Scene<'_>, room: &Mailroom<'_>, next: &Image) -> Outcome<Vec<Mail>> {
    let mut mails = room.send_through(&PODS, 2)?;
    room.await_held(&PODS, mails.len(), Duration::from_mins(1))?;
    mails.push(rolled_under_a_session(scene, room, next)?);
    room.await_held(&PODS, mails.len(), Duration::from_mins(1))?;
    mails.push(stopped_at_one_pod(scene, room)?);
    install(scene, next)?;
    await_rolled_out(room, next)?;
    room.await_held(&PODS, mails.len(), Duration::from_mins(1))?;
    Ok(mails)
}

/// Changed by hand, the budget is put right at once, not at the next look half a minute later.
fn budget_restored(room: &Mailroom<'_>) -> Outcome {
    let budget = format!("poddisruptionbudget/{LISTENER}");
    room.namespace()
        .patch(&budget, &json!({"spec": {"maxUnavailable": 3}}))?;
    let restored = |budget: &Value| budget["spec"]["maxUnavailable"] == 1;
    room.namespace()
        .wait_for(&budget, "maxUnavailable: 1", Duration::from_secs(10), restored)
        .map(drop)
}

/// Upgrades the release to another image of the mail server.
pub(super) fn install(scene: &Scene<'_>, mta: &Image) -> Outcome {
    upgrade(scene, mta)()
}

/// The same, for a thread of its own.
fn upgrade(scene: &Scene<'_>, mta: &Image) -> impl FnOnce() -> Outcome + Send + use<> {
    let product = Product {
        mta: mta.clone(),
        ..scene.world.product.clone()
    };
    let (cluster, dns) = (scene.world.cluster.clone(), scene.world.peers.dns.clone());
    move || install::install(&cluster, &product, &dns)
}

/// A pod as a person sees it.
struct Seen {
    uid: String,
    image: String,
    serves: bool,
    ending: bool,
}

fn look(room: &Mailroom<'_>) -> Outcome<BTreeMap<String, Seen>> {
    let selector = format!("--selector=postroad.dev/listener={LISTENER}");
    let pods = room.namespace().get(["pods", &selector])?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = |pod: &Value| {
        let ending = pod["metadata"]["deletionTimestamp"].is_string();
        let seen = Seen {
            uid: text(&pod["metadata"]["uid"]),
            image: text(&pod["spec"]["containers"][0]["image"]),
            serves: is(pod, "Ready", "True") && !ending,
            ending,
        };
        (text(&pod["metadata"]["name"]), seen)
    };
    Ok(pods["items"].as_array().into_iter().flatten().map(one).collect())
}

/// Upgrades while a client is in the middle of a mail at the pod that goes first; gives that mail.
fn rolled_under_a_session(scene: &Scene<'_>, room: &Mailroom<'_>, next: &Image) -> Outcome<Mail> {
    let client = &scene.world.peers.namespace;
    let mail = Mail::plain(&room.mark("open"), &room.sender(), &room.far_user());
    let script = session(&room.server_at("edge-2")?.host, &mail);
    client.exec(
        "client",
        &["sh", "-c", &format!("rm -f {OPENED} {GO}; cat >{MAIL}")],
        &mail.content,
    )?;
    let before = look(room)?;
    thread::scope(|scope| {
        let session = scope.spawn(|| client.exec("client", &["python3", "-c", &script], b""));
        until(Duration::from_mins(1), || {
            Ok(session.is_finished() || client.exec("client", &["test", "-e", OPENED], b"").is_ok())
        })?;
        let upgrade = scope.spawn(upgrade(scene, next));
        let watched = watch(room, &before, || {
            client.exec("client", &["touch", GO], b"").map(drop)
        });
        // Both threads end by themselves, whatever was seen.
        let said = session
            .join()
            .map_err(|_| Failure::wrong("the session's thread ended early"))?;
        let upgraded = upgrade
            .join()
            .map_err(|_| Failure::wrong("the upgrade's thread ended early"))?;
        watched?;
        upgraded?;
        match said?.trim() {
            "250 then 421" => Ok(()),
            other => Err(Failure::wrong(format!(
                "the open session read {other}, not 250 then 421"
            ))),
        }
    })?;
    await_rolled_out(room, next)?;
    Ok(mail)
}

/// Looks until all pods are others: never is more than one away, and they go highest first. `ending`: the first one does.
fn watch(room: &Mailroom<'_>, before: &BTreeMap<String, Seen>, ending: impl Fn() -> Outcome) -> Outcome {
    let (mut order, mut told) = (Vec::new(), false);
    until(ROLLED, || {
        let now = look(room)?;
        let away = PODS
            .iter()
            .filter(|pod| now.get(**pod).is_none_or(|pod| !pod.serves))
            .count();
        if away > 1 {
            return Err(Failure::wrong(format!("{away} pods are away at once")));
        }
        if !told && now.get("edge-2").is_some_and(|pod| pod.ending) {
            ending()?;
            told = true;
        }
        for (name, pod) in &now {
            let is_new = before.get(name).is_none_or(|before| before.uid != pod.uid);
            if is_new && !order.contains(name) {
                order.push(name.clone());
            }
        }
        Ok(order.len() == PODS.len() && away == 0)
    })?;
    if told && order.iter().rev().eq(PODS.iter()) {
        Ok(())
    } else {
        Err(Failure::wrong(format!(
            "the pods were replaced in the order {order:?}"
        )))
    }
}

/// An image that cannot be had: one pod is lost for it, the others serve. Gives a mail that they took meanwhile.
fn stopped_at_one_pod(scene: &Scene<'_>, room: &Mailroom<'_>) -> Outcome<Mail> {
    let before = look(room)?;
    let none = Image {
        repository: "localhost/postroad-mta-none".into(),
        ..scene.world.product.mta.clone()
    };
    install(scene, &none)?;
    let listener =
        room.namespace()
            .wait_for(&object(), "RolledOut=False/RolloutStopped", ROLLED, |listener| {
                condition(listener, "RolledOut").is_some_and(|rolled| rolled["reason"] == "RolloutStopped")
            })?;
    let rollout = &listener["status"]["rollout"];
    if !is(&listener, "Stalled", "True") || rollout["pod"] != "edge-2" || rollout["stopped"] != true {
        return Err(Failure::wrong(format!(
            "the status does not say where it stopped: {:#}",
            listener["status"]
        )));
    }
    let events = room.namespace().get(["events"])?;
    let mut events = events["items"].as_array().into_iter().flatten();
    if !events.any(|event| event["reason"] == "RolloutStopped" && event["type"] == "Warning") {
        return Err(Failure::wrong("no Event says that the rollout stopped"));
    }
    let now = look(room)?;
    for pod in ["edge-0", "edge-1"] {
        let same = now
            .get(pod)
            .zip(before.get(pod))
            .is_some_and(|(now, before)| now.uid == before.uid);
        if !same || !now.get(pod).is_some_and(|pod| pod.serves) {
            return Err(Failure::wrong(format!("{pod} does not serve on as it was")));
        }
    }
    let mail = Mail::plain(&room.mark("meanwhile"), &room.sender(), &room.far_user());
    room.send(&room.server(Security::StartTls)?, &mail)?;
    Ok(mail)
}

/// Waits until every pod serves with an image, and the listener says that it is rolled out.
pub(super) fn await_rolled_out(room: &Mailroom<'_>, mta: &Image) -> Outcome {
    until(ROLLED, || {
        let pods = look(room)?;
        Ok(pods.len() == PODS.len() && pods.values().all(|pod| pod.serves && pod.image == mta.name()))
    })
    .map_err(|_| Failure::wrong(format!("not every pod serves with {}", mta.name())))?;
    let done = |listener: &Value| {
        is(listener, "RolledOut", "True")
            && is(listener, "Stalled", "False")
            && listener["status"]["rollout"].is_null()
    };
    room.namespace()
        .wait_for(&object(), "RolledOut=True", ROLLED, done)
        .map(drop)
}

fn object() -> String {
    format!("smtplistener/{LISTENER}")
}

/// A client in Python: sends half a mail, says so, and the other half when the pod is being deleted. Prints both codes: of the
/// mail, and of the next one, which the pod does not take any more.
fn session(host: &str, mail: &Mail) -> String {
    format!(
        "import os,smtplib,ssl,time\n\
         tls=ssl.create_default_context(); tls.check_hostname=False; tls.verify_mode=ssl.CERT_NONE\n\
         s=smtplib.SMTP('{host}',10587,timeout=120); s.starttls(context=tls); s.login('{USER}','{PASSWORD}')\n\
         s.mail('{from}'); s.rcpt('{to}'); s.putcmd('data'); s.getreply()\n\
         mail=smtplib._quote_periods(open('{MAIL}','rb').read()); half=len(mail)//2\n\
         s.sock.sendall(mail[:half]); open('{OPENED}','w').close()\n\
         end=time.monotonic()+240\n\
         while not os.path.exists('{GO}') and time.monotonic()<end: time.sleep(0.2)\n\
         assert mail.endswith(b'\\r\\n')\n\
         s.sock.sendall(mail[half:]+b'.\\r\\n'); first=s.getreply()[0]\n\
         try:\n\
         \x20   while time.monotonic()<end:\n\
         \x20       code=s.noop()[0]\n\
         \x20       if code!=250: break\n\
         \x20       time.sleep(0.2)\n\
         except smtplib.SMTPServerDisconnected: code='closed'\n\
         print(first,'then',code)",
        from = mail.from,
        to = mail.to,
    )
}

const PODS: [&str; 3] = ["edge-0", "edge-1", "edge-2"];
const OPENED: &str = "/tmp/rolled-opened";
const GO: &str = "/tmp/rolled-go";
const MAIL: &str = "/tmp/rolled-mail";
/// How long a rollout of three pods may take.
const ROLLED: Duration = Duration::from_mins(6);
