//! Orders to the stand-ins: a line of JSON in, a line of JSON out, on the loopback of their pod alone.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use serde_json::{Value, json};

use crate::keys::Failed;
use crate::stand::{ALL, At, Authority, Stand};
use crate::world::{Shared, World};

/// Takes orders until the program ends.
pub(crate) fn serve(world: &World) -> Result<(), Failed> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT))?;
    for stream in listener.incoming() {
        // Whoever goes without a word has changed his mind.
        if let Err(error) = stream.map_err(Into::into).and_then(|stream| one(world, stream)) {
            eprintln!("control: {error}");
        }
    }
    Ok(())
}

fn one(world: &World, mut stream: TcpStream) -> Result<(), Failed> {
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    let answer = match serde_json::from_str(&line) {
        Ok(order) => obey(&mut world.lock(), &order).unwrap_or_else(|why| json!({"error": why})),
        Err(error) => json!({"error": error.to_string()}),
    };
    writeln!(stream, "{answer}")?;
    Ok(())
}

/// Asks the stand-ins of this pod.
pub(crate) fn ask(order: &str) -> Result<String, Failed> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))?;
    writeln!(stream, "{}", order.replace('\n', " "))?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer)
}

/// What can be ordered; each key of an order by itself, and several orders in a list.
///
/// `{"show": "customer"}`, `{"show": "record"}`; `{"provider": NAME, "overQuota": true, "throttled": true, "down": true,
/// "mistaken": true, "unknown": true, "renew": true, "odd": {"at": "Mail", "text": "421 …", "times": 1}}`; `{"tokenLife": SECONDS}`, `{"endTokens": true}`,
/// `{"delegated": false}`, `{"entraAhead": SECONDS}`, `{"trust": {"keys": JWKS, "issuer": TEXT}}`.
fn obey(shared: &mut Shared, order: &Value) -> Result<Value, String> {
    let mut answer = json!({});
    if let Value::Array(orders) = order {
        for order in orders {
            answer = obey(shared, order)?;
        }
        return Ok(answer);
    }
    for (name, value) in order.as_object().ok_or("no object")? {
        match (name.as_str(), value) {
            ("show", Value::String(what)) if what == "customer" => answer = shared.customer.shown(),
            ("show", Value::String(what)) if what == "record" => answer = shared.shown(),
            ("provider", Value::String(name)) => {
                let stand = Stand::named(name).ok_or_else(|| format!("no provider {name}"))?;
                switch(shared, stand, order)?;
            }
            ("tokenLife", value) => shared.token_life = value.as_i64().ok_or("no seconds")?,
            ("endTokens", Value::Bool(true)) => shared.end_tokens(),
            ("delegated", Value::Bool(is)) => shared.is_delegated = *is,
            ("entraAhead", value) => shared.entra_ahead = value.as_i64().ok_or("no seconds")?,
            ("trust", trust) => {
                let issuer = trust["issuer"].as_str().ok_or("no issuer")?;
                shared.trusted = (trust["keys"].clone(), issuer.to_owned());
            }
            (name, _) if SWITCHES.contains(&name) && order["provider"].is_string() => {}
            (name, value) => return Err(format!("no order {name}: {value}")),
        }
    }
    Ok(answer)
}

const SWITCHES: [&str; 7] = [
    "overQuota",
    "throttled",
    "down",
    "mistaken",
    "unknown",
    "renew",
    "odd",
];

fn switch(shared: &mut Shared, stand: &'static Stand, order: &Value) -> Result<(), String> {
    let switches = shared.switches(stand);
    for (name, place) in [
        ("overQuota", &mut switches.over_quota),
        ("throttled", &mut switches.throttled),
        ("down", &mut switches.down),
        ("mistaken", &mut switches.mistaken),
        ("unknown", &mut switches.unknown),
    ] {
        if !order[name].is_null() {
            *place = order[name]
                .as_bool()
                .ok_or_else(|| format!("{name} is true or false"))?;
        }
    }
    if let odd @ Value::Object(_) = &order["odd"] {
        let place = match odd["at"].as_str() {
            Some("Connect") => At::Connect,
            Some("Auth") => At::Auth,
            Some("Mail") => At::Mail,
            Some("Rcpt") => At::Rcpt,
            Some("Data") => At::Data,
            _ => return Err("odd.at is Connect, Auth, Mail, Rcpt or Data".to_owned()),
        };
        let text = odd["text"].as_str().ok_or("odd.text is a reply")?;
        switches.odd = Some((place, text.to_owned(), odd["times"].as_u64().unwrap_or(1)));
    }
    if order["renew"] == true {
        shared.customer.renew(stand).map_err(|error| error.to_string())?;
        shared.switches(stand).renewals += 1;
        // What was made of the old is over as well.
        if stand.name.starts_with("Microsoft365") {
            shared.end_tokens();
        }
    }
    Ok(())
}

/// Where all of it is reached, for whoever makes Services and zones: `port` is the provider's own, `target` that of this program.
pub(crate) fn places() -> Value {
    let stands = ALL.iter().map(|stand| {
        let ports = stand
            .ports()
            .map(|(port, implicit, own)| json!({"port": port, "target": own, "implicit": implicit}));
        json!({"name": stand.name, "hosts": stand.hosts, "ports": ports.collect::<Vec<_>>()})
    });
    let authorities = Authority::ALL.iter().map(|of| {
        json!({"name": format!("{of:?}Tokens"), "hosts": [of.host()], "ports": [{"port": 443, "target": of.port(), "implicit": true}]})
    });
    stands.chain(authorities).collect()
}

/// On the loopback.
pub(crate) const PORT: u16 = 19_999;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::customer::Customer;

    #[test]
    fn orders_are_obeyed_and_others_refused() {
        let world = World::new(Customer::new("shop.example", "x").unwrap());
        let mut shared = world.lock();
        let stand = Stand::named("Gmail").unwrap();
        obey(
            &mut shared,
            &json!({"provider": "Gmail", "overQuota": true, "down": true}),
        )
        .unwrap();
        assert!(shared.switches(stand).over_quota && shared.switches(stand).down);
        obey(&mut shared, &json!({"provider": "Gmail", "down": false})).unwrap();
        assert!(shared.switches(stand).over_quota && !shared.switches(stand).down);
        let before = shared.customer.login(stand).password;
        obey(&mut shared, &json!({"provider": "Gmail", "renew": true})).unwrap();
        assert_ne!(shared.customer.login(stand).password, before);
        let both = ["Gmail", "Exim"].map(|name| json!({"provider": name, "down": true}));
        obey(&mut shared, &json!(both)).unwrap();
        assert!(shared.switches(stand).down);
        assert!(shared.switches(Stand::named("Exim").unwrap()).down);
        let shown = obey(&mut shared, &json!({"show": "customer"})).unwrap();
        assert_eq!(
            shown["logins"]["Gmail"]["password"],
            shared.customer.login(stand).password
        );
        for bad in [
            json!("down"),
            json!([{"provider": "Nobody"}]),
            json!({"provider": "Nobody"}),
            json!({"overQuota": true}),
            json!({"provider": "Gmail", "down": 1}),
            json!({"provider": "Gmail", "odd": {"at": "Noon"}}),
            json!({"tokenLife": "long"}),
            json!({"entraAhead": "an hour"}),
            json!({"explode": true}),
        ] {
            assert!(obey(&mut shared, &bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_place_is_told() {
        let places = places();
        assert_eq!(
            places.as_array().map(Vec::len),
            Some(ALL.len() + Authority::ALL.len())
        );
        assert!(
            places
                .as_array()
                .unwrap()
                .iter()
                .all(|place| !place["ports"].as_array().unwrap().is_empty())
        );
    }
}
