package assess

// DANEFacts is what the TLSA records of one MX host say about its certificate (RFC 7672).
type DANEFacts struct {
	Base     string   `json:"base,omitempty"` // the TLSA base domain
	Lookup   Lookup   `json:"lookup"`
	Usable   int      `json:"usable,omitempty"`  // records that SMTP may use
	Match    Check    `json:"match"`             // Unknown while no certificate was seen
	Matched  string   `json:"matched,omitempty"` // the record that matched
	Warnings []string `json:"warnings,omitempty"`
}
