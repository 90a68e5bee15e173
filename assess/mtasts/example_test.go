package mtasts_test

import (
	"fmt"

	"peerscore/assess/mtasts"
)

// Is there a policy, and which? The record says so; a new id announces a new policy.
func ExampleParseRecord() {
	txt, err := mtasts.Select([]string{"v=spf1 -all", "v=STSv1; id=20261120;"})
	if err != nil {
		fmt.Println(err)
		return
	}
	record, err := mtasts.ParseRecord(txt)
	fmt.Println(record.ID, err)
	fmt.Println(mtasts.RecordName("example.org"), mtasts.PolicyURL("example.org"))
	// Output:
	// 20261120 <nil>
	// _mta-sts.example.org https://mta-sts.example.org/.well-known/mta-sts.txt
}

// Which MX hosts may mail be delivered to?
func ExamplePolicy_Match() {
	policy, err := mtasts.ParsePolicy("version: STSv1\r\nmode: enforce\r\nmx: mx1.example.org\r\nmx: *.mail.example.org\r\nmax_age: 604800\r\n")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(policy.Mode, policy.MaxAge)
	for _, host := range []string{"mx1.example.org", "a.mail.example.org", "b.a.mail.example.org", "mx.attack.example"} {
		pattern, ok := policy.Match(host)
		fmt.Printf("%s: %t %q\n", host, ok, pattern)
	}
	// Output:
	// enforce 168h0m0s
	// mx1.example.org: true "mx1.example.org"
	// a.mail.example.org: true "*.mail.example.org"
	// b.a.mail.example.org: false ""
	// mx.attack.example: false ""
}

// What the postmaster has to fix is in the error.
func ExampleParsePolicy() {
	_, err := mtasts.ParsePolicy("version: STSv1\nmode: enforced\nmx: mx1.example.org\nmax_age: 604800\n")
	fmt.Println(err)
	// Output:
	// MTA-STS policy with an error: line 2: mode "enforced": it must be enforce, testing or none, in lower case
}
