package main

import (
	"container/heap"
	"math"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// never is later than any time of a clock.
const never = math.MaxInt64

// clock is the stack's clock, in nanoseconds. Its timers run one at a time, in the order of their times and then of
// their setting, and only when the loop asks for it: so a run can be repeated. It stands still where it is virtual.
type clock struct {
	virtual bool
	started time.Time

	mu     sync.Mutex
	now    int64 // while virtual; else the time of the start
	timers timerHeap
	turns  uint64
}

func newClock(virtual bool) *clock {
	c := &clock{virtual: virtual, started: time.Now()}
	c.now = c.started.UnixNano()
	if virtual {
		c.now = time.Hour.Nanoseconds() // zero is a time that some code takes for none
	}
	return c
}

func (c *clock) nanoseconds() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read()
}

func (c *clock) read() int64 {
	if c.virtual {
		return c.now
	}
	return c.now + time.Since(c.started).Nanoseconds()
}

// Now implements tcpip.Clock.
func (c *clock) Now() time.Time { return time.Unix(0, c.nanoseconds()) }

// NowMonotonic implements tcpip.Clock.
func (c *clock) NowMonotonic() tcpip.MonotonicTime {
	return tcpip.MonotonicTime{}.Add(time.Duration(c.nanoseconds()))
}

// AfterFunc implements tcpip.Clock.
func (c *clock) AfterFunc(after time.Duration, call func()) tcpip.Timer {
	t := &timer{clock: c, call: call, place: -1}
	t.Reset(after)
	return t
}

// next is the time of the earliest timer, or never.
func (c *clock) next() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.timers) == 0 {
		return never
	}
	return c.timers[0].at
}

// move sets a virtual clock forward.
func (c *clock) move(to int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = to
}

// run calls one timer that is due. It returns false where none is.
func (c *clock) run() bool {
	c.mu.Lock()
	if len(c.timers) == 0 || c.timers[0].at > c.read() {
		c.mu.Unlock()
		return false
	}
	due := heap.Pop(&c.timers).(*timer)
	c.mu.Unlock()
	due.call()
	return true
}

type timer struct {
	clock *clock
	call  func()
	at    int64
	turn  uint64
	place int // in the heap, -1: not set
}

// Stop implements tcpip.Timer.
func (t *timer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	return t.stop()
}

func (t *timer) stop() bool {
	if t.place < 0 {
		return false
	}
	heap.Remove(&t.clock.timers, t.place)
	return true
}

// Reset implements tcpip.Timer.
func (t *timer) Reset(after time.Duration) {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	t.stop()
	now := t.clock.read()
	t.at = now + max(after.Nanoseconds(), 0)
	if t.at < now { // beyond what 64 bits hold
		t.at = never
	}
	t.clock.turns++
	t.turn = t.clock.turns
	heap.Push(&t.clock.timers, t)
}

type timerHeap []*timer

func (h timerHeap) Len() int { return len(h) }

func (h timerHeap) Less(i, j int) bool {
	if h[i].at != h[j].at {
		return h[i].at < h[j].at
	}
	return h[i].turn < h[j].turn
}

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	t.place = len(*h)
	*h = append(*h, t)
}

func (h *timerHeap) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	*h = (*h)[:last]
	t.place = -1
	return t
}
