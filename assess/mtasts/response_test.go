package mtasts

import (
	"errors"
	"net/http"
	"strings"
	"testing"
)

func TestResponsePolicy(t *testing.T) {
	header := func(pairs ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		return h
	}
	plain := header("Content-Type", "text/plain")
	tests := []struct {
		status int
		header http.Header
		body   string
		want   error
	}{
		{200, plain, goodPolicy, nil},
		{200, header("Content-Type", "text/plain; charset=utf-8"), goodPolicy, nil},
		{200, header("Content-Type", "TEXT/Plain ;broken"), goodPolicy, nil},
		{200, header("Content-Type", "text/plain", "Content-Encoding", "identity"), goodPolicy, nil},
		{200, header("Content-Type", "text/plain", "Content-Encoding", "gzip"), goodPolicy, ErrEncoding},
		{200, header("Content-Type", "text/html"), goodPolicy, ErrContentType},
		{200, header("Content-Type", "text/plainer"), goodPolicy, ErrContentType},
		{200, nil, goodPolicy, ErrContentType},
		{201, plain, goodPolicy, ErrStatus},
		{206, plain, goodPolicy, ErrStatus},
		{404, plain, goodPolicy, ErrStatus},
		{503, plain, goodPolicy, ErrStatus},
		{0, plain, goodPolicy, ErrStatus},
		{301, header("Content-Type", "text/plain", "Location", "https://example.org/"), goodPolicy, ErrRedirect},
		{307, plain, goodPolicy, ErrRedirect},
		{200, plain, "garbage", ErrPolicySyntax},
		{200, plain, "", ErrPolicySyntax},
		{200, plain, goodPolicy + strings.Repeat("\n", MaxPolicy), ErrTooLarge},
	}
	for _, tt := range tests {
		p, err := Response{tt.status, tt.header, []byte(tt.body)}.Policy()
		if !errors.Is(err, tt.want) || (err == nil) != (p.Mode == Enforce) {
			t.Errorf("%d %v: got %+v, %v; want %v", tt.status, tt.header, p, err, tt.want)
		}
	}
}
