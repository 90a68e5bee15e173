package daemon

import (
	"log/slog"
	"syscall"

	"peerscore/milter"
)

// ownDescriptors are for the database, the sockets that are listened at, the log, HTTP and some
// probes.
const ownDescriptors = 40

// places are how many sessions of MTAs and questions to the resolver may be open at once.
type places struct{ sessions, questions int }

// shareDescriptors gives sessions and questions what the process may have open beside its own
// files, and logs where that is less than they may use: an MTA beyond it is refused at once,
// rather than left to wait for a descriptor that the database needs as well.
func shareDescriptors(logger *slog.Logger) places {
	var limit syscall.Rlimit // the runtime has raised it to the hard one
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return places{}
	}
	p := placesFor(limit.Cur)
	if p.sessions < milter.MaxSessions {
		logger.Warn("few file descriptors, so fewer sessions at once; LimitNOFILE= of systemd or ulimit -n allows more",
			"descriptors", limit.Cur, "sessions", p.sessions, "usual", milter.MaxSessions)
	}
	return p
}

func placesFor(descriptors uint64) places {
	const plenty = 1 << 16
	rest := max(0, int(min(descriptors, plenty))-ownDescriptors)
	return places{sessions: min(max(1, rest*5/8), milter.MaxSessions), questions: max(2, rest/4)}
}
