package assess

// TLSRPTFacts is the record at _smtp._tls.<domain> (RFC 8460).
type TLSRPTFacts struct {
	Lookup  Lookup   `json:"lookup"`
	Valid   Check    `json:"valid"`
	Reports []string `json:"reports,omitempty"`
}
