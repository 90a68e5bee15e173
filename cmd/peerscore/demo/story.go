package demo

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"peerscore/cmd/peerscore/config"
	"peerscore/cmd/peerscore/reader"
	"peerscore/cmd/peerscore/view"
	"peerscore/store"
)

// teller tells the story of the demo.
type teller struct{ view.Console }

func (t teller) headline(s string) { fmt.Fprintf(t.Out, "\n%s\n", t.Paint(view.Bold, s)) }

// say prints a paragraph of the story.
func (t teller) say(format string, args ...any) {
	const readable = 84
	width := readable
	if t.Width > 0 {
		width = min(t.Width, readable)
	}
	for _, line := range strings.Split(view.Wrap(fmt.Sprintf(format, args...), width), "\n") {
		fmt.Fprintln(t.Out, t.Paint(view.Faint, line))
	}
}

func (t teller) introduceDemo(providers int) {
	t.headline("peerscore demo: an internet on loopback")
	t.say("%d mail providers, good and bad, with name servers, mail servers and certificates made just now, and a mail host of ours that knows none of them.", providers)
}

// showDemo is what a newcomer sees: who protects mail, why, what messages carry, what to type next.
func (t teller) showDemo(ctx context.Context, o outcome) error {
	cfg := config.Default()
	cfg.Store.Path = o.path
	stored, err := reader.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer stored.Close()
	t.say("%d sessions came through its milter in %.1f s; each peer was probed on first sight.", o.sessions, o.took.Seconds())

	t.headline("Who protects mail?  peerscore list --sort integrity")
	t.say("How well each keeps mail from being read, forged and altered; 3.5 is protected.\n")
	peers, err := stored.Peers(ctx, store.Filter{Sort: "integrity"})
	if err != nil {
		return err
	}
	t.WritePeerTable(peers, time.Now())

	t.headline("Why these stars?  peerscore explain webshop.example")
	t.say("Every test behind every star. Inbound was probed; outbound is what mail showed.\n")
	r, err := stored.Report(ctx, "webshop.example")
	if err != nil {
		return err
	}
	t.WriteExplanation(r, time.Now())

	t.headline("What does a message carry?")
	t.say("The header of a message proven to come from nordmail.example, as delivered.\n")
	t.writeFields(o.honest)

	t.headline("And a spoof?")
	t.say("%d messages claimed to be from nordmail.example or bank.example, and brought stars of their own. They were delivered, since peerscore rejects nothing, without any stars; and every score and every count of sessions is what it was before.\n", o.spoofs)
	t.writeFields(o.spoof)

	t.headline("Your turn")
	t.say("The database was left behind:\n")
	fmt.Fprintf(t.Out, "  db=%s\n", o.path)
	for _, command := range []string{"show nordmail.example", "explain broken.example", "list --below 3.5 --json", "report -o peers.html"} {
		fmt.Fprintf(t.Out, "  %s --db $db %s\n", os.Args[0], command)
	}
	fmt.Fprintln(t.Out)
	return nil
}

// writeFields prints those fields of a message's header that tell the story, folded as delivered.
func (t teller) writeFields(message string) {
	for _, field := range headerFields(message) {
		name, _, _ := strings.Cut(field, ":")
		if !slices.Contains([]string{"from", "to", "subject"}, strings.ToLower(name)) && !strings.HasPrefix(name, "Peer-Score") {
			continue
		}
		for _, line := range strings.Split(field, "\n") {
			fmt.Fprintf(t.Out, "  %s\n", view.Printable(line))
		}
	}
}

// headerFields splits the header of a message into fields, each with its folds as LF.
func headerFields(message string) []string {
	header, _, _ := strings.Cut(strings.ReplaceAll(message, "\r\n", "\n"), "\n\n")
	var fields []string
	for _, line := range strings.Split(header, "\n") {
		if len(fields) > 0 && (strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")) {
			fields[len(fields)-1] += "\n" + line
			continue
		}
		fields = append(fields, line)
	}
	return fields
}
