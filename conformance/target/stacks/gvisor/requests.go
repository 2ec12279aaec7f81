package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/syserr"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// refusal is why a request gets no ok: a code of the protocol and a sentence.
type refusal struct {
	code    string
	message string
	more    map[string]any
}

func (r *refusal) Error() string { return r.message }

func refuse(code, format string, arguments ...any) error {
	return &refusal{code, fmt.Sprintf(format, arguments...), nil}
}

// code is the protocol's name for an error.
func code(err error) string {
	var r *refusal
	if errors.As(err, &r) {
		return r.code
	}
	return "agent-fault"
}

func told(err error) map[string]any {
	reply := map[string]any{"code": code(err), "message": err.Error()}
	var r *refusal
	if errors.As(err, &r) {
		for name, value := range r.more {
			reply[name] = value
		}
	}
	return reply
}

// posix is an error of the stack under the POSIX name that gVisor itself gives it.
func posix(err tcpip.Error) error {
	if err == nil {
		return nil
	}
	return &refusal{posixName(err), err.String(), nil}
}

func posixName(err tcpip.Error) string {
	return unix.ErrnoName(unix.Errno(syserr.TranslateNetstackError(err).ToLinux()))
}

// call is an operation as a request asks for it. nil, nil: it is answered later.
type call func(a *agent, number int64, request map[string]json.RawMessage) (any, error)

// operation makes a call of a method. Its arguments are a struct: `json` names each, `default` tells what it is when left out,
// and a *socket is the one of that number.
func operation[T any](method func(a *agent, number int64, arguments T) (any, error)) call {
	return func(a *agent, number int64, request map[string]json.RawMessage) (any, error) {
		var arguments T
		fields := reflect.ValueOf(&arguments).Elem()
		for i := range fields.NumField() {
			field := fields.Type().Field(i)
			name := field.Tag.Get("json")
			value, given := request[name]
			delete(request, name)
			if !given {
				standard, optional := field.Tag.Lookup("default")
				if !optional {
					return nil, refuse("bad-request", "%s: this argument is needed", name)
				}
				value = json.RawMessage(standard)
			}
			null := bytes.Equal(value, []byte("null")) && field.Type != reflect.TypeFor[*seconds]()
			if err := json.Unmarshal(value, fields.Field(i).Addr().Interface()); err != nil || null {
				return nil, refuse("bad-request", "%s: %s is needed, not %.80s", name, kind(field.Type), value)
			}
		}
		for name := range request {
			return nil, refuse("bad-request", "%.80s: there is no such argument", name)
		}
		for i := range fields.NumField() {
			if asked, ok := fields.Field(i).Interface().(*socket); ok {
				known := a.sockets[asked.number]
				if known == nil {
					return nil, refuse("no-such-socket", "no socket %d", asked.number)
				}
				fields.Field(i).Set(reflect.ValueOf(known))
			}
		}
		return method(a, number, arguments)
	}
}

// kind is what an argument of that type has to be.
func kind(t reflect.Type) string {
	switch reflect.Zero(t).Interface().(type) {
	case uint16:
		return "a whole number from 0 to 65535"
	case int64, int, uint64, *socket:
		return "a whole number"
	case bool:
		return "true or false"
	case string:
		return "a text"
	case []byte:
		return "base64 text"
	case family:
		return "4 or 6"
	case *seconds:
		return "a number of seconds or null"
	case []option:
		return "a list of [level, name, value]"
	case setting:
		return `a whole number, [onoff, seconds] or {"bytes": base64}`
	default:
		return t.String()
	}
}

// UnmarshalJSON implements json.Unmarshaler: a socket that has its number alone.
func (s *socket) UnmarshalJSON(text []byte) error { return json.Unmarshal(text, &s.number) }

// family is that of addresses, 4 or 6.
type family int

// UnmarshalJSON implements json.Unmarshaler.
func (f *family) UnmarshalJSON(text []byte) error {
	if err := json.Unmarshal(text, (*int)(f)); err != nil {
		return err
	}
	if *f != 4 && *f != 6 {
		return errors.ErrUnsupported
	}
	return nil
}

// parse reads a numeric address; "" and the unspecified one are any, which the stack calls none.
func (f family) parse(argument, text string) (tcpip.Address, error) {
	if text == "" {
		return tcpip.Address{}, nil
	}
	found, err := netip.ParseAddr(text)
	if err != nil || found.Is4() != (f == 4) || found.Zone() != "" {
		return tcpip.Address{}, refuse("bad-request", "%s: an IPv%d address is needed, not %.80q", argument, f, text)
	}
	if found.IsUnspecified() {
		return tcpip.Address{}, nil
	}
	return tcpip.AddrFromSlice(found.AsSlice()), nil
}

// text is an address as the protocol has it.
func (f family) text(address tcpip.Address) string {
	if found, ok := netip.AddrFromSlice(address.AsSlice()); ok {
		return found.String()
	}
	if f == 4 {
		return "0.0.0.0"
	}
	return "::"
}

type seconds float64

// UnmarshalJSON implements json.Unmarshaler.
func (s *seconds) UnmarshalJSON(text []byte) error {
	if err := json.Unmarshal(text, (*float64)(s)); err != nil {
		return err
	}
	if *s < 0 || *s >= 1e9 {
		return errors.ErrUnsupported
	}
	return nil
}

func (s seconds) duration() time.Duration { return time.Duration(math.Round(float64(s) * 1e9)) }

// setting is what a socket option is set to.
type setting struct {
	number int
	pair   *[2]int // of SO_LINGER: onoff, seconds
	text   []byte  // of TCP_CONGESTION: a name
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *setting) UnmarshalJSON(text []byte) error {
	var pair []int32
	if json.Unmarshal(text, &pair) == nil && len(pair) == 2 {
		s.pair = &[2]int{int(pair[0]), int(pair[1])}
		return nil
	}
	var octets struct {
		Bytes []byte `json:"bytes"`
	}
	if json.Unmarshal(text, &octets) == nil && octets.Bytes != nil {
		s.text = octets.Bytes
		return nil
	}
	var number int32
	err := json.Unmarshal(text, &number)
	s.number = int(number)
	return err
}

// option is [level, name, value].
type option struct {
	level, name string
	value       setting
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *option) UnmarshalJSON(text []byte) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(text, &parts); err != nil || len(parts) != 3 || slices.ContainsFunc(parts, isNull) {
		return errors.ErrUnsupported
	}
	return errors.Join(
		json.Unmarshal(parts[0], &o.level), json.Unmarshal(parts[1], &o.name), json.Unmarshal(parts[2], &o.value),
	)
}

func isNull(text json.RawMessage) bool { return string(text) == "null" }
