use super::*;
use crate::customer::Customer;
use crate::stand::{ALL, Authority};

fn world() -> World {
    World::new(Customer::new("shop.example", "system:serviceaccount:a:b").unwrap())
}

fn secured(session: &mut Session<'_>, is_certified: bool) {
    session.line("EHLO out.shop.example");
    assert_eq!(session.line("STARTTLS").then, Then::Tls);
    session.secured(Secured {
        version: "TLSv1_3".into(),
        name: "h".into(),
        is_certified,
    });
    session.line("EHLO out.shop.example");
}

fn plain(user: &str, password: &str) -> String {
    STANDARD.encode(format!("\0{user}\0{password}"))
}

/// Logs in as the customer, where one does.
fn log_in(world: &World, session: &mut Session<'_>, stand: &'static Stand) {
    let mut login = world.lock().customer.login(stand);
    if login.user.is_empty() {
        login.user = "any".to_owned();
    }
    let said = if stand.no_passwords.is_some() {
        let user = "secret@shop.example";
        let token = world
            .lock()
            .give_token(Authority::Entra, user, world::now())
            .unwrap();
        let said = format!("user={user}\u{1}auth=Bearer {token}\u{1}\u{1}");
        vec![format!("AUTH XOAUTH2 {}", STANDARD.encode(said))]
    } else if stand.mechanisms.contains(&"PLAIN") {
        vec![format!("AUTH PLAIN {}", plain(&login.user, &login.password))]
    } else if stand.mechanisms.is_empty() {
        return;
    } else {
        vec![
            "AUTH LOGIN".to_owned(),
            STANDARD.encode(login.user),
            STANDARD.encode(login.password),
        ]
    };
    let last = said.iter().map(|line| session.line(line).text).last().unwrap();
    assert!(last.starts_with("235"), "{}: {last}", stand.name);
}

fn deliver(session: &mut Session<'_>) -> String {
    for line in [
        "MAIL FROM:<secret@shop.example>",
        "RCPT TO:<b@staff.shop.example>",
    ] {
        let said = session.line(line).text;
        if !said.starts_with("250") {
            session.line("RSET");
            return said;
        }
    }
    assert_eq!(session.line("DATA").then, Then::Message);
    session.message(b"Subject: one\r\n\r\nhello\r\n").text
}

#[test]
fn each_provider_takes_the_mail_of_its_customer_inside_tls_alone() {
    let world = world();
    for (number, stand) in ALL.iter().enumerate() {
        let port = stand.clear[stand.clear.len() - 1];
        let mut session = Session::new(&world, stand, port, 1);
        assert_eq!(session.greeting().text, stand.greeting);
        let hello = session.line("EHLO out.shop.example").text;
        assert!(hello.contains("STARTTLS") && !hello.contains("AUTH"), "{hello}");
        assert_eq!(session.line("AUTH PLAIN AGEAYg==").text, stand.needs_tls);
        assert_eq!(session.line("MAIL FROM:<a@shop.example>").text, stand.needs_tls);
        secured(&mut session, stand.known == Known::Certificate);
        if stand.known == Known::Login {
            assert_eq!(deliver(&mut session), stand.needs_login, "{}", stand.name);
        }
        log_in(&world, &mut session, stand);
        assert_eq!(deliver(&mut session), stand.taken, "{}", stand.name);
        let shared = world.lock();
        assert_eq!(shared.record.messages.len(), number + 1);
        assert_eq!(shared.record.messages[number]["subject"], "one");
    }
}

#[test]
fn what_is_not_the_customers_is_refused_as_the_provider_says_it() {
    let world = world();
    for stand in &ALL {
        let mut session = Session::new(&world, stand, 587, 1);
        secured(&mut session, false);
        if stand.mechanisms.contains(&"PLAIN") {
            let said = session
                .line(&format!("AUTH PLAIN {}", plain("ann", "wrong")))
                .text;
            assert_eq!(said, stand.login_refused, "{}", stand.name);
        }
        if stand.known != Known::LoginOrDomain {
            assert_eq!(deliver(&mut session), stand.needs_login, "{}", stand.name);
        }
    }
    let taken: Vec<_> = world
        .lock()
        .record
        .logins
        .iter()
        .map(|login| login["taken"].clone())
        .collect();
    assert!(!taken.is_empty() && taken.iter().all(|taken| taken == false));
    // A password where tokens alone are taken.
    let stand = Stand::named("Microsoft365").unwrap();
    let mut session = Session::new(&world, stand, 587, 1);
    secured(&mut session, false);
    session.line("AUTH LOGIN");
    session.line(&STANDARD.encode("ann"));
    let said = session.line(&STANDARD.encode("secret")).text;
    assert!(said.starts_with("550 5.7.30"), "{said}");
}

#[test]
fn a_refused_token_is_told_in_three_steps() {
    let world = world();
    let stand = Stand::named("Gmail").unwrap();
    let mut session = Session::new(&world, stand, 587, 1);
    secured(&mut session, false);
    let said = STANDARD.encode("user=a@shop.example\u{1}auth=Bearer foreign\u{1}\u{1}");
    let why = session.line(&format!("AUTH XOAUTH2 {said}")).text;
    let why = sasl::decoded(why.strip_prefix("334 ").unwrap()).unwrap();
    assert!(why.contains("\"status\":\"401\""), "{why}");
    assert_eq!(session.line("").text, stand.login_refused);
    assert_eq!(session.line("NOOP").text, "250 2.0.0 OK");
}

#[test]
fn switches_change_what_is_said_and_where() {
    let world = world();
    for stand in &ALL {
        world.lock().switches(stand).over_quota = true;
        let port = stand.clear[stand.clear.len() - 1];
        let mut session = Session::new(&world, stand, port, 1);
        secured(&mut session, true);
        let login = world.lock().customer.login(stand);
        if stand.quota.is_some_and(|saying| saying.at == At::Auth) {
            let said = session.line(&format!("AUTH PLAIN {}", plain(&login.user, &login.password)));
            assert_eq!(said.text, stand.quota.unwrap().text);
            continue;
        }
        log_in(&world, &mut session, stand);
        assert_eq!(
            deliver(&mut session),
            stand.quota.map_or(stand.taken, |saying| saying.text)
        );
        *world.lock().switches(stand) = crate::world::Switches {
            odd: Some((At::Mail, "421 5.7.32 odd".into(), 1)),
            ..crate::world::Switches::default()
        };
        let odd = session.line("MAIL FROM:<secret@shop.example>");
        assert_eq!((odd.text.as_str(), odd.then), ("421 5.7.32 odd", Then::Close));
        assert_eq!(deliver(&mut session), stand.taken, "{}", stand.name);
    }
}

#[test]
fn connections_messages_and_recipients_have_their_bounds() {
    let world = world();
    for stand in &ALL {
        world.lock().switches(stand).open = 1_000_000;
        let mut session = Session::new(&world, stand, 25, 1_000_000);
        match stand.connections {
            Some((_, saying)) if saying.at == At::Connect => {
                let said = session.greeting();
                assert_eq!((said.text.as_str(), said.then), (saying.text, Then::Close));
            }
            Some((_, saying)) => {
                secured(&mut session, true);
                log_in(&world, &mut session, stand);
                assert_eq!(deliver(&mut session), saying.text);
                world.lock().switches(stand).open = 1;
                assert_eq!(deliver(&mut session), stand.taken, "the others have ended");
            }
            None => assert_eq!(session.greeting().text, stand.greeting),
        }
        let mut session = Session::new(&world, stand, 587, 1);
        secured(&mut session, true);
        log_in(&world, &mut session, stand);
        session.line("MAIL FROM:<secret@shop.example>");
        let (most, crowded) = stand.recipients;
        let refused =
            (0..=most).map(|number| session.line(&format!("RCPT TO:<r{number}@shop.example>")).text);
        let refused: Vec<_> = refused.filter(|said| !said.starts_with("250")).collect();
        assert_eq!(refused, [crowded], "{}", stand.name);
    }
}

#[test]
fn no_line_panics() {
    let world = world();
    let stand = Stand::named("Gmail").unwrap();
    let lines = [
        "",
        " ",
        "\u{0}",
        "AUTH",
        "AUTH ",
        "AUTH PLAIN",
        "=",
        "*",
        "AUTH LOGIN =",
        "é",
        "AUTH XOAUTH2 =",
        "AUTH NTLM x",
        "MAIL",
        "MAIL FROM",
        "MAIL FROM:é",
        "MAIL FROM:<",
        "MAIL FROM:<>",
        "RCPT TO:<>",
        "RCPT TO:<é@é>",
        "DATA",
        "STARTTLS x",
        "EHLO",
        "HELO",
        "RSET",
        "QUIT",
        "AUTH OAUTHBEARER",
        "bixhPWEsAQE=",
    ];
    for first in lines {
        for second in lines {
            for is_secured in [false, true] {
                let mut session = Session::new(&world, stand, 587, 1);
                if is_secured {
                    secured(&mut session, false);
                }
                for line in [first, second] {
                    assert!(session.line(line).text.as_bytes()[0].is_ascii_digit());
                }
            }
        }
    }
}

#[test]
fn a_customer_who_is_known_no_more_is_refused() {
    let world = world();
    for stand in ALL.iter().filter(|stand| stand.known != Known::Login) {
        let mut session = Session::new(&world, stand, 25, 1);
        secured(&mut session, true);
        assert_eq!(deliver(&mut session), stand.taken, "{}", stand.name);
        world.lock().switches(stand).unknown = true;
        assert_eq!(deliver(&mut session), stand.needs_login, "{}", stand.name);
    }
}

#[test]
fn orders_about_logins_are_for_connections_that_are_there_too() {
    let world = world();
    let orders: [fn(&mut crate::world::Switches); 3] = [
        |switches| switches.over_quota = true,
        |switches| switches.mistaken = true,
        |switches| switches.renewals += 1,
    ];
    let stand = Stand::named("SendGrid").unwrap();
    for order in orders {
        *world.lock().switches(stand) = crate::world::Switches::default();
        let mut session = Session::new(&world, stand, 587, 1);
        secured(&mut session, false);
        log_in(&world, &mut session, stand);
        assert_eq!(deliver(&mut session), stand.taken);
        order(world.lock().switches(stand));
        let said = session.line("MAIL FROM:<secret@shop.example>");
        assert!(
            said.text.starts_with("421 ") && said.then == Then::Close,
            "{said:?}"
        );
    }
}

#[test]
fn the_fields_of_a_message_that_no_standard_has_are_recorded() {
    let octets = b"From: a\r\nX-SES-Message-Tags: a=b\r\n c: d\r\nX-Mailgun-Tag: e\r\n\r\nX-Body: f\r\n";
    assert_eq!(own_fields(octets), ["x-ses-message-tags", "x-mailgun-tag"]);
}
