package assess

// DNSSECFacts are the answers that no other standard's facts hold already.
type DNSSECFacts struct {
	Validates Result `json:"validates"` // does the resolver validate, by its self-test
	Problem   string `json:"problem,omitempty"`
	Zone      Lookup `json:"zone"` // SOA of the domain
	TXT       Lookup `json:"txt"`  // TXT of the domain
}
