package probe

import (
	"crypto/x509"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"peerscore/assess"
	"peerscore/assess/pkix"
)

// TestPKITS runs the path validation suite of NIST, which comes with Go. Of the constraints on
// directory names nothing is known here, and nothing else may be unknown. Left out are the cases
// in which a revocation list decides, those with DSA, and those with settings that TLS has not.
func TestPKITS(t *testing.T) {
	folder := pkitsFolder(t)
	var cases []struct {
		Name                                                                        string
		CertPath                                                                    []string
		InitialPolicySet                                                            []string
		InitialPolicyMappingInhibit, InitialExplicitPolicy, InitialAnyPolicyInhibit bool
		ShouldValidate                                                              bool
	}
	vectors, err := os.ReadFile(filepath.Join(folder, "vectors.json"))
	must(t, err)
	must(t, json.Unmarshal(vectors, &cases))
	agree, unknown := 0, 0
	for _, tt := range cases {
		if tt.InitialPolicyMappingInhibit || tt.InitialExplicitPolicy || tt.InitialAnyPolicyInhibit ||
			!slices.Equal(tt.InitialPolicySet, []string{"anyPolicy"}) || leftOut(tt.Name) {
			continue
		}
		want := assess.Fail
		switch {
		case strings.Contains(tt.Name, "DN nameConstraints") || strings.Contains(tt.Name, "DN and RFC822"):
			want = assess.Unknown
		case tt.ShouldValidate:
			want = assess.Pass
		}
		switch got := pkitsResult(t, folder, tt.CertPath); {
		case got.Result != want && (want != assess.Unknown || got.Result != assess.Fail || tt.ShouldValidate):
			t.Errorf("%s: %v, want %v: %s", tt.Name, got.Result, want, got.Detail)
		case got.Result == assess.Unknown:
			unknown++
		default:
			agree++
		}
	}
	t.Logf("NIST PKITS: %d of %d cases agree, %d unknown", agree, agree+unknown, unknown)
}

// pkitsResult is our answer to a path that is given with the trust anchor first.
func pkitsResult(t *testing.T, folder string, path []string) assess.Check {
	t.Helper()
	var certs []*x509.Certificate
	for _, name := range path {
		der, err := os.ReadFile(filepath.Join(folder, "certs", name))
		must(t, err)
		cert, err := x509.ParseCertificate(der)
		must(t, err)
		certs = append([]*x509.Certificate{cert}, certs...)
	}
	roots := x509.NewCertPool()
	roots.AddCert(certs[len(certs)-1])
	c := chain{certs: certs, usage: pkix.AnyServerUsage, roots: roots, now: time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)}
	if dated := c.dated(); dated.Result != assess.Pass {
		return dated
	}
	trusted, _ := c.trusted()
	return trusted
}

// leftOut are the cases with DSA, which TLS has no longer, and those in which a revocation list decides.
func leftOut(name string) bool {
	return slices.ContainsFunc([]string{
		"4.1.4 ", "4.1.5 ", "4.1.6 ",
		"4.4.", "4.5.2 ", "4.5.5 ", "4.5.7 ", "4.5.8 ", "4.7.4 ", "4.7.5 ", "4.14.", "4.15.",
	}, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

func pkitsFolder(t *testing.T) string {
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	folder := filepath.Join(strings.TrimSpace(string(root)), "src/crypto/x509/testdata/nist-pkits")
	if _, missing := os.Stat(folder); err != nil || missing != nil {
		if os.Getenv("PEERSCORE_FULL") != "" {
			t.Fatal(err, missing)
		}
		t.Skip("this Go comes without its tests: left out NIST's path validation suite")
	}
	return folder
}
