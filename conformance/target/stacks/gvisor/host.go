package main

import (
	"errors"
	"fmt"
	"math/rand"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

const nic tcpip.NICID = 1

var errLinkClosed = errors.New("the other end of the link is closed")

// host is the stack and its one link, as the environment describes them.
type host struct {
	stack *stack.Stack
	clock *clock

	fd       int
	mac      net.HardwareAddr
	link     *channel.Endpoint
	frame    []byte // room for one
	framesIn uint64

	mu        sync.Mutex
	framesOut uint64
}

// newHost makes the stack. An error says which variable is wrong, and what would be right.
func newHost() (*host, error) {
	fd, err := strconv.Atoi(os.Getenv("TCP_CONFORMANCE_LINK_FD"))
	if err != nil {
		return nil, wanted("LINK_FD", "the number of an open file descriptor")
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, wanted("LINK_FD", "the number of an open file descriptor")
	}
	mac, err := net.ParseMAC(os.Getenv("TCP_CONFORMANCE_MAC"))
	if err != nil || len(mac) != header.EthernetAddressSize {
		return nil, wanted("MAC", "an Ethernet address")
	}
	mtu, err := strconv.Atoi(os.Getenv("TCP_CONFORMANCE_MTU"))
	if err != nil || mtu < header.IPv6MinimumMTU || mtu > 65535 {
		return nil, wanted("MTU", "a number of octets from 1280 to 65535")
	}
	virtual := os.Getenv("TCP_CONFORMANCE_CLOCK") == "virtual"
	if !virtual && os.Getenv("TCP_CONFORMANCE_CLOCK") != "real" {
		return nil, wanted("CLOCK", "virtual or real")
	}

	// The processor of segments and the loop take turns, so one thread at a time is enough, and the order is kept.
	runtime.GOMAXPROCS(1)
	h := &host{fd: fd, mac: mac, clock: newClock(virtual), frame: make([]byte, mtu+header.EthernetMinimumSize+4)}
	options := stack.Options{
		Clock: h.clock,
		NetworkProtocols: []stack.NetworkProtocolFactory{
			arp.NewProtocol,
			ipv4.NewProtocol,
			ipv6.NewProtocolWithOptions(ipv6.Options{}), // no routers, no detection of duplicate addresses
		},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	}
	if virtual { // the same run twice is the same: from sequence numbers to when neighbours are asked again
		options.RandSource = &source{Source: rand.NewSource(1)}
		options.SecureRNG = &source{Source: rand.NewSource(2)}
	}
	h.stack = stack.New(options)
	h.link = channel.New(64, uint32(mtu+header.EthernetMinimumSize), tcpip.LinkAddress(mac))
	h.link.AddNotify(h)
	if err := h.stack.CreateNIC(nic, ethernet.New(h.link)); err != nil {
		return nil, fmt.Errorf("no interface: %s", err)
	}
	if err := h.address("IPV4", ipv4.ProtocolNumber, netip.Addr.Is4); err != nil {
		return nil, err
	}
	if err := h.address("IPV6", ipv6.ProtocolNumber, netip.Addr.Is6); err != nil {
		return nil, err
	}
	// As the Sentry's sockets have it: Nagle's algorithm is on.
	delay := tcpip.TCPDelayEnabled(true)
	h.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &delay)
	return h, nil
}

func wanted(variable, what string) error {
	name := "TCP_CONFORMANCE_" + variable
	return fmt.Errorf("%s: %s is needed, not %q", name, what, os.Getenv(name))
}

func (h *host) address(variable string, protocol tcpip.NetworkProtocolNumber, is func(netip.Addr) bool) error {
	prefix, err := netip.ParsePrefix(os.Getenv("TCP_CONFORMANCE_" + variable))
	if err != nil || !is(prefix.Addr()) {
		return wanted(variable, "an address with its prefix length")
	}
	own := tcpip.AddressWithPrefix{Address: tcpip.AddrFromSlice(prefix.Addr().AsSlice()), PrefixLen: prefix.Bits()}
	added := tcpip.ProtocolAddress{Protocol: protocol, AddressWithPrefix: own}
	if err := h.stack.AddProtocolAddress(nic, added, stack.AddressProperties{}); err != nil {
		return fmt.Errorf("TCP_CONFORMANCE_%s: %s", variable, err)
	}
	h.stack.AddRoute(tcpip.Route{Destination: own.Subnet(), NIC: nic})
	return nil
}

// receive reads one frame, where there is one, and gives it to the stack.
func (h *host) receive() (bool, error) {
	n, err := unix.Read(h.fd, h.frame)
	if err == unix.EAGAIN || err == unix.EINTR {
		return false, nil
	}
	if n == 0 && err == nil || err == unix.ECONNRESET {
		return false, errLinkClosed
	}
	if err != nil {
		return false, fmt.Errorf("the link is gone: %w", err)
	}
	h.framesIn++
	frame := h.frame[:n]
	if n < header.EthernetMinimumSize || frame[0]&1 == 0 && string(frame[:6]) != string(h.mac) {
		return true, nil
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame)})
	h.link.InjectInbound(0, pkt)
	pkt.DecRef()
	return true, nil
}

// WriteNotify implements channel.Notification: what the stack sends leaves at once.
func (h *host) WriteNotify() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for pkt := h.link.Read(); pkt != nil; pkt = h.link.Read() {
		frame := pkt.ToView()
		h.write(frame.AsSlice())
		frame.Release()
		pkt.DecRef()
		h.framesOut++
	}
}

func (h *host) write(frame []byte) {
	for {
		_, err := unix.Write(h.fd, frame)
		switch err {
		case nil:
			return
		case unix.EAGAIN, unix.EINTR, unix.ENOBUFS:
			unix.Poll([]unix.PollFd{{Fd: int32(h.fd), Events: unix.POLLOUT}}, 100)
		case unix.EPIPE, unix.ECONNRESET: // to read tells, too
			return
		default:
			give_up(fmt.Errorf("the link takes no frames: %w", err))
		}
	}
}

func (h *host) sent() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.framesOut
}

// settle returns when the stack has nothing left to do now: no goroutine can run, and the one that processes
// segments has emptied its queue (to pause is to have emptied it).
func (h *host) settle() {
	runtime.Gosched()
	protocol := h.stack.TransportProtocolInstance(tcp.ProtocolNumber)
	protocol.Pause()
	protocol.Resume()
}

// find is the endpoint that gets a four-tuple's segments: its connection, else its listener, else nil.
func (h *host) find(protocol tcpip.NetworkProtocolNumber, id stack.TransportEndpointID) *tcp.Endpoint {
	found, _ := h.stack.FindTransportEndpoint(protocol, tcp.ProtocolNumber, id, nic).(*tcp.Endpoint)
	return found
}

// source makes a source of random numbers fit for several goroutines.
type source struct {
	mu sync.Mutex
	rand.Source
}

func (s *source) Int63() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Source.Int63()
}

// Read implements io.Reader.
func (s *source) Read(into []byte) (int, error) {
	for i := range into {
		into[i] = byte(s.Int63())
	}
	return len(into), nil
}
