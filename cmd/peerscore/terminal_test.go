package main

import (
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/text"

	"peerscore/cmd/peerscore/view"
)

// Our own colours are the only control characters on a terminal, and what is printed fits it.
func TestTerminal(t *testing.T) {
	world := startLab(t)
	lab := inLab(t, world)
	domains := []string{"hostile.example", "nordmail.example", "webshop.example", "broken.example", "island.example"}
	lab.run(append([]string{"assess"}, domains...)...)
	colour := regexp.MustCompile(`\x1b\[[0-9;]*m`)
	commands := [][]string{{"list"}}
	for _, d := range domains {
		commands = append(commands, []string{"show", d}, []string{"explain", d}, []string{"history", d})
	}
	for _, width := range []int{60, 80, 120} {
		for _, command := range commands {
			out, _ := lab.try(view.Console{Colours: true, Width: width}, command...)
			if !colour.MatchString(out) {
				t.Errorf("%v is not coloured", command)
			}
			plain := colour.ReplaceAllString(out, "")
			for _, line := range strings.Split(plain, "\n") {
				if strings.ContainsFunc(line, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }) {
					t.Errorf("%v prints %q", command, line)
				}
				if n := text.StringWidthWithoutEscSequences(line); n > width && len(strings.Fields(line)) > 1 { // one long word stays whole
					t.Errorf("%v at %d columns: %d in %q", command, width, n, line)
				}
			}
		}
	}
}
