package assess

// DKIMFacts is the presence estimate and, once messages were seen, the keys really used.
type DKIMFacts struct {
	Presence Lookup    `json:"presence"` // _domainkey.<domain>: NOERROR against NXDOMAIN
	Keys     []DKIMKey `json:"keys,omitempty"`
}

// DKIMKey is the record of one selector that was seen in a valid signature.
type DKIMKey struct {
	Selector Selector `json:"selector"`
	Lookup   Lookup   `json:"lookup"`
	Key      string   `json:"key,omitempty"` // "RSA 2048", "Ed25519"
	Testing  bool     `json:"testing,omitempty"`
	Problem  string   `json:"problem,omitempty"`
}
