// Gvisor is a target of tcp-conformance: gVisor's network stack and its agent in one program.
//
// It speaks the agent protocol (docs/agent-protocol.md) on standard input and output. One goroutine does everything
// in turn (requests, frames, timers), and lets the stack come to rest before it goes on.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/log"
)

const (
	lineLimit = 16 << 20 // octets of a request
	chunk     = 256 << 10
)

func main() {
	log.SetLevel(log.Warning)
	h, err := newHost()
	if err != nil {
		give_up(err)
	}
	a := newAgent(h, bufio.NewWriterSize(os.Stdout, chunk))
	if err := a.serve(); err != nil && !errors.Is(err, errLinkClosed) {
		give_up(err)
	}
	a.end()
}

func give_up(err error) {
	fmt.Fprintln(os.Stderr, "gvisor:", err)
	os.Exit(1)
}

// agent is the loop, the sockets and the requests that wait.
type agent struct {
	*host
	out     *bufio.Writer
	inbox   []byte
	tooLong bool // the line that begins the inbox has lost its beginning

	sockets map[int64]*socket
	numbers int64
	waiting []*pending

	told uint64 // frames that were sent at the last reply to clock
	news bool   // whether anything was answered since
}

func newAgent(h *host, out *bufio.Writer) *agent {
	return &agent{host: h, out: out, sockets: map[int64]*socket{}}
}

// serve goes on until the input ends, or the link.
func (a *agent) serve() error {
	a.write(map[string]any{"hello": a.hello()})
	for {
		if err := a.out.Flush(); err != nil {
			return nil // nobody reads any more
		}
		fds := []unix.PollFd{{Fd: 0, Events: unix.POLLIN}, {Fd: int32(a.fd), Events: unix.POLLIN}}
		if _, err := unix.Ppoll(fds, a.patience(), nil); err != nil && err != unix.EINTR {
			return fmt.Errorf("poll: %w", err)
		}
		if err := a.takeFrames(); err != nil {
			return err
		}
		a.rest()
		if fds[0].Revents == 0 {
			continue
		}
		room := make([]byte, chunk)
		n, err := unix.Read(0, room)
		if err == unix.EAGAIN || err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return nil
		}
		a.inbox = append(a.inbox, room[:n]...)
		if err := a.takeLines(); err != nil {
			return err
		}
	}
}

// patience is how long nothing but the outside can make something happen; nil: for ever.
func (a *agent) patience() *unix.Timespec {
	next := a.clock.next()
	if a.clock.virtual || next == never {
		return nil
	}
	wait := unix.NsecToTimespec(max(next-a.clock.nanoseconds(), 0))
	return &wait
}

// takeFrames gives the stack what is on the link, a frame at a time.
func (a *agent) takeFrames() error {
	for {
		came, err := a.receive()
		if err != nil || !came {
			return err
		}
		a.rest()
	}
}

// rest lets everything happen that is due now.
func (a *agent) rest() {
	for {
		a.settle()
		if !a.serveWaiters() && !a.clock.run() {
			return
		}
	}
}

func (a *agent) takeLines() error {
	for {
		end := bytes.IndexByte(a.inbox, '\n')
		if end < 0 {
			if len(a.inbox) > lineLimit {
				a.inbox, a.tooLong = nil, true
			}
			return nil
		}
		line := a.inbox[:end]
		a.inbox = a.inbox[end+1:]
		if a.tooLong || len(line) > lineLimit {
			a.tooLong = false
			a.answer(nil, nil, refuse("bad-json", "a request line is over %d octets", lineLimit))
			continue
		}
		if err := a.takeFrames(); err != nil { // they were sent before
			return err
		}
		if len(bytes.TrimSpace(line)) > 0 {
			if err := a.takeLine(line); err != nil {
				return err
			}
			a.rest()
		}
	}
}

// takeLine serves one request. An error is the link's, and ends the program.
func (a *agent) takeLine(line []byte) error {
	var request map[string]json.RawMessage
	if err := json.Unmarshal(line, &request); err != nil || request == nil {
		a.answer(nil, nil, refuse("bad-json", "a request is a JSON object in one line"))
		return nil
	}
	var number *int64
	if err := json.Unmarshal(request["id"], &number); err != nil || number == nil {
		a.answer(nil, nil, refuse("bad-request", "id: a whole number is needed, not %.80s", request["id"]))
		return nil
	}
	var name string
	_ = json.Unmarshal(request["op"], &name)
	delete(request, "id")
	delete(request, "op")
	if a.request(*number) != nil {
		a.answer(number, nil, refuse("bad-request", "id: another request with this id is pending"))
		return nil
	}
	call, known := operations[name]
	if !known {
		a.answer(number, nil, refuse("unknown-op", "no operation %.80q", name))
		return nil
	}
	ok, err := call(a, *number, request)
	var lost *linkLost
	if errors.As(err, &lost) {
		return lost
	}
	if ok != nil || err != nil {
		a.answer(number, ok, err)
	}
	if name == "clock" { // what time it is, is no news
		a.news = false
	}
	return nil
}

// answer writes a reply: ok, or the error's code.
func (a *agent) answer(number *int64, ok any, err error) {
	reply := map[string]any{"id": number, "at_ns": a.clock.nanoseconds()}
	if err != nil {
		reply["error"] = told(err)
	} else {
		reply["ok"] = ok
	}
	a.write(reply)
	a.news = true
}

func (a *agent) write(message any) {
	line, err := json.Marshal(message)
	if err != nil {
		give_up(err)
	}
	a.out.Write(line)
	a.out.WriteByte('\n')
}

// Requests that wait

// pending is a request that is answered later. Of those with one socket and queue the first is served first.
type pending struct {
	number int64
	socket *socket
	queue  string
	try    func() (any, error) // nil, nil: goes on waiting
	more   map[string]any      // told along with an error
	timer  interface{ Stop() bool }
}

// wait has a request served as soon as it can be, at the latest after so many seconds.
func (a *agent) wait(w *pending, timeout *seconds, late error) {
	a.waiting = append(a.waiting, w)
	if timeout != nil {
		w.timer = a.clock.AfterFunc(timeout.duration(), func() { a.finish(w, nil, late) })
	}
}

func (a *agent) request(number int64) *pending {
	for _, w := range a.waiting {
		if w.number == number {
			return w
		}
	}
	return nil
}

// queued tells whether a request waits for that already.
func (a *agent) queued(s *socket, queue string) bool {
	for _, w := range a.waiting {
		if w.socket == s && w.queue == queue {
			return true
		}
	}
	return false
}

// serveWaiters answers those that can be. It returns whether there was any.
func (a *agent) serveWaiters() (served bool) {
	for _, s := range a.sockets {
		s.noteOpened()
	}
	type turn struct {
		socket *socket
		queue  string
	}
	waits := map[turn]bool{}
	for _, w := range append([]*pending(nil), a.waiting...) {
		key := turn{w.socket, w.queue}
		if waits[key] {
			continue
		}
		ok, err := w.try()
		if ok == nil && err == nil {
			waits[key] = true
			continue
		}
		a.finish(w, ok, err)
		served = true
	}
	return served
}

func (a *agent) finish(w *pending, ok any, err error) {
	for i, one := range a.waiting {
		if one == w {
			a.waiting = append(a.waiting[:i:i], a.waiting[i+1:]...)
			if w.timer != nil {
				w.timer.Stop()
			}
			if err != nil && w.more != nil {
				err = &refusal{code(err), err.Error(), w.more}
			}
			a.answer(&w.number, ok, err)
			return
		}
	}
}

// drop forgets a socket; whoever waited for it is told.
func (a *agent) drop(s *socket) {
	delete(a.sockets, s.number)
	for _, w := range append([]*pending(nil), a.waiting...) {
		if w.socket == s {
			a.finish(w, nil, refuse("cancelled", "socket %d was closed", s.number))
		}
	}
}

// end closes all sockets.
func (a *agent) end() {
	for _, s := range a.sockets {
		s.ep.Close()
	}
	a.settle()
	a.out.Flush()
}

// The clock

// linkWait is how long frames that were announced may take to come.
const linkWait = 5 * time.Second

// linkLost is an error of the link, not of the request in which it showed.
type linkLost struct{ error }

func (l *linkLost) Unwrap() error { return l.error }

// moveClock reads the frames that are on their way, and moves the clock until something happens.
func (a *agent) moveClock(_ int64, to struct {
	UntilNs  int64  `json:"until_ns"`
	FramesIn uint64 `json:"frames_in"`
}) (any, error) {
	if !a.clock.virtual {
		return nil, refuse("unknown-op", "the clock is the real one: it is not for the harness to move")
	}
	for a.framesIn < to.FramesIn {
		wait := unix.NsecToTimespec(linkWait.Nanoseconds())
		n, err := unix.Ppoll([]unix.PollFd{{Fd: int32(a.fd), Events: unix.POLLIN}}, &wait, nil)
		if n == 0 && err == nil {
			return nil, refuse("bad-request", "frames_in: %d were announced, %d have come", to.FramesIn, a.framesIn)
		}
		if err := a.takeFrames(); err != nil {
			return nil, &linkLost{err}
		}
	}
	a.rest()
	for a.told == a.sent() && !a.news {
		next := a.clock.next()
		if now := a.clock.nanoseconds(); next > to.UntilNs || to.UntilNs <= now {
			a.clock.move(max(now, to.UntilNs))
			break
		}
		a.clock.move(next)
		a.rest()
	}
	a.told = a.sent()
	return map[string]any{"now_ns": a.clock.nanoseconds(), "frames_out": a.told}, nil
}
