package assess

// BIMI is draft-brand-indicators-for-message-identification: where the owner of a domain has the
// picture that stands beside its mail. It is listed and not scored.
const BIMI Standard = "bimi"

const (
	ReasonBIMIValid    Reason = "bimi-record-valid"
	ReasonBIMIAbsent   Reason = "bimi-record-absent"
	ReasonBIMIInvalid  Reason = "bimi-record-invalid"
	ReasonBIMIDeclined Reason = "bimi-declined"
)

const bimiDraft = "draft-brand-indicators-for-message-identification"

var bimiReasons = []Explanation{
	{ReasonBIMIValid, BIMI, in(Pass), "There is one valid assertion record; neither picture nor evidence was fetched.", "", bimiDraft},
	{ReasonBIMIAbsent, BIMI, in(Fail), "There is no assertion record for the selector default at the domain itself.", `publish "v=BIMI1; l=https://...; a=" once DMARC is enforced (no score asks for it)`, bimiDraft},
	{ReasonBIMIInvalid, BIMI, in(Fail), "The assertion record has an error, or is not the only one.", "fix it (no score asks for it)", bimiDraft},
	{ReasonBIMIDeclined, BIMI, in(NotApplicable), "The owner declines: both locations are empty.", "", bimiDraft},
}

// BIMIFacts is the assertion record at default._bimi.<domain>. Facts of before it was asked for
// have none, which is not known rather than absent.
type BIMIFacts struct {
	Lookup   Lookup `json:"lookup"`
	Valid    Check  `json:"valid"`
	Location string `json:"location,omitempty"` // l=, of the picture
	Evidence string `json:"evidence,omitempty"` // a=, of what shows that the domain may use it
}

// judgeBIMI asks for one valid assertion record.
func judgeBIMI(v *Verdict, e Evidence, r Rules) {
	if e.Facts == nil {
		return
	}
	v.add(e.Facts.bimiRecord())
	v.Support = v.support(r)
}

func (f *Facts) bimiRecord() Test {
	t := Test{Subject: "default._bimi." + string(f.Domain), Test: "record"}
	switch b := f.BIMI; {
	case !b.Lookup.Status.Answered():
		t.came(Unknown, b.Lookup.reason(), "the record is not known: "+b.Lookup.missing())
	case b.Lookup.Status != LookupFound:
		t.came(Fail, ReasonBIMIAbsent, "there is no BIMI record")
	case b.Valid.Result == Pass:
		t.came(Pass, ReasonBIMIValid, "picture "+quoted(b.Location)+", evidence "+quoted(b.Evidence))
	default:
		t.came(b.Valid.Result, b.Valid.because("", ReasonBIMIInvalid, ReasonNotAsked), b.Valid.or("the record is not valid"))
	}
	return f.test(string(BIMI), t)
}

func bimiLookups(f *Facts) []*Lookup { return []*Lookup{&f.BIMI.Lookup} }
