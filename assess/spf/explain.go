package spf

// explanation is what the domain publishes for a fail (RFC 7208, section 6.2). Whatever is wrong with it,
// there is none then, and the result stays.
func (e *evaluation) explanation(spec DomainSpec, domain string) string {
	if spec.Text == "" || spec.personal() && !isASCII(e.local) {
		return ""
	}
	name := targetName(e.expand(spec.Text, domain))
	if !queryable(name) {
		return ""
	}
	txts, err := e.txt(name)
	if err != nil || len(txts) != 1 || len(txts[0]) > MaxRecordLength || !isPrintable(txts[0]) {
		return ""
	}
	if _, _, reason := parseMacroString(txts[0], 0); reason != "" {
		return ""
	}
	text := e.expand(txts[0], domain)
	if len(text) > MaxExplanationLength || !isPrintable(text) {
		return ""
	}
	return text
}
