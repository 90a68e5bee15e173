package reader

import (
	"fmt"
	"io/fs"
	"testing"

	"peerscore/cmd/peerscore/config"
	"peerscore/store"
)

// A database that cannot be read is one line that says what to do.
func TestOutOfReach(t *testing.T) {
	for _, tt := range []struct {
		hidden bool
		err    error
		want   string
	}{
		{false, store.ErrNoDatabase, "there is no database p.db yet: `peerscore serve` makes it, or --db names another"},
		{true, store.ErrNoDatabase, config.SystemStore + " is for root and the group peerscore: become one of them, or name another database with --db"},
		{false, fmt.Errorf("p.db: %w", fs.ErrPermission), "you may not read the database p.db: become root or a member of its group, or name another with --db"},
	} {
		if got := outOfReach("p.db", tt.hidden, tt.err); got.Error() != tt.want {
			t.Errorf("%v: %v, want %s", tt.err, got, tt.want)
		}
	}
}
