package assess

// MTASTSFacts is the record, the policy and what it says of each MX host (RFC 8461).
type MTASTSFacts struct {
	Lookup  Lookup       `json:"lookup"` // _mta-sts.<domain>
	ID      string       `json:"id,omitempty"`
	Record  Check        `json:"record"`
	Policy  string       `json:"policy,omitempty"`  // the text as fetched
	Fetched Check        `json:"fetched"`           // HTTPS with a valid certificate, status 200, syntax
	Mode    string       `json:"mode,omitempty"`    // enforce, testing, none
	MaxAge  int          `json:"max_age,omitempty"` // seconds
	MX      []string     `json:"mx,omitempty"`
	Matches []MTASTSHost `json:"matches,omitempty"`
}

// MTASTSHost is one MX host held against the policy: its name, and its certificate.
type MTASTSHost struct {
	Host  string `json:"host"`
	Match Check  `json:"match"`
}
