package view

import (
	"strings"
	"testing"

	"peerscore/assess"
)

// What is in the page cannot become a part of it: a profile may have any name.
func TestPageEscapes(t *testing.T) {
	page := NewPage("<script>alert(1)</script>")
	page.Add(Report{Assessment: assess.Assessment{Domain: `"><b>.example`}})
	for _, served := range []int{0, 10} {
		var out strings.Builder
		if err := page.Write(&out, served); err != nil {
			t.Fatal(err)
		}
		if text := out.String(); strings.Contains(text, "<script>alert") || strings.Contains(text, "<b>") || !strings.Contains(text, "&lt;script&gt;") {
			t.Errorf("served %d: %s", served, text)
		}
	}
}
