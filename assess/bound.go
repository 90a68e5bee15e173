package assess

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
)

// What is kept of a stranger's octets, as JSON. An honest run takes a third of it.
const (
	MaxFacts   = 64 << 10 // of one run
	MaxSession = 24 << 10 // of a dialogue that is remembered for an address
)

// CutMark ends a text, and is the last entry of a list, of which there was more than is kept.
// No rule may take what is missing after it for absent.
const CutMark = "[cut]"

const (
	leastShare  = 256 // of one text or list; the name of a host is shorter
	shareOfAddr = 48  // octets of an address in a list
)

// Bounded are the facts with no more than MaxFacts of JSON. Where there is more, the longest texts
// and lists of records and lines are cut, all to the same length; a chain of certificates is kept
// whole or not at all. What was computed from them stands. None is cut below 256 octets, so that
// facts which name everything that a run may ask for, at length, may take four times as much.
func (f Facts) Bounded() Facts {
	return bounded(f, MaxFacts)
}

// Bounded is the dialogue with no more than MaxSession of JSON; see Facts.Bounded.
func (s SMTPFacts) Bounded() SMTPFacts {
	return bounded(s, MaxSession)
}

// bounded lowers what one value may take until all of them fit. It works on copies, since facts
// share what they hold.
func bounded[T any](whole T, limit int) T {
	text, err := json.Marshal(whole)
	if err != nil || len(text) <= limit {
		return whole
	}
	for share := limit / 2; ; share /= 2 {
		var part T
		if json.Unmarshal(text, &part) != nil {
			return part // it was ours a moment ago
		}
		shorten(reflect.ValueOf(&part).Elem(), share)
		if kept, err := json.Marshal(part); err != nil || len(kept) <= limit || share/2 < leastShare {
			return part
		}
	}
}

// shorten cuts every text and list within a value to a share of octets.
func shorten(v reflect.Value, share int) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(shortened(v.String(), share))
	case reflect.Pointer:
		if !v.IsNil() {
			shorten(v.Elem(), share)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if field := v.Field(i); field.CanSet() {
				shorten(field, share)
			}
		}
	case reflect.Slice:
		switch list := v.Addr().Interface().(type) {
		case *[]string:
			*list = shortenedList(*list, share)
		case *[][]byte:
			if size(*list) > share {
				*list = nil
			}
		case *[]netip.Addr:
			*list = (*list)[:min(len(*list), share/shareOfAddr)]
		default:
			for i := range v.Len() {
				shorten(v.Index(i), share)
			}
		}
	}
}

// shortenedList keeps the first entries, and of one at least the beginning.
func shortenedList(list []string, share int) []string {
	left := share
	for i, s := range list {
		if left -= size(s); left < 0 && i == 0 {
			return []string{shortened(s, share)}
		} else if left < 0 {
			return append(list[:i:i], CutMark)
		}
	}
	return list
}

func shortened(s string, share int) string {
	if size(s) <= share {
		return s
	}
	for size(s) > share-len(CutMark) {
		s = strings.ToValidUTF8(s[:len(s)*3/4], "")
	}
	return s + CutMark
}

// size is how many octets a value takes as JSON.
func size(v any) int {
	text, _ := json.Marshal(v) // of texts and octets
	return len(text)
}
