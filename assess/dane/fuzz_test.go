package dane

import (
	"encoding/pem"
	"slices"
	"testing"
)

// The fixed chain of FuzzVerify: fuzzing needs the same certificates in each of its
// processes. Both are valid from 2020 to 2120; mx.example is issued by "Issuer CA".
const fuzzLeaf = `-----BEGIN CERTIFICATE-----
MIIBVDCB+qADAgECAgECMAoGCCqGSM49BAMCMBQxEjAQBgNVBAMTCUlzc3VlciBDQTAgFw0yMDAx
MDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowFTETMBEGA1UEAxMKbXguZXhhbXBsZTBZMBMGByqG
SM49AgEGCCqGSM49AwEHA0IABNuBI4aUSXlc4Q67hQHDJk8+BMn+MaQBYNszdEE6jWELSB/ubiFm
qiVSGw6MlCFREbcabnyAFTYfB5asfDhHCbGjOjA4MB8GA1UdIwQYMBaAFAA35ocpeRbqkJLREgb3
ovyYjKQaMBUGA1UdEQQOMAyCCm14LmV4YW1wbGUwCgYIKoZIzj0EAwIDSQAwRgIhANwmJlydmb1q
dT97tUmym91XBlmVj72X8I5KYEE3Ghn3AiEAvkCQgFbd8lzNN6oVmSO1cSnHr1e+ib/IuChXmjzj
gy8=
-----END CERTIFICATE-----`

const fuzzIssuer = `-----BEGIN CERTIFICATE-----
MIIBSjCB8aADAgECAgEBMAoGCCqGSM49BAMCMBQxEjAQBgNVBAMTCUlzc3VlciBDQTAgFw0yMDAx
MDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowFDESMBAGA1UEAxMJSXNzdWVyIENBMFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAE3N+VXYYqZpfV7/4oHxI/sxhaAvnqtnoNjx0weWxIThmeeOIdhRDd
2aA8ARzoJv+EaxpafyvY19sgRMZDCBWS7aMyMDAwDwYDVR0TAQH/BAUwAwEB/zAdBgNVHQ4EFgQU
ADfmhyl5FuqQktESBvei/JiMpBowCgYIKoZIzj0EAwIDSAAwRQIgSOn65zK/Cq+jnmS2xKNphqQ+
29JapmuNg2gfkm/iLM4CIQDYYbFzQE2ag/1whkmJasg7ezJIN1Nl2lKyt0xjuk+sCw==
-----END CERTIFICATE-----`

// FuzzVerify reads records from data, each as usage, selector, matching type and a
// length of two bytes before its data, and holds the judgement to what can be told
// without a chain of certificates.
func FuzzVerify(f *testing.F) {
	leaf, issuer := fuzzIdentity(f, fuzzLeaf), fuzzIdentity(f, fuzzIssuer)
	presented := chain(leaf, issuer)
	f.Add(fuzzBytes(TLSA{2, 1, 1, leaf.Raw[:32]}, TLSA{0, 1, 1, leaf.Raw[:31]}, TLSA{3, 2, 3, nil}))
	for _, kind := range append(kinds("2"), kinds("3")...) {
		f.Add(fuzzBytes(tlsa(f, kind, leaf), tlsa(f, kind, issuer)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		records := fuzzRecords(data)
		got := Verify(records, presented, Config{Names: []string{"mx.example"}, Now: now})
		for i, r := range got.Records {
			standsForOne := slices.ContainsFunc(presented, records[i].matches)
			anchor := r.TLSA.Usage == DANETA && r.TLSA.MatchingType == Full // which need not be presented
			switch {
			case r.Status == Unusable != (records[i].unusable() != ""),
				r.Status == Match && !standsForOne && !anchor,
				r.Status != Match && r.Reason == "",
				r.Status == Match && got.Status != Match:
				t.Fatalf("%s: %+v in %q", records[i], r, got.Status)
			}
		}
		if best, ok := got.Best(); ok != (got.Status == Match) {
			t.Fatalf("%q with the best record %+v", got.Status, best)
		}
	})
}

func fuzzIdentity(f *testing.F, text string) *identity {
	block, _ := pem.Decode([]byte(text))
	return &identity{Certificate: parse(f, block.Bytes)}
}

func fuzzBytes(records ...TLSA) []byte {
	var data []byte
	for _, r := range records {
		data = append(data, r.Usage, r.Selector, r.MatchingType, byte(len(r.Data)>>8), byte(len(r.Data)))
		data = append(data, r.Data...)
	}
	return data
}

func fuzzRecords(data []byte) []TLSA {
	var records []TLSA
	for len(data) >= 5 && len(records) < MaxRecords {
		head, rest := data[:5], data[5:]
		n := min(int(head[3])<<8|int(head[4]), len(rest))
		records = append(records, TLSA{head[0], head[1], head[2], rest[:n]})
		data = rest[n:]
	}
	return records
}
