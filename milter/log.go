package milter

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"time"
)

// Lines that strangers can cause are held to this many a period; the rest are counted.
const (
	linesPerPeriod = 10
	logPeriod      = time.Minute
)

// throttle is a logger for what can happen at any rate.
type throttle struct {
	logger *slog.Logger

	mu         sync.Mutex
	began      time.Time
	lines      int
	suppressed int
}

// log writes a line, unless there were too many of late.
func (t *throttle) log(level slog.Level, message string, args ...any) {
	suppressed, ok := t.admit(time.Now())
	if suppressed > 0 {
		t.logger.Warn("log lines suppressed", "lines", suppressed)
	}
	if ok {
		t.logger.Log(context.Background(), level, message, args...)
	}
}

// admit reports whether a line may be written; a new period reports what the last one left out.
func (t *throttle) admit(now time.Time) (suppressed int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.began) >= logPeriod {
		suppressed = t.suppressed
		t.began, t.lines, t.suppressed = now, 0, 0
	}
	if t.lines++; t.lines > linesPerPeriod {
		t.suppressed++
		return suppressed, false
	}
	return suppressed, true
}

// StandardLog is where the output of the standard logger should go (log.SetOutput, with flags
// 0): go-milter writes there, a line for each session that panics or speaks nonsense.
func StandardLog(logger *slog.Logger) io.Writer {
	return &logWriter{throttle{logger: logger}}
}

type logWriter struct{ throttle throttle }

// Write makes one record of one message, its lines quoted by the handler.
func (w *logWriter) Write(p []byte) (int, error) {
	w.throttle.log(slog.LevelWarn, "go-milter", "text", string(bytes.TrimSpace(p)))
	return len(p), nil
}
