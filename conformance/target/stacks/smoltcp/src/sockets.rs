//! What the application holds of the stack's sockets: connections, listeners, and their options.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::time::Duration;
use smoltcp::wire::IpEndpoint;

use crate::protocol::{Answer, Refusal, SocketOption, encoded, refused};

const BUFFER: usize = 65_536;

/// The stack's clock in milliseconds, for time stamps (RFC 7323): smoltcp wants a function without arguments.
pub static MILLISECONDS: AtomicU32 = AtomicU32::new(0);

/// What `Options` takes, as the agent's hello says it.
pub const CAPABILITIES: [&str; 8] = [
    "options:TCP_NODELAY",
    "options:SO_KEEPALIVE",
    "options:TCP_KEEPIDLE",
    "options:TCP_USER_TIMEOUT",
    "options:IP_TTL",
    "options:SO_RCVBUF",
    "options:SO_SNDBUF",
    "options:SO_LINGER",
];

/// Options under their names in Linux's API.
#[derive(Clone)]
pub struct Options {
    nodelay: bool,
    keep_alive: bool,
    keep_idle_s: u64,
    user_timeout_ms: u64,
    hop_limit: u8,
    linger: Option<u64>,
    receive_buffer: usize,
    send_buffer: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            nodelay: false,
            keep_alive: false,
            keep_idle_s: 7200,
            user_timeout_ms: 0,
            hop_limit: 64,
            linger: None,
            receive_buffer: BUFFER,
            send_buffer: BUFFER,
        }
    }
}

impl Options {
    pub fn new(options: &[SocketOption]) -> Result<Self, Refusal> {
        let mut made = Options::default();
        for (level, name, value) in options {
            made.set(level, name, value)?;
        }
        Ok(made)
    }

    /// Note one option; true where it is one of the buffers, which can't change once a socket is made.
    pub fn set(&mut self, level: &str, name: &str, value: &Value) -> Result<bool, Refusal> {
        let whole = |low: u64, high: u64| match value.as_u64() {
            Some(number) if (low..=high).contains(&number) => Ok(number),
            _ => refused("EINVAL", format!("{name} is a number from {low} to {high}")),
        };
        match (level, name) {
            ("tcp", "TCP_NODELAY") => self.nodelay = whole(0, i32::MAX as u64)? != 0,
            ("socket", "SO_KEEPALIVE") => self.keep_alive = whole(0, i32::MAX as u64)? != 0,
            ("tcp", "TCP_KEEPIDLE") => self.keep_idle_s = whole(1, 32_767)?,
            ("tcp", "TCP_USER_TIMEOUT") => self.user_timeout_ms = whole(0, i32::MAX as u64)?,
            ("ip", "IP_TTL") | ("ipv6", "IPV6_UNICAST_HOPS") => self.hop_limit = whole(1, 255)? as u8,
            ("socket", "SO_RCVBUF") => self.receive_buffer = whole(1, 1 << 30)? as usize,
            ("socket", "SO_SNDBUF") => self.send_buffer = whole(1, 1 << 30)? as usize,
            ("socket", "SO_LINGER") => match value.as_array().map(Vec::as_slice) {
                Some([on, seconds]) if on.is_u64() && seconds.is_u64() => {
                    self.linger = (on.as_u64() != Some(0)).then(|| seconds.as_u64().unwrap_or(0));
                }
                _ => return refused("EINVAL", "SO_LINGER is [onoff, seconds]"),
            },
            _ => return refused("ENOPROTOOPT", format!("smoltcp has no option {level} {name}")),
        }
        Ok(matches!(name, "SO_RCVBUF" | "SO_SNDBUF"))
    }

    pub fn get(&self, level: &str, name: &str) -> Answer {
        let value = match (level, name) {
            ("tcp", "TCP_NODELAY") => json!(self.nodelay as u8),
            ("socket", "SO_KEEPALIVE") => json!(self.keep_alive as u8),
            ("tcp", "TCP_KEEPIDLE") => json!(self.keep_idle_s),
            ("tcp", "TCP_USER_TIMEOUT") => json!(self.user_timeout_ms),
            ("ip", "IP_TTL") | ("ipv6", "IPV6_UNICAST_HOPS") => json!(self.hop_limit),
            ("socket", "SO_RCVBUF") => json!(self.receive_buffer),
            ("socket", "SO_SNDBUF") => json!(self.send_buffer),
            ("socket", "SO_LINGER") => json!([self.linger.is_some() as u8, self.linger.unwrap_or(0)]),
            _ => return refused("ENOPROTOOPT", format!("smoltcp has no option {level} {name}")),
        };
        Ok(json!({"value": value}))
    }

    pub fn aborts_on_close(&self) -> bool {
        self.linger == Some(0)
    }

    /// Give a socket those that it takes at any time.
    pub fn apply(&self, socket: &mut tcp::Socket) {
        socket.set_nagle_enabled(!self.nodelay);
        let keep_alive = self.keep_alive.then(|| Duration::from_secs(self.keep_idle_s));
        if socket.keep_alive() != keep_alive {
            socket.set_keep_alive(keep_alive);
        }
        let user_timeout = (self.user_timeout_ms > 0).then(|| Duration::from_millis(self.user_timeout_ms));
        socket.set_timeout(user_timeout);
        socket.set_hop_limit(Some(self.hop_limit));
    }

    pub fn socket(&self) -> tcp::Socket<'static> {
        let receive = tcp::SocketBuffer::new(vec![0; self.receive_buffer]);
        let mut made = tcp::Socket::new(receive, tcp::SocketBuffer::new(vec![0; self.send_buffer]));
        made.set_tsval_generator(Some(|| MILLISECONDS.load(Ordering::Relaxed)));
        self.apply(&mut made);
        made
    }
}

/// What a change of state can come from.
#[derive(Clone, Copy, PartialEq)]
pub enum Cause {
    Frame,
    Timer,
}

/// One connection. `state` is what was last seen of the socket, `failure` the code that ended it.
pub struct Connection {
    pub handle: SocketHandle,
    pub local: IpEndpoint,
    pub remote: IpEndpoint,
    pub options: Options,
    pub state: tcp::State,
    pub opened: bool,
    pub failure: Option<&'static str>,
    /// Read from the stack and not yet asked for; whether the end of the stream comes after it.
    unread: VecDeque<u8>,
    ended: bool,
    /// The application will not receive any more (shutdown): nothing of that is on the wire.
    pub deaf: bool,
}

impl Connection {
    pub fn new(handle: SocketHandle, local: IpEndpoint, remote: IpEndpoint, options: Options) -> Self {
        Connection {
            handle,
            local,
            remote,
            options,
            state: tcp::State::SynSent,
            opened: false,
            failure: None,
            unread: VecDeque::new(),
            ended: false,
            deaf: false,
        }
    }

    pub fn socket<'a>(&self, sockets: &'a mut SocketSet<'static>) -> &'a mut tcp::Socket<'static> {
        sockets.get_mut(self.handle)
    }

    /// Look at the socket after something has happened.
    pub fn watch(&mut self, sockets: &mut SocketSet<'static>, cause: Cause) {
        use tcp::State::*;
        let socket = sockets.get_mut::<tcp::Socket>(self.handle);
        let was = std::mem::replace(&mut self.state, socket.state());
        if self.state == was {
            return;
        }
        self.opened |= !matches!(self.state, Closed | Listen | SynSent | SynReceived);
        match (self.state, cause) {
            (Closed, Cause::Frame) if matches!(was, SynSent | SynReceived) => self.failure = Some("ECONNREFUSED"),
            (Closed, Cause::Frame) if matches!(was, Established | FinWait1 | FinWait2 | CloseWait) => {
                self.failure = Some("ECONNRESET");
            }
            (Closed, Cause::Timer) if was != TimeWait => self.failure = Some("ETIMEDOUT"),
            // The socket forgets everything at the end of TIME-WAIT. No window can open any more: read it now.
            (TimeWait, _) => {
                pull(socket, &mut self.unread, usize::MAX);
                self.ended = true;
            }
            _ => (),
        }
    }

    /// The application's own doing: the state that follows is no failure.
    pub fn close(&mut self, sockets: &mut SocketSet<'static>, abort: bool) {
        let socket = self.socket(sockets);
        if abort {
            socket.abort()
        } else {
            socket.close()
        };
        self.state = socket.state();
    }

    /// Whether the socket has nothing more to say or to wait for.
    pub fn gone(&self, sockets: &SocketSet<'static>) -> bool {
        let socket = sockets.get::<tcp::Socket>(self.handle);
        socket.state() == tcp::State::Closed && socket.remote_endpoint().is_none()
    }

    /// None: it has to wait. `sent` counts over all tries.
    pub fn send(&mut self, sockets: &mut SocketSet<'static>, data: &[u8], sent: &mut usize) -> Option<Answer> {
        let refuse = |code, sent| Some(Err(Refusal { code, message: "can't send".into(), sent: Some(sent) }));
        if let Some(code) = self.failure {
            return refuse(code, *sent);
        }
        let socket = self.socket(sockets);
        match socket.send_slice(&data[*sent..]) {
            Ok(count) => *sent += count,
            Err(_) if matches!(socket.state(), tcp::State::SynSent | tcp::State::SynReceived) => return None,
            Err(_) => return refuse("EPIPE", *sent),
        }
        (*sent == data.len()).then(|| Ok(json!({"sent": *sent})))
    }

    /// None: it has to wait.
    pub fn receive(
        &mut self,
        sockets: &mut SocketSet<'static>,
        count: usize,
        maximum: usize,
    ) -> Option<Answer> {
        let socket = sockets.get_mut::<tcp::Socket>(self.handle);
        pull(socket, &mut self.unread, maximum);
        let data: Vec<u8> = self.unread.iter().copied().take(maximum).collect();
        let whole = data.len() == self.unread.len();
        let failure = self.failure.filter(|_| whole);
        let finished = self.ended || self.deaf || socket.recv_slice(&mut []) == Err(tcp::RecvError::Finished);
        let eof = whole && failure.is_none() && finished;
        if data.len() < count && !eof && failure.is_none() {
            let never = self.state == tcp::State::Closed;
            return never.then(|| refused("ENOTCONN", "the connection is closed"));
        }
        if let (Some(code), true) = (failure, data.is_empty()) {
            return Some(refused(code, "the connection has ended"));
        }
        self.unread.drain(..data.len());
        Some(Ok(json!({"data": encoded(&data), "eof": eof})))
    }
}

/// Read from the stack until `unread` has `maximum` octets or nothing more is there.
fn pull(socket: &mut tcp::Socket, unread: &mut VecDeque<u8>, maximum: usize) {
    let mut more = vec![0; maximum.saturating_sub(unread.len()).min(socket.recv_queue())];
    let count = socket.recv_slice(&mut more).unwrap_or(0);
    unread.extend(&more[..count]);
}

/// A listening port. The stack's listening socket becomes the connection; the next one takes its place at once, while
/// fewer than `backlog` connections are being opened or wait to be accepted.
pub struct Listener {
    pub local: IpEndpoint,
    pub backlog: usize,
    pub options: Options,
    pub listening: Option<SocketHandle>,
    pub opening: Vec<Connection>,
    pub ready: VecDeque<Connection>,
}

impl Listener {
    pub fn new(local: IpEndpoint, backlog: usize, options: Options) -> Self {
        Listener { local, backlog, options, listening: None, opening: Vec::new(), ready: VecDeque::new() }
    }

    pub fn connections(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.opening.iter_mut().chain(&mut self.ready)
    }

    /// See what has become of the listening socket and of those it was before.
    pub fn watch(&mut self, sockets: &mut SocketSet<'static>, cause: Cause) {
        if let Some(handle) = self.listening {
            let socket = sockets.get::<tcp::Socket>(handle);
            if let (false, Some(remote)) = (socket.is_listening(), socket.remote_endpoint()) {
                let mut taken = Connection::new(handle, self.local, remote, self.options.clone());
                taken.state = tcp::State::SynReceived;
                self.opening.push(taken);
                self.listening = None;
            }
        }
        self.connections().for_each(|one| one.watch(sockets, cause));
        for one in std::mem::take(&mut self.opening) {
            if one.opened {
                self.ready.push_back(one);
            } else if matches!(one.state, tcp::State::Listen | tcp::State::Closed) {
                // Reset before it was open: the socket listens again by itself, but not in its place.
                sockets.get_mut::<tcp::Socket>(one.handle).abort();
                sockets.remove(one.handle);
            } else {
                self.opening.push(one);
            }
        }
    }

    pub fn full(&self) -> bool {
        self.listening.is_some() || self.opening.len() + self.ready.len() >= self.backlog
    }
}
