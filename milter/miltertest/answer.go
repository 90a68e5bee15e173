package miltertest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// Answer is what a milter said at the end of a message.
type Answer struct {
	Code    byte // the final one: 'c' continue, 'a' accept, 'r' reject, 't' tempfail, 'd' discard
	Changes []Change
}

// Change is one modification that the milter asked for.
type Change struct {
	Code        byte   // 'h' add, 'i' insert, 'm' change or, with an empty value, delete a header field; others as the protocol has them
	Index       uint32 // of 'i': the position; of 'm': which of the fields of that name, from 1
	Name, Value string
}

// readAnswer collects changes until the final reply.
func (c *Client) readAnswer() (Answer, error) {
	var a Answer
	for {
		code, data, err := c.Read()
		if err != nil {
			return a, err
		}
		switch code {
		case 'c', 'a', 'r', 't', 'd', 'y':
			a.Code = code
			return a, nil
		case 'p': // progress
		default:
			change, err := parseChange(code, data)
			if err != nil {
				return a, err
			}
			a.Changes = append(a.Changes, change)
		}
	}
}

func parseChange(code byte, data []byte) (Change, error) {
	change := Change{Code: code}
	if code == 'i' || code == 'm' {
		if len(data) < 4 {
			return change, fmt.Errorf("a short %q packet from the milter", code)
		}
		change.Index, data = binary.BigEndian.Uint32(data), data[4:]
	}
	parts := strings.Split(string(data), "\x00")
	if code == 'h' || code == 'i' || code == 'm' {
		if len(parts) != 3 || parts[2] != "" {
			return change, fmt.Errorf("a malformed %q packet from the milter", code)
		}
		change.Name, change.Value = parts[0], parts[1]
	}
	return change, nil
}

// Inserted are the fields that the milter added or inserted, as "Name:value" with folds as
// LF, from the top of the resulting message down.
func (a Answer) Inserted() []string {
	var list []string
	for _, change := range a.Changes {
		line := change.Name + ":" + change.Value
		switch change.Code {
		case 'i':
			list = slices.Insert(list, min(int(change.Index), len(list)), line)
		case 'h':
			list = append(list, line)
		}
	}
	return list
}

// Apply is the message as the MTA delivers it: changes of the header made in the order in
// which they were asked for. Names are compared as MTAs do, without regard to case.
func (a Answer) Apply(data []byte) []byte {
	header, body := split(data)
	list := fields(header)
	for _, change := range a.Changes {
		f := field{change.Name, change.Value}
		switch change.Code {
		case 'h':
			list = append(list, f)
		case 'i':
			list = slices.Insert(list, min(int(change.Index), len(list)), f)
		case 'm':
			list = changeField(list, change)
		}
	}
	var out bytes.Buffer
	for _, f := range list {
		out.WriteString(f.name + ":" + strings.ReplaceAll(f.value, "\n", "\r\n") + "\r\n")
	}
	out.WriteString("\r\n")
	out.Write(body)
	return out.Bytes()
}

// sameName compares the letters of ASCII without regard to case, all else byte for byte.
func sameName(a, b string) bool {
	lower := func(s string) string {
		return strings.Map(func(r rune) rune {
			if 'A' <= r && r <= 'Z' {
				r += 'a' - 'A'
			}
			return r
		}, strings.TrimRight(s, " \t"))
	}
	return lower(a) == lower(b)
}

func changeField(list []field, change Change) []field {
	seen := uint32(0)
	for i, f := range list {
		if !sameName(f.name, change.Name) {
			continue
		}
		if seen++; seen != change.Index {
			continue
		}
		if change.Value == "" {
			return slices.Delete(list, i, i+1)
		}
		list[i].value = change.Value
		return list
	}
	return list
}
