package mtasts

import (
	"fmt"
	"net/http"
	"strings"

	"peerscore/assess/fields"
)

// Response is what a policy host answered to a GET of PolicyURL. Whoever fetches
// it validates the certificate first, follows no redirect, and reads at most
// MaxPolicy+1 bytes of the body, so that a longer one is noticed.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Policy judges the response (RFC 8461, section 3.3) and reads the policy in it.
// The error wraps ErrRedirect, ErrStatus, ErrEncoding, ErrContentType, or what
// ParsePolicy returns.
func (r Response) Policy() (Policy, error) {
	if err := r.acceptable(); err != nil {
		return Policy{}, err
	}
	return ParsePolicy(string(r.Body))
}

func (r Response) acceptable() error {
	// "HTTP 3xx redirects MUST NOT be followed", and only a 200 is a success.
	if r.Status/100 == 3 {
		return fmt.Errorf("%w: status %d, location %.200q", ErrRedirect, r.Status, r.Header.Get("Location"))
	}
	if r.Status != http.StatusOK {
		return fmt.Errorf("%w: it answers with %d", ErrStatus, r.Status)
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return fmt.Errorf("%w: with %.80q, which nobody asked for", ErrEncoding, coding)
	}
	// Parameters of the media type are ignored (section 3.2), so broken ones are too.
	mediaType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.Trim(mediaType, fields.Space), "text/plain") {
		return fmt.Errorf("%w: its Content-Type is %.80q", ErrContentType, mediaType)
	}
	return nil
}
