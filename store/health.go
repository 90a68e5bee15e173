package store

import (
	"context"
	"log/slog"
	"time"
)

// reportEvery is how often the log speaks of failures that come and go.
const reportEvery = time.Minute

// health is what the log knows of the writer.
type health struct {
	said     time.Time // when the last line was written
	failing  bool      // what it said
	lost     int64     // observations lost by then
	failures int       // transactions that failed since
}

// report logs when writing begins to fail, and when it works again with what was lost
// meanwhile. Failures that come and go cost two lines a minute.
func (w *writer) report(err error) {
	h := &w.health
	if err != nil {
		h.failures++
	}
	due := time.Since(h.said) >= reportEvery
	switch {
	case err != nil && !h.failing && due && isBusy(err):
		w.say(slog.LevelError, "the database is locked by another process; observations wait in memory", "room", maxPending, "error", err.Error())
	case err != nil && !h.failing && due:
		w.say(slog.LevelError, "the database cannot be written; observations are lost until it can", "error", err.Error())
	case err == nil && h.failing:
		w.say(slog.LevelInfo, "the database is written again")
	case err == nil && due:
		w.reportLost()
	default:
		return
	}
	h.failing = err != nil
}

// reportLost logs losses that were not logged so far.
func (w *writer) reportLost() {
	if w.counts.lost.Load() > w.health.lost {
		w.say(slog.LevelWarn, "observations were lost")
	}
}

// say logs a line with what happened since the last one.
func (w *writer) say(level slog.Level, message string, args ...any) {
	h, lost := &w.health, w.counts.lost.Load()
	args = append([]any{"file", w.path, "failures", h.failures, "lost", lost - h.lost, "lost_in_all", lost}, args...)
	w.log.Log(context.Background(), level, message, args...)
	h.said, h.failures, h.lost = time.Now(), 0, lost
}
