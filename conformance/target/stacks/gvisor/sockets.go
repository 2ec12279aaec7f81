package main

import (
	"bytes"
	"maps"
	"runtime/debug"
	"slices"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

var operations map[string]call

func init() { // not where it is declared: an operation may ask for another
	operations = map[string]call{
		"hello":      operation(func(a *agent, _ int64, _ struct{}) (any, error) { return a.hello(), nil }),
		"listen":     operation((*agent).listen),
		"accept":     operation((*agent).accept),
		"connect":    operation((*agent).connect),
		"connected":  operation((*agent).connected),
		"send":       operation((*agent).send),
		"receive":    operation((*agent).receiveData),
		"shutdown":   operation((*agent).shutdown),
		"close":      operation((*agent).close),
		"abort":      operation((*agent).abort),
		"option_set": operation((*agent).optionSet),
		"option_get": operation((*agent).optionGet),
		"error":      operation((*agent).error),
		"state":      operation((*agent).state),
		"sockets":    operation((*agent).count),
		"cancel":     operation((*agent).cancel),
		"clock":      operation((*agent).moveClock),
	}
}

// The stack's states under the names of RFC 9293, section 3.3.2. Those that are not here are CLOSED's.
var states = map[tcp.EndpointState]string{
	tcp.StateListen:      "LISTEN",
	tcp.StateSynSent:     "SYN-SENT",
	tcp.StateSynRecv:     "SYN-RECEIVED",
	tcp.StateEstablished: "ESTABLISHED",
	tcp.StateFinWait1:    "FIN-WAIT-1",
	tcp.StateFinWait2:    "FIN-WAIT-2",
	tcp.StateCloseWait:   "CLOSE-WAIT",
	tcp.StateClosing:     "CLOSING",
	tcp.StateLastAck:     "LAST-ACK",
	tcp.StateTimeWait:    "TIME-WAIT",
}

var (
	protocols = map[family]tcpip.NetworkProtocolNumber{4: ipv4.ProtocolNumber, 6: ipv6.ProtocolNumber}
	ways      = map[string]tcpip.ShutdownFlags{
		"send":    tcpip.ShutdownWrite,
		"receive": tcpip.ShutdownRead,
		"both":    tcpip.ShutdownWrite | tcpip.ShutdownRead,
	}
)

type empty struct{}

// socket is one that the application holds.
type socket struct {
	number int64
	family family
	ep     *tcp.Endpoint
	opened bool   // its connection was once there
	opens  bool   // a connect is under way
	failed error  // what ended its connection: the stack tells it once, we go on telling it
	unread []byte // what was read, and is not delivered yet
}

func (s *socket) over() bool { return s.ep.EndpointState() == tcp.StateError }

// noteOpened sees how a connect ended.
func (s *socket) noteOpened() {
	if !s.opens {
		return
	}
	switch state := s.ep.EndpointState(); state {
	case tcp.StateConnecting, tcp.StateSynSent, tcp.StateSynRecv:
		return
	case tcp.StateError, tcp.StateClose:
		s.noteFailure(s.ep.LastError())
		if s.failed == nil {
			s.noteFailure(&tcpip.ErrConnectionAborted{})
		}
	default:
		s.opened = true
	}
	s.opens = false
}

// noteFailure remembers the error that ended the connection.
func (s *socket) noteFailure(err tcpip.Error) {
	if err != nil && s.failed == nil && s.over() {
		s.failed = posix(err)
	}
}

func (a *agent) add(f family, ep tcpip.Endpoint) *socket {
	a.numbers++
	s := &socket{number: a.numbers, family: f, ep: ep.(*tcp.Endpoint)}
	a.sockets[s.number] = s
	return s
}

func (s *socket) named(at tcpip.FullAddress) map[string]any {
	return map[string]any{"socket": s.number, "address": s.family.text(at.Addr), "port": at.Port}
}

// open makes an endpoint, bound where an address or a port is given.
func (a *agent) open(f family, options []option, reuse bool, address tcpip.Address, port uint16) (tcpip.Endpoint, error) {
	ep, failure := a.stack.NewEndpoint(tcp.ProtocolNumber, protocols[f], &waiter.Queue{})
	if failure != nil {
		return nil, posix(failure)
	}
	ep.SocketOptions().SetV6Only(f == 6) // both families may have one port
	ep.SocketOptions().SetReuseAddress(reuse)
	for _, option := range options {
		if err := option.apply(ep); err != nil {
			ep.Close()
			return nil, err
		}
	}
	if address != (tcpip.Address{}) || port != 0 {
		if failure := ep.Bind(tcpip.FullAddress{Addr: address, Port: port}); failure != nil {
			ep.Close()
			return nil, posix(failure)
		}
	}
	return ep, nil
}

func (a *agent) hello() any {
	capabilities := []string{
		"listen", "accept", "connect", "send", "receive", "shutdown", "close", "abort", "error",
		"state", "ipv4", "ipv6", "half-close", "keepalive", "timestamps", "sack", "rack", "wscale",
		"options:SO_LINGER", "options:TCP_CONGESTION",
	}
	for _, name := range slices.Sorted(maps.Keys(sockopts)) {
		capabilities = append(capabilities, "options:"+name)
	}
	if a.clock.virtual {
		capabilities = append(capabilities, "virtual-time")
	}
	return map[string]any{
		"name": "gvisor", "version": version(), "agent": "1", "protocol": 1,
		"capabilities": capabilities, "settings": a.settings(),
	}
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == "gvisor.dev/gvisor" {
				return module.Version
			}
		}
	}
	return "unknown"
}

// settings tells how the stack is configured: its own defaults, and Nagle's algorithm.
func (a *agent) settings() any {
	var (
		congestion tcpip.CongestionControlOption
		sack       tcpip.TCPSACKEnabled
		recovery   tcpip.TCPRecovery
		delay      tcpip.TCPDelayEnabled
		moderate   tcpip.TCPModerateReceiveBufferOption
		receive    tcpip.TCPReceiveBufferSizeRangeOption
		send       tcpip.TCPSendBufferSizeRangeOption
		timeWait   tcpip.TCPTimeWaitTimeoutOption
		linger     tcpip.TCPLingerTimeoutOption
		minRTO     tcpip.TCPMinRTOOption
		maxRTO     tcpip.TCPMaxRTOOption
		retries    tcpip.TCPMaxRetriesOption
		synRetries tcpip.TCPSynRetriesOption
		invalid    stack.TCPInvalidRateLimitOption
	)
	for _, one := range []tcpip.GettableTransportProtocolOption{
		&congestion, &sack, &recovery, &delay, &moderate, &receive, &send, &timeWait, &linger, &minRTO, &maxRTO,
		&retries, &synRetries,
	} {
		a.stack.TransportProtocolOption(tcp.ProtocolNumber, one)
	}
	a.stack.Option(&invalid)
	return map[string]any{
		"congestion-control": congestion, "sack": sack, "rack": recovery&tcpip.TCPRACKLossDetection != 0,
		"nagle": delay, "receive-buffer": receive.Default, "receive-buffer-tuned": moderate,
		"send-buffer": send.Default, "time-wait-s": time.Duration(timeWait).Seconds(),
		"fin-wait-2-s": time.Duration(linger).Seconds(), "minimum-rto-s": time.Duration(minRTO).Seconds(),
		"maximum-rto-s": time.Duration(maxRTO).Seconds(), "retries": retries, "syn-retries": synRetries,
		"challenge-ack-interval-s": time.Duration(invalid).Seconds(),
	}
}

func (a *agent) listen(_ int64, to struct {
	Family  family   `json:"family"`
	Address string   `json:"address"`
	Port    uint16   `json:"port"`
	Backlog int      `json:"backlog" default:"16"`
	Options []option `json:"options" default:"[]"`
}) (any, error) {
	if to.Backlog < 0 || to.Backlog > 65535 {
		return nil, refuse("bad-request", "backlog: a number from 0 to 65535 is needed, not %d", to.Backlog)
	}
	address, err := to.Family.parse("address", to.Address)
	if err != nil {
		return nil, err
	}
	ep, err := a.open(to.Family, to.Options, true, address, to.Port)
	if err != nil {
		return nil, err
	}
	// As the Sentry's listen(2): one more than was asked for, as Linux does.
	if failure := ep.Listen(to.Backlog + 1); failure != nil {
		ep.Close()
		return nil, posix(failure)
	}
	local, failure := ep.GetLocalAddress()
	if failure != nil {
		ep.Close()
		return nil, posix(failure)
	}
	return a.add(to.Family, ep).named(local), nil
}

func (a *agent) accept(number int64, from struct {
	Socket  *socket  `json:"socket"`
	Timeout *seconds `json:"timeout" default:"null"`
}) (any, error) {
	s := from.Socket
	a.wait(&pending{number: number, socket: s, queue: "accept", try: func() (any, error) {
		var remote tcpip.FullAddress
		ep, _, failure := s.ep.Accept(&remote)
		if again(failure) {
			return nil, nil
		}
		if failure != nil {
			return nil, posix(failure)
		}
		accepted := a.add(s.family, ep)
		accepted.opened = true
		return accepted.named(remote), nil
	}}, from.Timeout, late)
	return nil, nil
}

func (a *agent) connect(_ int64, to struct {
	Family        family   `json:"family"`
	RemoteAddress string   `json:"remote_address"`
	RemotePort    uint16   `json:"remote_port"`
	Address       string   `json:"address" default:"\"\""`
	Port          uint16   `json:"port" default:"0"`
	Reuse         bool     `json:"reuse" default:"false"`
	Options       []option `json:"options" default:"[]"`
}) (any, error) {
	address, err := to.Family.parse("address", to.Address)
	if err != nil {
		return nil, err
	}
	remote, err := to.Family.parse("remote_address", to.RemoteAddress)
	if err != nil {
		return nil, err
	}
	ep, err := a.open(to.Family, to.Options, to.Reuse, address, to.Port)
	if err != nil {
		return nil, err
	}
	failure := ep.Connect(tcpip.FullAddress{Addr: remote, Port: to.RemotePort})
	if _, started := failure.(*tcpip.ErrConnectStarted); !started {
		ep.Close()
		if _, none := failure.(*tcpip.ErrNoPortAvailable); none {
			return nil, refuse("EADDRNOTAVAIL", "%s", failure)
		}
		return nil, posix(failure)
	}
	local, failure := ep.GetLocalAddress()
	if failure != nil {
		ep.Close()
		return nil, posix(failure)
	}
	s := a.add(to.Family, ep)
	s.opens = true
	return s.named(local), nil
}

func (a *agent) connected(number int64, of struct {
	Socket  *socket  `json:"socket"`
	Timeout *seconds `json:"timeout" default:"null"`
}) (any, error) {
	s := of.Socket
	a.wait(&pending{number: number, socket: s, queue: "send", try: func() (any, error) {
		s.noteOpened()
		switch {
		case s.opened:
			return empty{}, nil
		case s.opens:
			return nil, nil
		case s.failed != nil:
			return nil, s.failed
		}
		return nil, refuse("ENOTCONN", "the socket was never asked to connect")
	}}, of.Timeout, late)
	return nil, nil
}

func (a *agent) send(number int64, what struct {
	Socket *socket `json:"socket"`
	Data   []byte  `json:"data"`
	Urgent bool    `json:"urgent" default:"false"`
	Wait   bool    `json:"wait" default:"true"`
}) (any, error) {
	s := what.Socket
	if what.Urgent {
		return nil, noUrgent
	}
	progress := map[string]any{"sent": 0}
	sent := 0
	try := func() (any, error) {
		for sent < len(what.Data) {
			n, failure := s.ep.Write(bytes.NewReader(what.Data[sent:]), tcpip.WriteOptions{Atomic: true})
			sent += int(n)
			progress["sent"] = sent
			if again(failure) {
				return nil, nil
			}
			if failure != nil {
				s.noteFailure(failure)
				return nil, posix(failure)
			}
		}
		return progress, nil
	}
	if !what.Wait {
		if a.queued(s, "send") { // what waits goes first
			return progress, nil
		}
		if ok, err := try(); ok != nil || err != nil {
			return ok, err
		}
		return progress, nil
	}
	a.wait(&pending{number: number, socket: s, queue: "send", try: try, more: progress}, nil, nil)
	return nil, nil
}

func (a *agent) receiveData(number int64, from struct {
	Socket  *socket  `json:"socket"`
	Count   int      `json:"count" default:"1"`
	Maximum int      `json:"maximum" default:"65536"`
	Timeout *seconds `json:"timeout" default:"null"`
	Urgent  bool     `json:"urgent" default:"false"`
}) (any, error) {
	s := from.Socket
	switch {
	case from.Urgent:
		return nil, noUrgent
	case from.Count < 0 || from.Count > lineLimit:
		return nil, refuse("bad-request", "count: a number from 0 to %d is needed, not %d", lineLimit, from.Count)
	case from.Maximum < max(from.Count, 1) || from.Maximum > lineLimit:
		return nil, refuse("bad-request", "maximum: a number from count to %d is needed, not %d", lineLimit, from.Maximum)
	}
	try := func() (any, error) { return s.take(from.Count, from.Maximum) }
	if from.Count == 0 {
		return try()
	}
	a.wait(&pending{number: number, socket: s, queue: "receive", try: try}, from.Timeout, late)
	return nil, nil
}

// take reads up to so many octets: the ok of a receive, or nil while there are fewer than count.
func (s *socket) take(count, maximum int) (any, error) {
	data, eof, failed := s.unread, false, error(nil)
	for len(data) < maximum && !eof && failed == nil {
		room := make([]byte, maximum-len(data))
		rest := tcpip.SliceWriter(room)
		result, failure := s.ep.Read(&rest, tcpip.ReadOptions{})
		data = append(data[:len(data):len(data)], room[:result.Count]...)
		if again(failure) {
			break
		}
		if _, closed := failure.(*tcpip.ErrClosedForReceive); closed {
			failed, eof = s.failed, s.failed == nil
		} else if failure != nil {
			s.noteFailure(failure)
			failed = posix(failure)
		}
	}
	s.unread = data
	if len(data) < count && !eof && failed == nil {
		return nil, nil
	}
	if failed != nil && len(data) == 0 {
		return nil, failed
	}
	s.unread = nil
	return map[string]any{"data": append([]byte{}, data...), "eof": eof}, nil
}

func (a *agent) shutdown(_ int64, what struct {
	Socket *socket `json:"socket"`
	How    string  `json:"how"`
}) (any, error) {
	s := what.Socket
	way, known := ways[what.How]
	if !known {
		return nil, refuse("bad-request", "how: one of send, receive, both is needed, not %.80q", what.How)
	}
	return empty{}, posix(s.ep.Shutdown(way))
}

// close forgets the socket. Where it lingers, the answer waits for the peer, as close(2) does.
func (a *agent) close(number int64, which struct {
	Socket *socket `json:"socket"`
}) (any, error) {
	s := which.Socket
	a.drop(s)
	s.ep.Close()
	linger := s.ep.SocketOptions().GetLinger()
	if !linger.Enabled || linger.Timeout <= 0 {
		return empty{}, nil
	}
	timeout := seconds(linger.Timeout.Seconds())
	a.wait(&pending{number: number, socket: s, queue: "close", try: func() (any, error) {
		switch s.ep.EndpointState() {
		case tcp.StateFinWait1, tcp.StateClosing, tcp.StateLastAck:
			return nil, nil
		}
		return empty{}, nil
	}}, &timeout, nil)
	return nil, nil
}

func (a *agent) abort(_ int64, which struct {
	Socket *socket `json:"socket"`
}) (any, error) {
	s := which.Socket
	a.drop(s)
	s.ep.SocketOptions().SetLinger(tcpip.LingerOption{Enabled: true})
	s.ep.Close()
	return empty{}, nil
}

func (a *agent) optionSet(_ int64, what struct {
	Socket *socket `json:"socket"`
	Level  string  `json:"level"`
	Name   string  `json:"name"`
	Value  setting `json:"value"`
}) (any, error) {
	s := what.Socket
	return empty{}, option{what.Level, what.Name, what.Value}.apply(s.ep)
}

func (a *agent) optionGet(_ int64, which struct {
	Socket *socket `json:"socket"`
	Level  string  `json:"level"`
	Name   string  `json:"name"`
}) (any, error) {
	s := which.Socket
	if err := checkName(which.Level, which.Name); err != nil {
		return nil, err
	}
	if which.Name == "SO_LINGER" {
		linger, on := s.ep.SocketOptions().GetLinger(), 0
		if linger.Enabled {
			on = 1
		}
		return map[string]any{"value": [2]int{on, int(linger.Timeout / time.Second)}}, nil
	}
	if which.Name == "TCP_CONGESTION" {
		var name tcpip.CongestionControlOption
		failure := s.ep.GetSockOpt(&name)
		return map[string]any{"value": map[string][]byte{"bytes": []byte(name)}}, posix(failure)
	}
	value, failure := sockopts[which.Name].get(s.ep)
	return map[string]any{"value": value}, posix(failure)
}

// error tells what ended the connection (remembered), or an error that it survived (once).
func (a *agent) error(_ int64, of struct {
	Socket *socket `json:"socket"`
}) (any, error) {
	s := of.Socket
	failure := s.ep.LastError()
	s.noteFailure(failure)
	switch {
	case s.failed != nil:
		return map[string]any{"code": code(s.failed)}, nil
	case failure != nil:
		return map[string]any{"code": posixName(failure)}, nil
	}
	return map[string]any{"code": nil}, nil
}

func (a *agent) state(_ int64, of struct {
	Family        family `json:"family"`
	Address       string `json:"address"`
	Port          uint16 `json:"port"`
	RemoteAddress string `json:"remote_address" default:"\"\""`
	RemotePort    uint16 `json:"remote_port" default:"0"`
}) (any, error) {
	local, err := of.Family.parse("address", of.Address)
	if err != nil {
		return nil, err
	}
	remote, err := of.Family.parse("remote_address", of.RemoteAddress)
	if err != nil {
		return nil, err
	}
	id := stack.TransportEndpointID{LocalAddress: local, LocalPort: of.Port}
	if of.RemotePort != 0 {
		id.RemoteAddress, id.RemotePort = remote, of.RemotePort
	}
	state := "CLOSED"
	if ep := a.find(protocols[of.Family], id); ep != nil {
		if name, known := states[ep.EndpointState()]; known {
			state = name
		}
	}
	return map[string]any{"state": state}, nil
}

func (a *agent) count(_ int64, _ struct{}) (any, error) {
	return map[string]any{"count": len(a.sockets), "pending": len(a.waiting)}, nil
}

func (a *agent) cancel(_ int64, which struct {
	Request int64 `json:"request"`
}) (any, error) {
	w := a.request(which.Request)
	if w != nil {
		a.finish(w, nil, refuse("cancelled", "cancelled by request"))
	}
	return map[string]any{"cancelled": w != nil}, nil
}

var (
	late     = refuse("timeout", "nothing came in time")
	noUrgent = refuse("EOPNOTSUPP", "the stack has no urgent data")
)

func again(failure tcpip.Error) bool {
	_, is := failure.(*tcpip.ErrWouldBlock)
	return is
}
