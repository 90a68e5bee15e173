package assess

// DefaultThreshold is the report's 80 %.
const DefaultThreshold = 0.8

// Rules are the figures by which evidence is judged. The zero Rules are the report's.
type Rules struct {
	// Threshold is the share of known tests that must pass, at most 1; 0 means DefaultThreshold.
	Threshold float64
	// Passive means that nothing is ever probed: a domain without facts is then judged by its sessions alone.
	Passive bool
}

// met reports whether passed of known tests reach the threshold.
func (r Rules) met(passed, known int) bool {
	threshold := r.Threshold
	if threshold == 0 {
		threshold = DefaultThreshold
	}
	const rounding = 1e-9 // 0.07*100 must not exceed 7
	return float64(passed) >= threshold*float64(known)-rounding
}

// support applies the 80 % rule to what has been added: with no known result it is unknown.
func (v *Verdict) support(r Rules) Support {
	known := v.Passed + v.Failed
	switch {
	case known == 0:
		return SupportUnknown
	case r.met(v.Passed, known):
		return SupportYes
	}
	return SupportNo
}

// result applies the threshold to the sessions of one host.
func (r Rules) result(c Count) Result {
	switch known := c.Passed + c.Failed; {
	case known == 0:
		return Unknown
	case r.met(c.Passed, known):
		return Pass
	}
	return Fail
}
