package main

import (
	"math"
	"regexp"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// sockopt is one socket option. Values are as Linux and gVisor's Sentry have them (pkg/sentry/socket/netstack).
type sockopt struct {
	low, high int // what may be set
	set       func(ep tcpip.Endpoint, value int) tcpip.Error
	get       func(ep tcpip.Endpoint) (int, tcpip.Error)
}

var optionNames = map[string]*regexp.Regexp{
	"socket": regexp.MustCompile(`^SO_[A-Z0-9_]+$`),
	"tcp":    regexp.MustCompile(`^TCP_[A-Z0-9_]+$`),
	"ip":     regexp.MustCompile(`^IP_[A-Z0-9_]+$`),
	"ipv6":   regexp.MustCompile(`^IPV6_[A-Z0-9_]+$`),
}

var sockopts = map[string]sockopt{
	"SO_KEEPALIVE": flag((*tcpip.SocketOptions).SetKeepAlive, (*tcpip.SocketOptions).GetKeepAlive),
	"SO_REUSEADDR": flag((*tcpip.SocketOptions).SetReuseAddress, (*tcpip.SocketOptions).GetReuseAddress),
	"SO_REUSEPORT": flag((*tcpip.SocketOptions).SetReusePort, (*tcpip.SocketOptions).GetReusePort),
	"SO_RCVBUF": size(
		(*tcpip.SocketOptions).SetReceiveBufferSize, (*tcpip.SocketOptions).GetReceiveBufferSize,
		(*tcpip.SocketOptions).ReceiveBufferLimits,
	),
	"SO_SNDBUF": size(
		(*tcpip.SocketOptions).SetSendBufferSize, (*tcpip.SocketOptions).GetSendBufferSize,
		(*tcpip.SocketOptions).SendBufferLimits,
	),
	"TCP_NODELAY":  inverse(flag((*tcpip.SocketOptions).SetDelayOption, (*tcpip.SocketOptions).GetDelayOption)),
	"TCP_CORK":     flag((*tcpip.SocketOptions).SetCorkOption, (*tcpip.SocketOptions).GetCorkOption),
	"TCP_QUICKACK": flag((*tcpip.SocketOptions).SetQuickAck, (*tcpip.SocketOptions).GetQuickAck),

	"TCP_MAXSEG":        number(tcpip.MaxSegOption, 0, math.MaxUint16),
	"TCP_KEEPCNT":       number(tcpip.KeepaliveCountOption, 1, 127),
	"TCP_SYNCNT":        number(tcpip.TCPSynCountOption, 1, 255),
	"TCP_WINDOW_CLAMP":  number(tcpip.TCPWindowClampOption, 0, math.MaxInt32),
	"IP_TTL":            number(tcpip.IPv4TTLOption, 1, 255),
	"IP_TOS":            number(tcpip.IPv4TOSOption, 0, 255),
	"IPV6_UNICAST_HOPS": number(tcpip.IPv6HopLimitOption, -1, 255),
	"IPV6_TCLASS":       number(tcpip.IPv6TrafficClassOption, 0, 255),

	"TCP_KEEPIDLE":     period[tcpip.KeepaliveIdleOption](time.Second, 1, 32767),
	"TCP_KEEPINTVL":    period[tcpip.KeepaliveIntervalOption](time.Second, 1, 32767),
	"TCP_USER_TIMEOUT": period[tcpip.TCPUserTimeoutOption](time.Millisecond, 0, math.MaxInt32),
	"TCP_LINGER2":      period[tcpip.TCPLingerTimeoutOption](time.Second, -1, math.MaxInt32),
	"TCP_DEFER_ACCEPT": period[tcpip.TCPDeferAcceptOption](time.Second, 0, math.MaxInt32),
}

// checkName refuses names that no option of the level can have, and those that this stack lacks.
func checkName(level, name string) error {
	names, known := optionNames[level]
	if !known {
		return refuse("bad-request", "level: one of socket, tcp, ip, ipv6 is needed, not %.80q", level)
	}
	if !names.MatchString(name) {
		return refuse("bad-request", "name: an option of level %s is needed, not %.80q", level, name)
	}
	if _, known := sockopts[name]; !known && name != "SO_LINGER" && name != "TCP_CONGESTION" {
		return refuse("ENOPROTOOPT", "the stack has no %s", name)
	}
	return nil
}

func (o option) apply(ep tcpip.Endpoint) error {
	if err := checkName(o.level, o.name); err != nil {
		return err
	}
	if (o.name == "SO_LINGER") != (o.value.pair != nil) {
		return refuse("bad-request", "value: [onoff, seconds] is what SO_LINGER needs, and it alone")
	}
	if (o.name == "TCP_CONGESTION") != (o.value.text != nil) {
		return refuse("bad-request", `value: {"bytes": base64} is what TCP_CONGESTION needs, and it alone`)
	}
	if name := tcpip.CongestionControlOption(o.value.text); name != "" {
		return posix(ep.SetSockOpt(&name))
	}
	if linger := o.value.pair; linger != nil {
		timeout := time.Duration(linger[1]) * time.Second
		ep.SocketOptions().SetLinger(tcpip.LingerOption{Enabled: linger[0] != 0, Timeout: timeout})
		return nil
	}
	known := sockopts[o.name]
	if o.value.number < known.low || o.value.number > known.high {
		return refuse("EINVAL", "%s is from %d to %d, not %d", o.name, known.low, known.high, o.value.number)
	}
	return posix(known.set(ep, o.value.number))
}

func flag(set func(*tcpip.SocketOptions, bool), get func(*tcpip.SocketOptions) bool) sockopt {
	return sockopt{
		math.MinInt32, math.MaxInt32,
		func(ep tcpip.Endpoint, value int) tcpip.Error { set(ep.SocketOptions(), value != 0); return nil },
		func(ep tcpip.Endpoint) (int, tcpip.Error) {
			if get(ep.SocketOptions()) {
				return 1, nil
			}
			return 0, nil
		},
	}
}

func inverse(of sockopt) sockopt {
	set, get := of.set, of.get
	of.set = func(ep tcpip.Endpoint, value int) tcpip.Error {
		if value != 0 {
			return set(ep, 0)
		}
		return set(ep, 1)
	}
	of.get = func(ep tcpip.Endpoint) (int, tcpip.Error) {
		value, err := get(ep)
		return 1 - value, err
	}
	return of
}

// size is a buffer's: the stack makes room for twice what is asked for, as Linux does.
func size(
	set func(*tcpip.SocketOptions, int64, bool),
	get func(*tcpip.SocketOptions) int64,
	limits func(*tcpip.SocketOptions) (int64, int64),
) sockopt {
	return sockopt{
		0, math.MaxInt32,
		func(ep tcpip.Endpoint, value int) tcpip.Error {
			low, high := limits(ep.SocketOptions())
			set(ep.SocketOptions(), max(2*min(int64(value), high), low), true)
			return nil
		},
		func(ep tcpip.Endpoint) (int, tcpip.Error) { return int(get(ep.SocketOptions())), nil },
	}
}

func number(name tcpip.SockOptInt, low, high int) sockopt {
	return sockopt{
		low, high,
		func(ep tcpip.Endpoint, value int) tcpip.Error { return ep.SetSockOptInt(name, value) },
		func(ep tcpip.Endpoint) (int, tcpip.Error) { return ep.GetSockOptInt(name) },
	}
}

// period is a time in whole units, which the stack has as a duration.
func period[T ~int64, P interface {
	*T
	tcpip.SettableSocketOption
	tcpip.GettableSocketOption
}](unit time.Duration, low, high int) sockopt {
	return sockopt{
		low, high,
		func(ep tcpip.Endpoint, value int) tcpip.Error {
			wanted := T(time.Duration(value) * unit)
			return ep.SetSockOpt(P(&wanted))
		},
		func(ep tcpip.Endpoint) (int, tcpip.Error) {
			var is T
			err := ep.GetSockOpt(P(&is))
			return int(time.Duration(is) / unit), err
		},
	}
}
