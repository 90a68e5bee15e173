package manual

// ExampleJSON is what peerscore(1) shows of `show --json`; a test holds it against the output.
const ExampleJSON = `  {"schema": 1, "domain": "example.org", "profile": "mecsa-2018",
   "status": "scored", "basis": "probe+sessions",
   "scores": {
    "confidentiality": {"stars": 4.5, "level": "protected",
     "partial": false, "missing": ["dane"]},
    "identity": {"stars": 5, "level": "protected",
     "partial": false, "missing": []},
    "integrity": {"stars": 5, "level": "protected",
     "partial": false, "missing": []}},
   "minimum_set": true,
   "standards": {
    "starttls": {"support": "yes", "passed": 1, "failed": 0,
     "unknown": 0, "estimate": false, "tests": [
      {"subject": "mx1.example.org", "address": "192.0.2.1",
       "direction": "inbound", "test": "starttls", "result": "pass",
       "reason": "tls-established", "detail": "TLS 1.3, ...",
       "advice": null, "at": "2026-11-20T12:00:00Z"}]},
    ...},
   "sessions": {"window": "720h", "credited": 120, "hosts": 4,
    "unauthenticated": 2},
   "first_seen": "2026-10-01T08:00:00Z",
   "last_seen": "2026-11-26T09:30:00Z",
   "assessed": "2026-11-20T12:00:00Z",
   "next_assessment": "2026-11-27T12:00:00Z"}`

// aboutJSON says what the example cannot.
const aboutJSON = "`--json` prints one object, or an array where several domains were asked for; `assess -f` and `export json` print one object a line. " +
	"Fields may be added; none is renamed or changes its meaning while `schema` stays 1. Times are RFC 3339 in UTC.\n\n" +
	"`status` is scored, pending (known, not assessed yet), unknown (nothing could be measured) or no-mail (null MX, no mail host at all, or the name does not exist: there are no scores). " +
	"`stars` are numbers in steps of 0.5, and null where there is no score; `minimum_set` is null where a score that is not known decides it, a time where there is none. What is not known is never false or no. " +
	"`basis` is what the judgement rests on: probe, sessions or probe+sessions. `level` is protected (3.5 and more), minimum (2.5 and more), unprotected or unknown. `partial` means that a standard is unknown that could raise the stars; " +
	"`missing` are those that are not supported or not known. `support` is yes, no or unknown, with `estimate` where no session has shown it yet and a probe has to do; `direction` is inbound for what a probe found and outbound for what sessions showed; `result` is pass, fail, bogus, unknown or not-applicable; " +
	"`reason` is a token of peerscore-reasons(7), null in judgements of before there were reasons; `advice` is what the peer should do, null where there is nothing.\n\n" +
	"`explain` adds `explanation`: for each score the `row` of the profile that matched, and as `next` the cheapest change that gains half a star. " +
	"`list`, `history`, `events`, `stats`, `status` and `doctor` have fields of their own, in the same words. " +
	"`contrib/schema` of the source has a JSON Schema of each."
