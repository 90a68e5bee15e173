//go:build linux

package main

// The runtime of Go looks every 20 µs for goroutines that keep a processor too long, as long as
// any runs; at the load of a mail server each message takes some twenty of these looks, a fifth
// of its processor time. A timer that may be 1 ms late makes them rare. The slack must be there
// before the first thread is, since threads inherit it (PR_SET_TIMERSLACK(2const)).

// #include <sys/prctl.h>
// __attribute__((constructor)) static void allowTimersToBeLate(void) {
//	prctl(PR_SET_TIMERSLACK, 1000000UL, 0UL, 0UL, 0UL);
// }
import "C"
