package assess

// DMARCFacts is the record that applies to the domain itself, after the tree walk of RFC 9989.
type DMARCFacts struct {
	Lookup         Lookup   `json:"lookup"`          // at _dmarc.<domain>
	Found          string   `json:"found,omitempty"` // the name whose record applies; "" when there is none
	Record         string   `json:"record,omitempty"`
	Valid          Check    `json:"valid"`            // exactly one record, valid syntax
	Policy         string   `json:"policy,omitempty"` // effective for the very domain: none, quarantine, reject
	Organisational string   `json:"organisational,omitempty"`
	Reports        []string `json:"reports,omitempty"` // rua and ruf addresses as URIs
	Walk           []Lookup `json:"walk,omitempty"`
	Warnings       []string `json:"warnings,omitempty"`
}
