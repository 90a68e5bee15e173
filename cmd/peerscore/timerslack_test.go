//go:build linux

package main

import (
	"syscall"
	"testing"
	"time"
)

func TestTimerSlack(t *testing.T) {
	const get = 30 // PR_GET_TIMERSLACK
	slack, _, err := syscall.Syscall(syscall.SYS_PRCTL, get, 0, 0)
	if got := time.Duration(slack); err != 0 || got != time.Millisecond {
		t.Errorf("a thread of the runtime has a timer slack of %v: %v", got, err)
	}
}
