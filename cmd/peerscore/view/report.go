package view

import (
	"time"

	"peerscore/assess"
)

// Report is an assessment with what the store knows beside it.
type Report struct {
	assess.Assessment
	Next   time.Time // when the next probe is due; zero when none is planned
	Labels []string  // the operator's categories, where they were asked for
}
