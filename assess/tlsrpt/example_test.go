package tlsrpt_test

import (
	"fmt"

	"peerscore/assess/tlsrpt"
)

// Where do reports of failed TLS go?
func ExampleParseRecord() {
	fmt.Println(tlsrpt.RecordName("example.org"))
	for _, txts := range [][]string{
		{"v=TLSRPTv1; rua=mailto:tlsrpt@example.org,https://reports.example/v1"},
		{"v=TLSRPTv1; rua=tlsrpt@example.org"},
		{"v=TLSRPTv1; rua=mailto:a@example.org", "v=TLSRPTv1; rua=mailto:b@example.org"},
		{"v=spf1 -all"},
	} {
		txt, err := tlsrpt.Select(txts)
		var record tlsrpt.Record
		if err == nil {
			record, err = tlsrpt.ParseRecord(txt)
		}
		fmt.Println(record.RUA, err)
	}
	// Output:
	// _smtp._tls.example.org
	// [mailto:tlsrpt@example.org https://reports.example/v1] <nil>
	// [] TLS-RPT record with an error: rua="tlsrpt@example.org": an address begins with mailto: or https:, as in mailto:tlsrpt@example.org
	// [] several TLS-RPT records, where senders accept only one: 2 found
	// [] no TLS-RPT record
}
