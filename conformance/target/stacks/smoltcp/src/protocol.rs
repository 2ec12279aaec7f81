//! Requests and replies of the agent protocol: arguments are taken by name, and what is wrong with them is said.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// Why a request gets no ok: a code of the protocol, a sentence, and how many octets were sent before.
#[derive(Debug)]
pub struct Refusal {
    pub code: &'static str,
    pub message: String,
    pub sent: Option<usize>,
}

pub type Answer = Result<Value, Refusal>;

pub fn refused<T>(code: &'static str, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { code, message: message.into(), sent: None })
}

/// One option: level, name, value.
pub type SocketOption = (String, String, Value);

/// The arguments of one request. Each is taken once; what is left over is unknown.
pub struct Arguments(pub Map<String, Value>);

impl Arguments {
    fn take<T>(
        &mut self,
        name: &str,
        default: Option<Value>,
        needed: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<T, Refusal> {
        let Some(value) = self.0.remove(name).or(default) else {
            return refused("bad-request", format!("{name}: {needed} is needed, it is missing"));
        };
        let shown: String = value.to_string().chars().take(80).collect();
        read(&value).map_or_else(|| refused("bad-request", format!("{name}: {needed} is needed, not {shown}")), Ok)
    }

    pub fn whole(&mut self, name: &str, low: u64, high: u64, default: Option<u64>) -> Result<u64, Refusal> {
        let needed = format!("a whole number from {low} to {high}");
        self.take(name, default.map(Value::from), &needed, |v| v.as_u64().filter(|n| (low..=high).contains(n)))
    }

    pub fn port(&mut self, name: &str, default: Option<u64>) -> Result<u16, Refusal> {
        Ok(self.whole(name, 0, 65_535, default)? as u16)
    }

    pub fn socket(&mut self) -> Result<u64, Refusal> {
        self.whole("socket", 0, 1 << 62, None)
    }

    pub fn text(&mut self, name: &str, default: Option<&str>) -> Result<String, Refusal> {
        self.take(name, default.map(Value::from), "a text", |v| v.as_str().map(String::from))
    }

    pub fn choice(&mut self, name: &str, allowed: &[&str]) -> Result<String, Refusal> {
        let needed = format!("one of {}", allowed.join(", "));
        self.take(name, None, &needed, |v| v.as_str().filter(|s| allowed.contains(s)).map(String::from))
    }

    pub fn flag(&mut self, name: &str, default: bool) -> Result<bool, Refusal> {
        self.take(name, Some(default.into()), "true or false", Value::as_bool)
    }

    pub fn octets(&mut self, name: &str) -> Result<Vec<u8>, Refusal> {
        self.take(name, None, "base64 text", |v| STANDARD.decode(v.as_str()?).ok())
    }

    pub fn any(&mut self, name: &str) -> Result<Value, Refusal> {
        self.take(name, None, "a value", |v| Some(v.clone()))
    }

    /// Nanoseconds, None for no end.
    pub fn timeout(&mut self) -> Result<Option<i64>, Refusal> {
        self.take("timeout", Some(Value::Null), "a number of seconds or null", |value| match value {
            Value::Null => Some(None),
            other => other.as_f64().filter(|s| (0.0..1e9).contains(s)).map(|s| Some((s * 1e9).round() as i64)),
        })
    }

    /// True for IPv6.
    pub fn family(&mut self) -> Result<bool, Refusal> {
        self.take("family", None, "one of 4, 6", |v| match v.as_u64() {
            Some(4) => Some(false),
            Some(6) => Some(true),
            _ => None,
        })
    }

    /// None for "", any address.
    pub fn address(&mut self, name: &str, v6: bool, default: Option<&str>) -> Result<Option<IpAddr>, Refusal> {
        let needed = if v6 { "an IPv6 address" } else { "an IPv4 address" };
        self.take(name, default.map(Value::from), needed, |value| match value.as_str()? {
            "" => Some(None),
            text => text.parse::<IpAddr>().ok().filter(|found| found.is_ipv6() == v6).map(Some),
        })
    }

    pub fn options(&mut self) -> Result<Vec<SocketOption>, Refusal> {
        self.take("options", Some(json!([])), "a list of [level, name, value]", |value| {
            value
                .as_array()?
                .iter()
                .map(|one| match one.as_array()?.as_slice() {
                    [Value::String(level), Value::String(name), value] => {
                        Some((level.clone(), name.clone(), value.clone()))
                    }
                    _ => None,
                })
                .collect()
        })
    }

    /// Refuse what was not taken.
    pub fn end(self) -> Result<(), Refusal> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => refused("bad-request", format!("{name}: there is no such argument")),
        }
    }
}

pub fn encoded(data: &[u8]) -> Value {
    STANDARD.encode(data).into()
}

/// The line that answers a request; `at_ns` is of the target's clock.
pub fn reply(id: &Value, answer: Answer, at_ns: i64) -> String {
    let mut line = match answer {
        Ok(ok) => json!({"id": id, "ok": ok, "at_ns": at_ns}),
        Err(refusal) => {
            let mut error = json!({"code": refusal.code, "message": refusal.message});
            if let Some(sent) = refusal.sent {
                error["sent"] = sent.into();
            }
            json!({"id": id, "error": error, "at_ns": at_ns})
        }
    }
    .to_string();
    line.push('\n');
    line
}
