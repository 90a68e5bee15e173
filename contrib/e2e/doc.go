// Package e2e holds the end-to-end tests: real name servers with a signed root (NSD), a real
// validating resolver (Unbound), real mail servers (Postfix, Sendmail), real senders (swaks,
// dkimpy, Postfix's own SMTP client), TLS with a CA of our own, and the peerscore binary.
//
// All of it runs in a network and mount namespace that the test makes for itself, so that ports
// 25 and 53 are free and not one packet leaves the machine: its only interface is lo, which has
// 10.0.0.0/8 for the peers. It needs root and the packages that contrib/test installs; without them the tests are skipped, and
// with PEERSCORE_FULL=1 that is a failure.
package e2e
