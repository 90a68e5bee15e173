package probetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"
)

// CAConfig says what a certification authority is called and where its CRLs are.
type CAConfig struct {
	Name string // "Lab CA" when empty
	// CRLURL is the folder of the CRLs, "http://crl.example.net": certificates then point to
	// <CRLURL>/root.crl and <CRLURL>/issuing.crl. Without it they name no CRL.
	CRLURL string
	// Now is the present of the laboratory; time.Now when nil.
	Now func() time.Time
}

// CA is a certification authority: a root, and below it the issuer of all certificates. Its
// certificates are ECDSA P-256 and share one key unless asked otherwise, so that hundreds of
// them cost nothing.
type CA struct {
	Root    *x509.Certificate
	Issuing *x509.Certificate

	config  CAConfig
	rootKey crypto.Signer
	key     crypto.Signer // of the issuer
	leafKey crypto.Signer

	mu      sync.Mutex
	serial  int64
	revoked []x509.RevocationListEntry // by the issuer
}

// Leaf is a certificate to be issued. The zero value of each field is the good case.
type Leaf struct {
	Names      []string // DNS names of the SAN
	CommonName string
	Addresses  []net.IP // of the SAN

	NotBefore, NotAfter time.Time // an hour ago, in 60 days

	Key        crypto.Signer // the CA's leaf key when nil
	SelfSigned bool          // signed by its own key
	FromRoot   bool          // signed by the root instead of the issuer
	Alone      bool          // presented without the intermediate certificate
	WithRoot   bool          // presented with the root as well

	CRLs []string // distribution points in place of the CA's own
	// Change has the last word on the template.
	Change func(*x509.Certificate)
}

// NewCA makes keys and certificates of a new authority.
func NewCA(cfg CAConfig) (*CA, error) {
	if cfg.Name == "" {
		cfg.Name = "Lab CA"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	ca := &CA{config: cfg, serial: 100}
	for _, key := range []*crypto.Signer{&ca.rootKey, &ca.key, &ca.leafKey} {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("make a CA: %w", err)
		}
		*key = k
	}
	root := ca.authority(cfg.Name + " Root")
	var err error
	if ca.Root, err = sign(root, root, ca.rootKey.Public(), ca.rootKey); err != nil {
		return nil, err
	}
	issuing := ca.authority(cfg.Name + " Issuing")
	issuing.CRLDistributionPoints = ca.points("root.crl")
	ca.Issuing, err = sign(issuing, ca.Root, ca.key.Public(), ca.rootKey)
	return ca, err
}

// RSAKey makes a key for Leaf.Key. Below 2048 bits it is weak; below 1024 Go refuses to make one.
func RSAKey(bits int) (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, bits) }

// Roots holds the root certificate.
func (ca *CA) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Root)
	return pool
}

// RootPEM is the root certificate as a file for assess.ca_file.
func (ca *CA) RootPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Root.Raw})
}

// Issue makes a certificate and the chain that a server presents with it.
func (ca *CA) Issue(leaf Leaf) (tls.Certificate, error) {
	template := ca.template(leaf)
	if leaf.Change != nil {
		leaf.Change(template)
	}
	key := leaf.Key
	if key == nil {
		key = ca.leafKey
	}
	parent, signer := ca.Issuing, ca.key
	switch {
	case leaf.SelfSigned:
		parent, signer = template, key
	case leaf.FromRoot:
		parent, signer = ca.Root, ca.rootKey
	}
	cert, err := sign(template, parent, key.Public(), signer)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issue for %q: %w", leaf.Names, err)
	}
	chain := [][]byte{cert.Raw}
	if parent == ca.Issuing && !leaf.Alone {
		chain = append(chain, ca.Issuing.Raw)
	}
	if leaf.WithRoot {
		chain = append(chain, ca.Root.Raw)
	}
	return tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: cert}, nil
}

// Revoke puts a certificate of the issuer on its CRL.
func (ca *CA) Revoke(cert tls.Certificate) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.revoked = append(ca.revoked, x509.RevocationListEntry{
		SerialNumber: cert.Leaf.SerialNumber, RevocationTime: ca.config.Now().Add(-time.Minute), ReasonCode: 1,
	})
}

// CRL returns the issuer's present list as DER. Change, when not nil, has the last word on it.
func (ca *CA) CRL(change func(*x509.RevocationList)) ([]byte, error) {
	ca.mu.Lock()
	list := &x509.RevocationList{RevokedCertificateEntries: ca.revoked}
	ca.mu.Unlock()
	return ca.crl(list, change, ca.Issuing, ca.key)
}

// RootCRL returns the root's list as DER, empty unless Change says otherwise.
func (ca *CA) RootCRL(change func(*x509.RevocationList)) ([]byte, error) {
	return ca.crl(&x509.RevocationList{}, change, ca.Root, ca.rootKey)
}

func (ca *CA) crl(list *x509.RevocationList, change func(*x509.RevocationList), by *x509.Certificate, key crypto.Signer) ([]byte, error) {
	list.Number = big.NewInt(1)
	list.ThisUpdate = ca.config.Now().Add(-time.Hour)
	list.NextUpdate = ca.config.Now().Add(24 * time.Hour)
	if change != nil {
		change(list)
	}
	return x509.CreateRevocationList(rand.Reader, list, by, key)
}

// authority is the template of the root and of the issuer.
func (ca *CA) authority(name string) *x509.Certificate {
	now := ca.config.Now()
	return &x509.Certificate{
		SerialNumber: ca.next(),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.AddDate(-1, 0, 0), NotAfter: now.AddDate(5, 0, 0),
		BasicConstraintsValid: true, IsCA: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

func (ca *CA) template(leaf Leaf) *x509.Certificate {
	t := &x509.Certificate{
		SerialNumber: ca.next(),
		Subject:      pkix.Name{CommonName: leaf.CommonName},
		DNSNames:     leaf.Names, IPAddresses: leaf.Addresses,
		NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		CRLDistributionPoints: leaf.CRLs,
	}
	if t.NotBefore.IsZero() {
		t.NotBefore = ca.config.Now().Add(-time.Hour)
	}
	if t.NotAfter.IsZero() {
		t.NotAfter = ca.config.Now().AddDate(0, 0, 60)
	}
	if leaf.CRLs == nil && !leaf.SelfSigned {
		name := "issuing.crl"
		if leaf.FromRoot {
			name = "root.crl"
		}
		t.CRLDistributionPoints = ca.points(name)
	}
	return t
}

func (ca *CA) points(name string) []string {
	if ca.config.CRLURL == "" {
		return nil
	}
	return []string{ca.config.CRLURL + "/" + name}
}

func (ca *CA) next() *big.Int {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.serial++
	return big.NewInt(ca.serial)
}

func sign(template, parent *x509.Certificate, key crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
