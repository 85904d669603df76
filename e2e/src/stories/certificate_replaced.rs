//! The Secret with the certificate changes while a client has a session open. The session goes on and its mail is
//! accepted; new sessions get the new certificate, without a restart.

use std::thread;
use std::time::Duration;

use serde_json::json;

use super::certificate::Certificate;
use crate::kubectl::{Failure, Outcome, until};
use crate::mail::Mail;
use crate::mailroom::{Mailroom, PASSWORD, USER};
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let mut room = Mailroom::new(scene, 1);
    let name = format!("mx.{}", scene.domain);
    let old = Certificate::new(&name, 30)?;
    let new = Certificate::new(&name, 30)?;
    room.namespace().apply(&old.secret("certificate", &json!({})))?;
    room.listener["spec"]["tls"] = json!({"secretName": "certificate"});
    let room = room.open()?;
    let before = room.namespace().get(["pod/edge-0"])?;

    let client = &scene.world.peers.namespace;
    let mail = Mail::plain(&room.mark("open"), &room.sender(), &room.far_user());
    client.exec(
        "client",
        &["sh", "-c", &format!("rm -f {OPENED}; cat >{MAIL}")],
        &mail.content,
    )?;
    let script = session(&room.server_at("edge-0")?.host, &mail, &new.serial);
    let said = thread::scope(|scope| {
        let session = scope.spawn(|| client.exec("client", &["python3", "-c", &script], b""));
        until(Duration::from_mins(1), || {
            Ok(session.is_finished() || client.exec("client", &["test", "-e", OPENED], b"").is_ok())
        })?;
        room.namespace().apply(&new.secret("certificate", &json!({})))?;
        session
            .join()
            .map_err(|_| Failure::wrong("the session's thread ended early"))?
    })?;
    if said.trim() != format!("{} then {}", old.serial, new.serial) {
        return Err(Failure::wrong(format!(
            "certificates {} then {} were expected, not {said}",
            old.serial, new.serial
        )));
    }
    room.expect_at_far(&[mail], Duration::from_mins(1))?;
    new.await_served(&room)?;
    let after = room.namespace().get(["pod/edge-0"])?;
    let restarts = &after["status"]["containerStatuses"][0]["restartCount"];
    if after["metadata"]["uid"] != before["metadata"]["uid"] || *restarts != 0 {
        return Err(Failure::wrong("the pod was restarted for a new certificate"));
    }
    Ok(())
}

/// A client in Python: opens a session, says so, polls with new sessions until the new certificate is served, then sends
/// the mail in the first one. Prints both serial numbers.
fn session(host: &str, mail: &Mail, serial: &str) -> String {
    format!(
        "import smtplib,ssl,time,subprocess\n\
         def connect():\n\
         \x20   tls=ssl.create_default_context(); tls.check_hostname=False; tls.verify_mode=ssl.CERT_NONE\n\
         \x20   s=smtplib.SMTP('{host}',10587,timeout=60); s.starttls(context=tls); return s\n\
         def serial(s):\n\
         \x20   pem=ssl.DER_cert_to_PEM_cert(s.sock.getpeercert(True)).encode()\n\
         \x20   out=subprocess.run(['openssl','x509','-noout','-serial'],input=pem,capture_output=True).stdout\n\
         \x20   return out.decode().strip().split('=')[1]\n\
         first=connect(); old=serial(first); first.login('{USER}','{PASSWORD}'); open('{OPENED}','w').close()\n\
         end=time.monotonic()+120; new=old\n\
         while new!='{serial}' and time.monotonic()<end:\n\
         \x20   s=connect(); new=serial(s); s.quit(); time.sleep(0.2)\n\
         first.sendmail('{}',['{}'],open('{MAIL}','rb').read()); first.quit()\n\
         print(old,'then',new)",
        mail.from, mail.to
    )
}

const OPENED: &str = "/tmp/session-opened";
const MAIL: &str = "/tmp/session-mail";
