//! Agent and stack in one: smoltcp on a link that the harness hands over, served by the agent protocol
//! (`docs/agent-protocol.md`). One thread; time is either the machine's or the harness's to move.
//!
//! smoltcp leaves to its application what other stacks do themselves. Here that is:
//! - A listening socket is one connection. The agent puts the next one in its place at once, so that the port is
//!   never without a listener, until `backlog` connections wait: a SYN beyond that is reset.
//! - A segment goes to the first socket in the set that takes it, and a listening one takes every SYN for its port. So
//!   a port's listening socket always stands behind the port's connections.
//! - Local ports of active opens, drawn by lot (RFC 6056), and refusing a four-tuple that is in use.
//! - A listening socket that is for any address takes both families: it gets the stack's one address of its family.
//! - A connection that the application closed stays in the set until it has ended.
//! - Time stamps (RFC 7323) are on; everything else is as smoltcp has it by default, so that there is no congestion control.

mod link;
mod protocol;
mod sockets;

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::net::IpAddr;
use std::os::fd::{FromRawFd, RawFd};
use std::str::FromStr;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use smoltcp::iface::{Config, Interface, PollResult, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpCidr, IpEndpoint};

use link::Link;
use protocol::{Answer, Arguments, Refusal, refused};
use sockets::{Cause, Connection, Listener, MILLISECONDS, Options};

const LONGEST_LINE: usize = 16 << 20;
const EPHEMERAL: std::ops::RangeInclusive<u16> = 49_152..=65_535;
const VIRTUAL_START_NS: i64 = 1_000_000_000_000;
/// How far the clock goes at least where the stack asks to be polled at once and then does nothing.
const STUCK_NS: i64 = 1_000_000;

pub fn end(why: &str) -> ! {
    eprintln!("smoltcp-agent: {why}");
    std::process::exit(1)
}

pub fn checked(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// The target's clock. smoltcp counts whole microseconds of it.
struct Clock {
    virtual_ns: Option<i64>,
    since: std::time::Instant,
    epoch_ns: i64,
}

impl Clock {
    fn now_ns(&self) -> i64 {
        self.virtual_ns.unwrap_or_else(|| self.epoch_ns + self.since.elapsed().as_nanos() as i64)
    }

    fn now(&self) -> Instant {
        let now = Instant::from_micros(self.now_ns() / 1000);
        MILLISECONDS.store(now.total_millis() as u32, Ordering::Relaxed);
        now
    }
}

enum Sock {
    Listener(Listener),
    Connection(Connection),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Accept,
    Connected,
    Send,
    Receive,
}

/// A request that is answered later.
struct Waiter {
    id: Value,
    socket: u64,
    kind: Kind,
    until_ns: Option<i64>,
    data: Vec<u8>,
    sent: usize,
    count: usize,
    maximum: usize,
}

impl Waiter {
    fn new(id: &Value, socket: u64, kind: Kind, until_ns: Option<i64>) -> Self {
        let id = id.clone();
        Waiter { id, socket, kind, until_ns, data: Vec::new(), sent: 0, count: 0, maximum: 0 }
    }

    fn failed(&self, code: &'static str, message: String) -> Answer {
        Err(Refusal { code, message, sent: (self.kind == Kind::Send).then_some(self.sent) })
    }
}

struct Agent {
    clock: Clock,
    link: Link,
    iface: Interface,
    sockets: SocketSet<'static>,
    held: BTreeMap<u64, Sock>,
    orphans: Vec<Connection>,
    waiters: Vec<Waiter>,
    last_socket: u64,
    replies: u64,
    /// Frames sent and requests answered when `clock` was last answered.
    told: u64,
}

impl Agent {
    // The stack

    /// Give the stack the frame that was just read.
    fn frame(&mut self) {
        self.iface.poll_ingress_single(self.clock.now(), &mut self.link, &mut self.sockets);
        self.watch(Cause::Frame);
        self.settle();
    }

    /// Send what is due, and answer the requests that have waited for what has happened.
    fn settle(&mut self) {
        let now = self.clock.now();
        self.iface.poll_maintenance(now);
        loop {
            while self.iface.poll_egress(now, &mut self.link, &mut self.sockets) == PollResult::SocketStateChanged {}
            self.watch(Cause::Timer);
            if !self.serve() {
                break;
            }
        }
    }

    fn watch(&mut self, cause: Cause) {
        let mut short = Vec::new();
        for (number, sock) in &mut self.held {
            match sock {
                Sock::Connection(one) => one.watch(&mut self.sockets, cause),
                Sock::Listener(one) => {
                    one.watch(&mut self.sockets, cause);
                    if !one.full() {
                        short.push(*number);
                    }
                }
            }
        }
        short.into_iter().for_each(|number| self.refill(number));
        for mut one in std::mem::take(&mut self.orphans) {
            one.watch(&mut self.sockets, cause);
            if one.gone(&self.sockets) {
                self.sockets.remove(one.handle);
            } else {
                self.orphans.push(one);
            }
        }
    }

    /// Give a listener its next listening socket.
    fn refill(&mut self, number: u64) {
        let Some(Sock::Listener(one)) = self.held.get_mut(&number) else { return };
        let mut socket = one.options.socket();
        if let Err(error) = socket.listen(one.local) {
            end(&format!("can't listen on {}: {error}", one.local));
        }
        one.listening = Some(self.sockets.add(socket));
        let local = one.local;
        self.order(local);
    }

    /// Put the listening socket of a local endpoint behind its connections.
    fn order(&mut self, local: IpEndpoint) {
        let Some(listening) = listeners(&mut self.held).find(|one| one.local == local).and_then(|one| one.listening)
        else {
            return;
        };
        let own = connections(&mut self.held, &mut self.orphans).filter(|one| one.local == local);
        let Some(last) = own.max_by_key(|one| one.handle).filter(|one| one.handle > listening) else { return };
        let nothing = || tcp::SocketBuffer::new(Vec::new());
        let spare = tcp::Socket::new(nothing(), nothing());
        let listener = std::mem::replace(self.sockets.get_mut(listening), spare);
        let connection = std::mem::replace(self.sockets.get_mut::<tcp::Socket>(last.handle), listener);
        *self.sockets.get_mut(listening) = connection;
        let behind = std::mem::replace(&mut last.handle, listening);
        for one in listeners(&mut self.held).filter(|one| one.local == local) {
            one.listening = Some(behind);
        }
    }

    // Requests that wait

    /// Answer those that can be; whether the stack was given or asked anything. Of one socket and one kind, the first
    /// comes first.
    fn serve(&mut self) -> bool {
        let (now, mut stuck, before) = (self.clock.now_ns(), HashSet::new(), self.replies);
        let mut taken = false;
        for mut one in std::mem::take(&mut self.waiters) {
            let (place, sent) = ((one.socket, one.kind), one.sent);
            let answer = if stuck.contains(&place) { None } else { self.attempt(&mut one) };
            let late = one.until_ns.is_some_and(|until| until <= now);
            taken |= one.sent > sent;
            match answer.or_else(|| late.then(|| one.failed("timeout", "it did not come in time".into()))) {
                Some(answer) => self.reply(&one.id, answer),
                None => {
                    stuck.insert(place);
                    self.waiters.push(one);
                }
            }
        }
        taken || self.replies > before
    }

    fn attempt(&mut self, one: &mut Waiter) -> Option<Answer> {
        match (self.held.get_mut(&one.socket), one.kind) {
            (None, _) => Some(one.failed("cancelled", format!("socket {} was closed", one.socket))),
            (Some(Sock::Listener(listener)), Kind::Accept) => {
                let taken = listener.ready.pop_front()?;
                let remote = taken.remote;
                let number = self.hold(Sock::Connection(taken));
                self.watch(Cause::Timer);
                Some(Ok(named(number, remote)))
            }
            (Some(Sock::Connection(connection)), kind) => match kind {
                Kind::Accept => Some(refused("EINVAL", "the socket does not listen")),
                Kind::Connected => match connection.failure.filter(|_| !connection.opened) {
                    Some(code) => Some(refused(code, "the connection was not opened")),
                    None if connection.opened => Some(Ok(json!({}))),
                    None if connection.state == tcp::State::Closed => {
                        Some(refused("ECONNABORTED", "the connection was closed before it was open"))
                    }
                    None => None,
                },
                Kind::Send => connection.send(&mut self.sockets, &one.data, &mut one.sent),
                Kind::Receive => connection.receive(&mut self.sockets, one.count, one.maximum),
            },
            (Some(Sock::Listener(_)), _) => Some(one.failed("ENOTCONN", "the socket listens".into())),
        }
    }

    fn wait(&mut self, one: Waiter) -> Option<Answer> {
        self.waiters.push(one);
        None
    }

    fn until(&self, timeout_ns: Option<i64>) -> Option<i64> {
        timeout_ns.map(|some| self.clock.now_ns().saturating_add(some))
    }

    // Requests

    fn line(&mut self, line: &[u8]) {
        let Ok(Value::Object(mut request)) = serde_json::from_slice::<Value>(line) else {
            let answer = refused("bad-json", "a line is one JSON object");
            return self.reply(&Value::Null, answer);
        };
        let id = request.remove("id").filter(Value::is_i64);
        let op = request.remove("op");
        match (id, op) {
            (Some(id), Some(Value::String(op))) => {
                if let Some(answer) =
                    self.call(&id, &op, Arguments(request)).unwrap_or_else(|refusal| Some(Err(refusal)))
                {
                    self.reply(&id, answer);
                }
            }
            (id, _) => {
                let answer = refused("bad-request", "id, a whole number, and op, a text, are needed");
                self.reply(&id.unwrap_or(Value::Null), answer);
            }
        }
        self.settle();
    }

    /// Make one call; None where it is answered later.
    fn call(&mut self, id: &Value, op: &str, mut a: Arguments) -> Result<Option<Answer>, Refusal> {
        let ok = match op {
            "hello" => {
                a.end()?;
                self.hello()
            }
            "listen" => self.listen(a)?,
            "connect" => self.connect(a)?,
            "accept" | "connected" => {
                let (number, timeout) = (a.socket()?, a.timeout()?);
                a.end()?;
                self.sock(number)?;
                let kind = if op == "accept" { Kind::Accept } else { Kind::Connected };
                return Ok(self.wait(Waiter::new(id, number, kind, self.until(timeout))));
            }
            "send" => {
                let (number, data, urgent) = (a.socket()?, a.octets("data")?, a.flag("urgent", false)?);
                let wait = a.flag("wait", true)?;
                a.end()?;
                if urgent {
                    return refused("EOPNOTSUPP", "smoltcp sends no urgent data");
                }
                self.sock(number)?;
                let first = self.waiters.iter().all(|one| (one.socket, one.kind) != (number, Kind::Send));
                let mut one = Waiter { data, ..Waiter::new(id, number, Kind::Send, None) };
                if wait {
                    return Ok(self.wait(one));
                }
                match if first { self.attempt(&mut one) } else { None } {
                    Some(answer) => answer?,
                    None => json!({"sent": one.sent}),
                }
            }
            "receive" => {
                let number = a.socket()?;
                let count = a.whole("count", 0, LONGEST_LINE as u64, Some(1))? as usize;
                let maximum = a.whole("maximum", 1, LONGEST_LINE as u64, Some(65_536))? as usize;
                let (timeout, urgent) = (a.timeout()?, a.flag("urgent", false)?);
                a.end()?;
                if urgent {
                    return refused("EOPNOTSUPP", "smoltcp receives no urgent data");
                }
                if maximum < count {
                    return refused(
                        "bad-request",
                        format!("maximum: at least count ({count}) is needed, not {maximum}"),
                    );
                }
                self.sock(number)?;
                let one = Waiter::new(id, number, Kind::Receive, self.until(timeout));
                return Ok(self.wait(Waiter { count, maximum, ..one }));
            }
            "shutdown" => {
                let (number, how) = (a.socket()?, a.choice("how", &["send", "receive", "both"])?);
                a.end()?;
                let Sock::Connection(one) = self.held.get_mut(&number).ok_or_else(|| no_such(number))? else {
                    return refused("ENOTCONN", "the socket listens");
                };
                if one.state == tcp::State::Closed {
                    return refused("ENOTCONN", "the connection is closed");
                }
                one.deaf |= how != "send";
                if how != "receive" {
                    one.close(&mut self.sockets, false);
                }
                json!({})
            }
            "close" | "abort" => {
                let number = a.socket()?;
                a.end()?;
                self.close(number, op == "abort")?;
                json!({})
            }
            "option_set" => {
                let (number, level, name) = (a.socket()?, a.text("level", None)?, a.text("name", None)?);
                let value = a.any("value")?;
                a.end()?;
                match self.held.get_mut(&number).ok_or_else(|| no_such(number))? {
                    Sock::Connection(one) => {
                        if one.options.clone().set(&level, &name, &value)? {
                            return refused("ENOPROTOOPT", format!("{name} can't change once the socket is made"));
                        }
                        one.options.set(&level, &name, &value)?;
                        one.options.apply(self.sockets.get_mut(one.handle));
                    }
                    Sock::Listener(one) => {
                        one.options.set(&level, &name, &value)?;
                        let made = one.options.socket();
                        if let Some(handle) = one.listening {
                            let socket = self.sockets.get_mut::<tcp::Socket>(handle);
                            *socket = made;
                            socket
                                .listen(one.local)
                                .unwrap_or_else(|error| end(&format!("can't listen again: {error}")));
                        }
                    }
                }
                json!({})
            }
            "option_get" => {
                let (number, level, name) = (a.socket()?, a.text("level", None)?, a.text("name", None)?);
                a.end()?;
                match self.sock(number)? {
                    Sock::Connection(one) => one.options.get(&level, &name)?,
                    Sock::Listener(one) => one.options.get(&level, &name)?,
                }
            }
            "error" => {
                let number = a.socket()?;
                a.end()?;
                match self.sock(number)? {
                    Sock::Connection(one) => json!({"code": one.failure}),
                    Sock::Listener(_) => json!({"code": null}),
                }
            }
            "state" => self.state(a)?,
            "sockets" => {
                a.end()?;
                json!({"count": self.held.len(), "pending": self.waiters.len()})
            }
            "cancel" => {
                let request = a.any("request")?;
                a.end()?;
                let place = self.waiters.iter().position(|one| one.id == request);
                if let Some(place) = place {
                    let one = self.waiters.remove(place);
                    self.reply(&one.id, one.failed("cancelled", "cancelled by request".into()));
                }
                json!({"cancelled": place.is_some()})
            }
            "clock" => self.move_clock(a)?,
            _ => return refused("unknown-op", format!("there is no operation {op}")),
        };
        Ok(Some(Ok(ok)))
    }

    fn hello(&self) -> Value {
        // The version that was built, not the one that was asked for.
        let lock = include_str!("../Cargo.lock");
        let version = lock.split("name = \"smoltcp\"\nversion = \"").nth(1).and_then(|rest| rest.split('"').next());
        let mut capabilities = vec!["listen", "accept", "connect", "send", "receive", "shutdown", "close", "abort"];
        capabilities.extend(["error", "state", "ipv4", "ipv6", "half-close", "timestamps", "sack", "wscale"]);
        capabilities.extend(sockets::CAPABILITIES);
        if self.clock.virtual_ns.is_some() {
            capabilities.push("virtual-time");
        }
        json!({
            "name": "smoltcp", "version": version, "agent": env!("CARGO_PKG_VERSION"), "protocol": 1,
            "capabilities": capabilities,
        })
    }

    fn sock(&self, number: u64) -> Result<&Sock, Refusal> {
        self.held.get(&number).ok_or_else(|| no_such(number))
    }

    fn hold(&mut self, sock: Sock) -> u64 {
        self.last_socket += 1;
        self.held.insert(self.last_socket, sock);
        self.last_socket
    }

    /// The stack's own address; EADDRNOTAVAIL where another one is asked for.
    fn own_address(&self, asked: Option<IpAddr>, v6: bool) -> Result<IpAddr, Refusal> {
        let own = self.iface.ip_addrs().iter().map(|one| IpAddr::from(one.address()));
        match own.filter(|one| one.is_ipv6() == v6).find(|one| asked.is_none_or(|asked| asked == *one)) {
            Some(found) => Ok(found),
            None => refused("EADDRNOTAVAIL", "the address is not the stack's"),
        }
    }

    /// The port that is asked for, or one that no socket has.
    fn port(&mut self, asked: u16) -> u16 {
        if asked != 0 {
            return asked;
        }
        loop {
            let port = EPHEMERAL.start() + (random() % EPHEMERAL.len() as u64) as u16;
            if listeners(&mut self.held).all(|one| one.local.port != port)
                && connections(&mut self.held, &mut self.orphans).all(|one| one.local.port != port)
            {
                return port;
            }
        }
    }

    fn listen(&mut self, mut a: Arguments) -> Result<Value, Refusal> {
        let v6 = a.family()?;
        let (address, port) = (a.address("address", v6, None)?, a.port("port", None)?);
        let backlog = a.whole("backlog", 0, 1 << 30, Some(16))?.max(1) as usize;
        let options = a.options()?;
        a.end()?;
        let address = self.own_address(address, v6)?;
        let local = IpEndpoint::new(address.into(), self.port(port));
        if listeners(&mut self.held).any(|one| one.local == local) {
            return refused("EADDRINUSE", "another socket listens there");
        }
        let made = Listener::new(local, backlog, Options::new(&options)?);
        let number = self.hold(Sock::Listener(made));
        self.refill(number);
        Ok(named(number, local))
    }

    fn connect(&mut self, mut a: Arguments) -> Result<Value, Refusal> {
        let v6 = a.family()?;
        let remote = a.address("remote_address", v6, None)?;
        let remote_port = a.port("remote_port", None)?;
        let (address, port) = (a.address("address", v6, Some(""))?, a.port("port", Some(0))?);
        let _ = a.flag("reuse", false)?;
        let options = a.options()?;
        a.end()?;
        let Some(remote) = remote else {
            return refused("bad-request", "remote_address: an address is needed, not \"\"");
        };
        let address = self.own_address(address, v6)?;
        let local = IpEndpoint::new(address.into(), self.port(port));
        let remote = IpEndpoint::new(remote.into(), remote_port);
        let mut others = connections(&mut self.held, &mut self.orphans);
        if others.any(|one| (one.local, one.remote) == (local, remote) && one.state != tcp::State::Closed) {
            return refused("EADDRINUSE", "there is a connection on this four-tuple");
        }
        drop(others);
        let options = Options::new(&options)?;
        let mut socket = options.socket();
        if let Err(error) = socket.connect(self.iface.context(), remote, local) {
            return refused("EINVAL", error.to_string());
        }
        let made = Connection::new(self.sockets.add(socket), local, remote, options);
        let number = self.hold(Sock::Connection(made));
        self.order(local);
        Ok(named(number, local))
    }

    fn close(&mut self, number: u64, abort: bool) -> Result<(), Refusal> {
        let mut closed = Vec::new();
        match self.held.remove(&number).ok_or_else(|| no_such(number))? {
            Sock::Connection(one) => {
                let abort = abort || one.options.aborts_on_close();
                closed.push((one, abort));
            }
            Sock::Listener(mut one) => {
                if let Some(handle) = one.listening {
                    self.sockets.remove(handle);
                }
                // Nobody will accept them.
                closed.extend(one.opening.drain(..).chain(one.ready.drain(..)).map(|other| (other, true)));
            }
        }
        for (mut one, abort) in closed {
            one.close(&mut self.sockets, abort);
            self.orphans.push(one);
        }
        Ok(())
    }

    fn state(&mut self, mut a: Arguments) -> Result<Value, Refusal> {
        let v6 = a.family()?;
        let (address, port) = (a.address("address", v6, None)?, a.port("port", None)?);
        let (remote, remote_port) = (a.address("remote_address", v6, Some(""))?, a.port("remote_port", Some(0))?);
        a.end()?;
        let own = self.iface.ip_addrs().iter().map(|one| IpAddr::from(one.address()));
        let any = own.filter(|one| one.is_ipv6() == v6).collect::<Vec<_>>();
        let here = |local: IpEndpoint| {
            let found = IpAddr::from(local.addr);
            local.port == port && address.map_or_else(|| any.contains(&found), |asked| asked == found)
        };
        let there = |found: IpEndpoint| Some(IpAddr::from(found.addr)) == remote && found.port == remote_port;
        let found = connections(&mut self.held, &mut self.orphans)
            .find(|one| here(one.local) && there(one.remote) && one.state != tcp::State::Closed)
            .map(|one| one.state.to_string());
        let state = match found {
            Some(state) => state,
            None if listeners(&mut self.held).any(|one| here(one.local)) => "LISTEN".into(),
            None => "CLOSED".into(),
        };
        Ok(json!({"state": state}))
    }

    fn reply(&mut self, id: &Value, answer: Answer) {
        self.replies += 1;
        let line = protocol::reply(id, answer, self.clock.now_ns());
        let mut out = io::stdout().lock();
        if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
            std::process::exit(0);
        }
    }

    // Time

    /// When something is due, in ns: the stack's next timer, or the end of a request's wait.
    fn next_due(&mut self) -> Option<i64> {
        let now = self.clock.now_ns();
        let stack = self.iface.poll_at(self.clock.now(), &self.sockets);
        let stack =
            stack.map(|at| (at.total_micros() * 1000).max(now + if at <= self.clock.now() { STUCK_NS } else { 0 }));
        stack.into_iter().chain(self.waiters.iter().filter_map(|one| one.until_ns)).min()
    }

    fn move_clock(&mut self, mut a: Arguments) -> Result<Value, Refusal> {
        let until_ns = a.whole("until_ns", 0, i64::MAX as u64, None)? as i64;
        let frames_in = a.whole("frames_in", 0, u64::MAX, None)?;
        a.end()?;
        let Some(mut now_ns) = self.clock.virtual_ns else {
            return refused("unknown-op", "the clock is the machine's own");
        };
        while self.link.frames_in < frames_in {
            if self.read_frame() {
                self.frame();
            } else {
                wait_for([(0, 0), (self.link.fd, libc::POLLIN)], None);
            }
        }
        while self.link.frames_out + self.replies == self.told && now_ns < until_ns {
            // A request may be due within a microsecond, smoltcp's timers are on whole ones.
            now_ns = self.next_due().map_or(until_ns, |due| due.saturating_add(999) / 1000 * 1000).clamp(now_ns, until_ns);
            self.clock.virtual_ns = Some(now_ns);
            self.settle();
        }
        self.told = self.link.frames_out + self.replies + 1; // and this one
        Ok(json!({"now_ns": now_ns, "frames_out": self.link.frames_out}))
    }

    fn read_frame(&mut self) -> bool {
        match self.link.read() {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => std::process::exit(0),
            Err(error) => end(&format!("can't read from the link: {error}")),
        }
    }

    /// Serve until the input ends.
    fn run(mut self) {
        let hello = json!({"hello": self.hello()}).to_string() + "\n";
        let mut out = io::stdout();
        if out.write_all(hello.as_bytes()).and_then(|()| out.flush()).is_err() {
            return;
        }
        let mut input = ManuallyDrop::new(unsafe { File::from_raw_fd(0) });
        let (mut inbox, mut chunk, mut skipping) = (Vec::new(), vec![0; 1 << 16], false);
        loop {
            self.settle();
            let real = self.clock.virtual_ns.is_none();
            let nap_ns = real.then(|| self.next_due()).flatten().map(|due| (due - self.clock.now_ns()).max(0));
            let [asked, link] = wait_for([(0, libc::POLLIN), (self.link.fd, libc::POLLIN)], nap_ns);
            while link && self.read_frame() {
                self.frame();
            }
            if !asked {
                continue;
            }
            match input.read(&mut chunk) {
                Ok(0) => return,
                Ok(count) => inbox.extend(&chunk[..count]),
                Err(error) => end(&format!("can't read requests: {error}")),
            }
            while let Some(length) = inbox.iter().position(|octet| *octet == b'\n') {
                let line: Vec<u8> = inbox.drain(..=length).collect();
                if !std::mem::take(&mut skipping) {
                    self.line(&line);
                }
            }
            if inbox.len() > LONGEST_LINE {
                inbox.clear();
                if !std::mem::replace(&mut skipping, true) {
                    self.reply(&Value::Null, refused("bad-json", "a line has at most 16 MiB"));
                }
            }
        }
    }
}

fn listeners(held: &mut BTreeMap<u64, Sock>) -> impl Iterator<Item = &mut Listener> {
    held.values_mut().filter_map(|sock| match sock {
        Sock::Listener(one) => Some(one),
        Sock::Connection(_) => None,
    })
}

/// Every connection, held, orphaned or not yet accepted.
fn connections<'a>(
    held: &'a mut BTreeMap<u64, Sock>,
    orphans: &'a mut [Connection],
) -> impl Iterator<Item = &'a mut Connection> {
    let held = held.values_mut().flat_map(|sock| -> Box<dyn Iterator<Item = &'a mut Connection>> {
        match sock {
            Sock::Connection(one) => Box::new(std::iter::once(one)),
            Sock::Listener(one) => Box::new(one.connections()),
        }
    });
    held.chain(orphans)
}

fn no_such(number: u64) -> Refusal {
    Refusal { code: "no-such-socket", message: format!("there is no socket {number}"), sent: None }
}

fn named(number: u64, endpoint: IpEndpoint) -> Value {
    json!({"socket": number, "address": endpoint.addr.to_string(), "port": endpoint.port})
}

/// Wait for descriptors, at most so many nanoseconds; says of each whether it has something, or has ended.
fn wait_for<const N: usize>(wanted: [(RawFd, i16); N], nap_ns: Option<i64>) -> [bool; N] {
    let mut polled = wanted.map(|(fd, events)| libc::pollfd { fd, events, revents: 0 });
    let nap = nap_ns.map(|ns| libc::timespec { tv_sec: ns / 1_000_000_000, tv_nsec: ns % 1_000_000_000 });
    let nap = nap.as_ref().map_or(std::ptr::null(), |one| one as *const _);
    if let Err(error) = checked(unsafe { libc::ppoll(polled.as_mut_ptr(), N as _, nap, std::ptr::null()) } as isize) {
        if error.kind() != io::ErrorKind::Interrupted {
            end(&format!("can't wait: {error}"));
        }
        return [false; N];
    }
    // Where only the end of a descriptor was asked for, it is the end.
    if polled.iter().any(|one| one.events == 0 && one.revents != 0) {
        std::process::exit(0);
    }
    polled.map(|one| one.revents != 0)
}

/// What the harness says in the environment.
fn said<T: FromStr>(name: &str) -> T {
    let value = std::env::var(name).unwrap_or_else(|_| end(&format!("{name} is not set: tcp-conformance sets it")));
    value.parse().unwrap_or_else(|_| end(&format!("{name}: {value:?} can't be understood")))
}

fn random() -> u64 {
    let mut octets = [0; 8];
    let drawn = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut octets));
    drawn.unwrap_or_else(|error| end(&format!("/dev/urandom: {error}")));
    u64::from_ne_bytes(octets)
}

fn main() {
    let epoch_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64);
    let virtual_ns = (said::<String>("TCP_CONFORMANCE_CLOCK") == "virtual").then_some(VIRTUAL_START_NS);
    let clock = Clock { virtual_ns, since: std::time::Instant::now(), epoch_ns };
    let link = Link::new(said("TCP_CONFORMANCE_LINK_FD"), said("TCP_CONFORMANCE_MTU"));
    let mut link = link.unwrap_or_else(|error| end(&format!("TCP_CONFORMANCE_LINK_FD: {error}")));
    let mut config = Config::new(said::<EthernetAddress>("TCP_CONFORMANCE_MAC").into());
    config.random_seed = random();
    let mut iface = Interface::new(config, &mut link, clock.now());
    iface.update_ip_addrs(|addresses| {
        for name in ["TCP_CONFORMANCE_IPV4", "TCP_CONFORMANCE_IPV6"] {
            if addresses.push(said::<IpCidr>(name)).is_err() {
                end("smoltcp was built for fewer addresses");
            }
        }
    });
    Agent {
        clock,
        link,
        iface,
        sockets: SocketSet::new(Vec::new()),
        held: BTreeMap::new(),
        orphans: Vec::new(),
        waiters: Vec::new(),
        last_socket: 0,
        replies: 0,
        told: 0,
    }
    .run();
}
