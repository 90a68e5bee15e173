package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"peerscore/cmd/peerscore/config"
)

// What README.md tells people to type is understood, and the files that it names are there.
func TestREADME(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile("(?m)^    peerscore (.*)$|`peerscore ([^`]*)`").FindAllStringSubmatch(string(text), -1)
	if len(commands) < 10 {
		t.Errorf("only %d commands were found", len(commands))
	}
	for _, m := range commands {
		line, _, _ := strings.Cut(m[1]+m[2], "#")
		cmd, rest, err := (&app{}).command().Find(strings.Fields(line))
		if err == nil {
			err = cmd.ParseFlags(rest)
		}
		if err == nil {
			err = cmd.ValidateArgs(cmd.Flags().Args())
		}
		if err != nil {
			t.Errorf("peerscore %s: %v", line, err)
		}
	}
	said := strings.Join(strings.Fields(string(text)), " ")
	for file, setting := range map[string]string{"postfix/main.cf": "(?m)^smtpd_milters = .*$", "sendmail/peerscore.m4": "(?m)^INPUT_MAIL_FILTER.*$"} {
		cfg, err := os.ReadFile("../../contrib/" + file)
		if line := regexp.MustCompile(setting).FindString(string(cfg)); err != nil || line == "" || !strings.Contains(said, line) {
			t.Errorf("%s says %q (%v), and README.md does not", file, line, err)
		}
	}
	for _, path := range regexp.MustCompile(`\bcontrib/[a-z0-9/.]*[a-z0-9]`).FindAllString(string(text), -1) {
		if _, err := os.Stat("../../" + path); err != nil {
			t.Error(err)
		}
	}
	for _, key := range regexp.MustCompile("`((?:milter|header|assess|dns|score|store|http|log)\\.[a-z_]+)").FindAllStringSubmatch(string(text), -1) {
		if !slices.ContainsFunc(config.Keys, func(k config.Key) bool { return k.Name == key[1] }) {
			t.Errorf("there is no key %s", key[1])
		}
	}
}

// Every command that was promised is there, known by --help, with each of its flags explained.
func TestCommands(t *testing.T) {
	root := (&app{}).command()
	root.InitDefaultCompletionCmd()
	for _, line := range strings.Split(`serve; show --below; explain; list --sort --below --level --limit --since; history
		assess --no-store --file --jobs --skip-fresh; stats; report --output; events --since; export; label; rescore
		profiles list; profiles show; profiles lint; forget; prune; doctor; status; config check; config show
		completion bash; man --output; version; demo --dir`, "\n") {
		for _, want := range strings.Split(line, ";") {
			words := strings.Fields(want)
			n := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "--") })
			if n < 0 {
				n = len(words)
			}
			cmd, rest, err := root.Find(words[:n])
			if err != nil || len(rest) > 0 || cmd.Short == "" || !cmd.IsAvailableCommand() {
				t.Errorf("%q: %v", words, err)
				continue
			}
			for _, flag := range append(words[n:], "--config", "--db", "--json") {
				f := cmd.Flag(strings.TrimPrefix(flag, "--"))
				if f == nil || f.Usage == "" {
					t.Errorf("%s has no %s, or does not explain it", cmd.CommandPath(), flag)
				}
			}
		}
	}
}
