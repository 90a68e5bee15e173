// Package manual writes the manual pages, from what commands, keys and reasons say of themselves.
package manual

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"peerscore/cmd/peerscore/config"
)

// Page is one page.
type Page struct {
	Name    string
	Section int
	Text    string // in the macros of man(7)
}

// Pages are all pages, the first of which is that of the command.
func Pages(root *cobra.Command, version string) []Page {
	return []Page{
		{"peerscore", 1, commandPage(root, version)},
		{"peerscore.toml", 5, configPage(version)},
		{"peerscore-reasons", 7, reasonsPage(version)},
	}
}

// Write writes the pages into the folders that man looks for them in, below a folder.
func Write(folder string, pages []Page) error {
	for _, p := range pages {
		path := filepath.Join(folder, fmt.Sprintf("man%d/%s.%d", p.Section, p.Name, p.Section))
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, []byte(p.Text), 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// commandPage is peerscore(1), from what the commands say of themselves.
func commandPage(root *cobra.Command, version string) string {
	p := newPage("PEERSCORE", 1, version)
	p.section("NAME", "peerscore - "+strings.ToLower(root.Short[:1])+root.Short[1:])
	p.section("SYNOPSIS", "`peerscore` COMMAND [FLAGS]")
	p.section("DESCRIPTION", root.Long)
	p.section("OPTIONS", "All commands know these. Output is text for people, with colours and progress on a terminal only, or with `--json` for programs. "+
		"A domain may be written in either spelling, bücher.example or xn--bcher-kva.example; of an address its domain counts.")
	p.flags(root.PersistentFlags())
	p.section("COMMANDS", "Beside these, `completion` prints a script for the completion of a shell.")
	var examples []string
	for _, cmd := range leaves(root) {
		p.subsection(strings.TrimPrefix(cmd.UseLine(), "peerscore "))
		long := cmd.Long
		if long == "" {
			long = cmd.Short + "."
		}
		p.text(long)
		p.flags(cmd.LocalNonPersistentFlags())
		if cmd.Example != "" {
			examples = append(examples, cmd.Example)
		}
	}
	p.headerFields()
	p.section("GLOSSARY", "")
	for _, g := range glossary {
		p.item(g.term, g.meaning)
	}
	p.section("JSON", aboutJSON)
	p.example(ExampleJSON)
	p.surroundings()
	p.section("EXAMPLES", "")
	p.example(strings.Join(examples, "\n"))
	p.section("SEE ALSO", "peerscore.toml(5), peerscore-reasons(7), postconf(5). The method is that of \"MECSA: 2018 Results\", report EUR 29674 EN, doi:10.2760/166203.")
	return p.String()
}

// headerFields says what delivered mail carries.
func (p *page) headerFields() {
	p.section("HEADER FIELDS", "Delivered mail carries, at its top and in place of any that it came with:")
	p.example("  Peer-Score: mx.example.net; domain=example.org; proof=dkim+spf;\n   confidentiality=4.5; identity=5; integrity=5; profile=mecsa-2018;\n   basis=probe+sessions; assessed=2026-11-20\n" +
		"  Peer-Score-Confidentiality: *********\n  Peer-Score-Identity: **********\n  Peer-Score-Integrity: **********")
	p.text("`proof=` names what shows that the message is its author domain's: `dkim`, a valid signature, and `spf`, a pass for MAIL FROM, " +
		"both in the alignment that the domain's DMARC record asks for and within one organisation by the public suffix list; " +
		"`mx`, the client is one of the domain's MX hosts and its confirmed reverse name lies within the organisation; " +
		"`host`, it greets with such a name and the domain publishes no SPF record.")
	p.text("There is one * for each half star, so that the Sieve test `header :contains \"Peer-Score-Integrity\" \"*******\"` means at least 3.5. Instead of scores there is `status=pending` for a domain that is known but not assessed yet, " +
		"`status=unknown` where nothing could be measured, `status=unauthenticated` on a message that is not proven to come from its author's domain, that fails the domain's DMARC, " +
		"or whose only proof is `mx` or `host` while SPF fails, " +
		"`status=no-mail` where the domain says that it receives no mail, or does not exist, and `status=no-identity` where the message has no usable author domain. `partial=` names a score that rests on some of its standards only.\n\n" +
		"At most 100 forged copies are removed from a message. Where there are more, or the header is so large that removing them would hold up the MTA, all of them stay " +
		"and `status=unknown` stands on top. A filter may therefore rely on this: where any Peer-Score field has `status=`, the message has no stars, whatever other fields say.")
}

// surroundings say what a command shares with the system: statuses, signals, files, variables.
func (p *page) surroundings() {
	p.section("EXIT STATUS", "What went wrong is one line on standard error, which says what to do.")
	p.item("0", "Answered.")
	p.item("1", "A domain is not known, or `assess` found that it does not exist, or a score lies below `--below`.")
	p.item("2", "The command line or the configuration is wrong.")
	p.item("3", "The database, a socket or the network is out of reach.")
	p.section("SIGNALS", "")
	p.item("SIGTERM, SIGINT", "`serve` finishes the messages at hand, commits and ends.")
	p.item("SIGHUP", "`serve` reads its configuration again and applies what can change without dropping sessions: `log.level`, `header.*`, and `milter.*` but for the sockets.")
	p.section("FILES", "")
	p.item(config.SystemFile, "The configuration, if it exists. See peerscore.toml(5).")
	p.item(config.SystemStore, "The database of the daemon.")
	p.item("$XDG_STATE_HOME/peerscore/peerscore.db", "The database of an ordinary user, who may not read the daemon's.")
	p.section("ENVIRONMENT", "")
	p.item("NO_COLOR", "Print no colours.")
	p.item("STATE_DIRECTORY, NOTIFY_SOCKET", "As systemd sets them for `serve`.")
}

// leaves are the commands that do something themselves, in the order of their names.
func leaves(cmd *cobra.Command) []*cobra.Command {
	var list []*cobra.Command
	for _, c := range cmd.Commands() {
		switch {
		case !c.IsAvailableCommand() || c.Name() == "completion":
		case c.HasAvailableSubCommands():
			list = append(list, leaves(c)...)
		default:
			list = append(list, c)
		}
	}
	return list
}

// configPage is peerscore.toml(5).
func configPage(version string) string {
	p := newPage("PEERSCORE.TOML", 5, version)
	p.section("NAME", "peerscore.toml - configuration of peerscore")
	p.section("DESCRIPTION", "`"+config.SystemFile+"` is a TOML file. It may be absent, and every key in it is optional; "+
		"the defaults are shown below. An unknown key or an invalid value is an error that names file, line and key: "+
		"`peerscore config check` looks for them, `peerscore config show` prints what is in effect.\n\n"+
		"Durations are written as Go writes them, plus days: 30s, 6h, 7d, 1d12h.")
	table := ""
	for _, k := range config.Keys {
		name, key, _ := strings.Cut(k.Name, ".")
		if name != table {
			table = name
			p.section(strings.ToUpper(table), "Keys of the table ["+table+"].")
		}
		p.item(key+" = "+k.Value(), k.Doc)
	}
	p.section("EXAMPLE", "")
	p.example("  [milter]\n  listen = [\"inet:8894@127.0.0.1\", \"unix:/run/peerscore/milter.sock\"]\n  own_domains = [\"example.net\"]\n\n  [assess]\n  deny_domains = [\"example.com\"]")
	p.section("SEE ALSO", "peerscore(1)")
	return p.String()
}

// page is a page that is being written, in the macros of man(7).
type page struct{ strings.Builder }

func newPage(title string, section int, version string) *page {
	p := &page{}
	fmt.Fprintf(p, ".TH %s %d \"\" \"peerscore %s\" \"Mail administration\"\n", title, section, version)
	return p
}

func (p *page) section(title, text string) {
	fmt.Fprintf(p, ".SH %s\n", title)
	p.text(text)
}

func (p *page) subsection(title string) { fmt.Fprintf(p, ".SS \"%s\"\n", roff(title)) }

// text is paragraphs, with blank lines between them.
func (p *page) text(s string) {
	if s != "" {
		fmt.Fprintf(p, "%s\n", strings.ReplaceAll(roff(s), "\n\n", "\n.PP\n"))
	}
}

func (p *page) item(term, text string) {
	fmt.Fprintf(p, ".TP\n.B \"%s\"\n%s\n", roff(strings.ReplaceAll(term, `"`, "\x00")), roff(text))
}

func (p *page) example(text string) { fmt.Fprintf(p, ".nf\n%s\n.fi\n", roff(text)) }

func (p *page) flags(flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		term := "--" + f.Name
		if f.Shorthand != "" {
			term = "-" + f.Shorthand + ", " + term
		}
		if f.Value.Type() != "bool" {
			term += " " + value
		}
		text := strings.ToUpper(usage[:1]) + usage[1:] + "."
		if !slices.Contains([]string{"", "0", "false"}, f.DefValue) {
			text += " The default is " + f.DefValue + "."
		}
		p.item(term, text)
	})
}

var emphasised = regexp.MustCompile("`([^`]*)`")

// roff escapes what means something to the formatter, and makes what is in backquotes bold.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "\x00", `\(dq`).Replace(s)
	s = emphasised.ReplaceAllString(s, `\fB$1\fR`)
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
