package assess

// SPFFacts is the static audit of the domain's SPF record (RFC 7208), without a sender.
type SPFFacts struct {
	Lookup      Lookup   `json:"lookup"`
	Count       int      `json:"count"` // records that begin with v=spf1
	Record      string   `json:"record,omitempty"`
	Valid       Check    `json:"valid"` // one record, valid syntax everywhere in it, within the limits
	Lookups     int      `json:"lookups,omitempty"`
	VoidLookups int      `json:"void_lookups,omitempty"`
	Policy      string   `json:"policy,omitempty"` // the qualifier of "all" after redirects: "-all", "~all", "?all", "+all", "" for none
	Chain       []string `json:"chain,omitempty"`  // "include:a.example -> v=spf1 ...", indented by depth
	Warnings    []string `json:"warnings,omitempty"`
}
