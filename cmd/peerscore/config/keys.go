package config

import (
	"bytes"
	"strings"
)

// Key is one key of the configuration.
type Key struct {
	Name string // with its table: "milter.listen"
	Doc  string // what it is for; what is to be typed stands in backquotes
}

// Keys are all keys in the order of the file. A test holds them and the defaults together.
var Keys = []Key{
	{"milter.listen", "The milter socket: `inet:PORT@ADDRESS`, `unix:/path` or `local:/path`; or a list of them."},
	{"milter.socket_mode", "Mode of a unix socket, in octal."},
	{"milter.socket_group", "Group of a unix socket, so that the MTA may open it. Empty means the daemon's own."},
	{"milter.authentication", "`verify` evaluates SPF, DKIM and DMARC of each message. `trust` reads the Authentication-Results of an earlier milter instead, from `milter.trusted_authserv_ids` only."},
	{"milter.authserv_id", "The name of this host in the fields that are added. Empty means the MTA's `{j}` macro, else the host name."},
	{"milter.trusted_authserv_ids", "Whose Authentication-Results are believed with `trust`, such as `[\"dkim.example.net\", \"dmarc.example.net\"]`. Of each name only the topmost field is, and all others of that name are removed, since a sender may have written them: give each program a name of its own (AuthservID in OpenDKIM and OpenDMARC). SPF is evaluated here where none tells it. While such a program is down and the MTA takes mail nevertheless, what a sender wrote is the topmost: have the MTA defer mail then (`default_action=tempfail` for that milter in Postfix), or remove fields of that name before (`header_checks`)."},
	{"milter.internal_hosts", "Addresses and networks whose mail is ours: it is not scored, and its recipients become known peers."},
	{"milter.own_domains", "Our own domains. Mail from outside that claims one of them is never scored."},
	{"header.score", "Add `Peer-Score`."},
	{"header.bars", "Add `Peer-Score-Confidentiality`, `-Identity` and `-Integrity`: one * for each half star."},
	{"header.authentication_results", "Add one Authentication-Results (RFC 8601)."},
	{"assess.enabled", "Probe peers. With false, peerscore only observes, and connects to nothing but the resolver."},
	{"assess.learn_from_outgoing", "Make domains that our own users write to known peers."},
	{"assess.max_age", "The re-probe interval: how long after one run the next is due."},
	{"assess.retry", "The same, after a run that mostly failed."},
	{"assess.ehlo", "The name in EHLO. The default is the host name."},
	{"assess.allow_networks", "Networks that may be contacted although they are private, local or otherwise special."},
	{"assess.deny_networks", "Addresses and networks that are never contacted on port 25, 80 or 443, whatever `assess.allow_networks` says."},
	{"assess.deny_domains", "Domains that are never probed, nor anything below them."},
	{"assess.probes_per_minute", "How many SMTP dialogues may begin in a minute."},
	{"assess.concurrency", "How many SMTP dialogues run at the same time; half are reserved for hosts that have answered before."},
	{"assess.ca_file", "A file of trusted roots in PEM form. Empty means the system's."},
	{"dns.servers", "The resolvers, as `ADDRESS` or `ADDRESS:PORT`. Empty means those in /etc/resolv.conf."},
	{"dns.trust_ad", "Whether to believe the resolver that an answer was validated (the AD bit): `auto` believes one on loopback only; `always`; `never`."},
	{"score.profile", "The scoring table: `mecsa-2018`, `mecsa-2020`, or the absolute path of a file of your own; assess/profiles/ in the source shows the form."},
	{"score.window", "How far back sessions count."},
	{"score.threshold", "The share of its known tests that a standard must pass to be supported."},
	{"store.path", "The database. The default is peerscore.db in the state directory that systemd gives; `/var/lib/peerscore` for root; `$XDG_STATE_HOME/peerscore` for other users who may not read that one."},
	{"store.keep", "How long past assessments are kept."},
	{"http.listen", "`off`, or a loopback `ADDRESS:PORT` that serves /metrics, /healthz, and at / a page of all peers."},
	{"log.level", "`debug`, `info`, `warn` or `error`. The log goes to standard error."},
	{"log.format", "`text` or `json`."},
}

// hostDefaults differ from host to host.
var hostDefaults = map[string]string{"assess.ehlo": "the host name", "store.path": `"` + SystemStore + `"`}

// Value is the default of the key as TOML writes it.
func (k Key) Value() string {
	if text, ok := hostDefaults[k.Name]; ok {
		return text
	}
	var out bytes.Buffer
	if err := Default().Encode(&out); err != nil {
		panic(err) // our own types
	}
	table, name, _ := strings.Cut(k.Name, ".")
	_, text, _ := strings.Cut(out.String(), "["+table+"]\n")
	for _, line := range strings.Split(text, "\n") {
		if value, ok := strings.CutPrefix(line, name+" = "); ok {
			return value
		}
	}
	panic("no key " + k.Name)
}
