package probe

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/cryptobyte"

	"peerscore/assess/pkix"
)

// keyKind is a family of certificate keys that senders of mail choose between.
type keyKind string

const (
	anyKey   keyKind = ""
	rsaKey   keyKind = "RSA"
	curveKey keyKind = "ECDSA" // or EdDSA, which shares its cipher suites (RFC 8422, section 5.1.1)
)

// hello is a ClientHello made by hand: record and message; nothing is ever decrypted. It asks what
// crypto/tls cannot: whether a server speaks TLS at all (it offers what OpenSSL does), and which
// certificate it has for clients that take one kind of key only. The server's answer up to its
// Certificate is plain text in TLS 1.2 and before; TLS 1.3 shows the ServerHello alone.
type hello struct {
	name    string // the server's (SNI)
	key     keyKind
	noTLS13 bool // offer TLS 1.0 to 1.2, where the certificate can be seen
}

// schemes are the signature algorithms of each kind (RFC 8446, section 4.2.3), those of OpenSSL.
var schemes = map[keyKind][]tls.SignatureScheme{
	curveKey: {tls.ECDSAWithP256AndSHA256, tls.ECDSAWithP384AndSHA384, tls.ECDSAWithP521AndSHA512, tls.Ed25519, ed448, tls.ECDSAWithSHA1},
	rsaKey: {
		pssKeySHA256, pssKeySHA384, pssKeySHA512, tls.PSSWithSHA256, tls.PSSWithSHA384, tls.PSSWithSHA512,
		tls.PKCS1WithSHA256, tls.PKCS1WithSHA384, tls.PKCS1WithSHA512, tls.PKCS1WithSHA1,
	},
}

// What crypto/tls has no names for.
const (
	ed448        tls.SignatureScheme = 0x0808
	pssKeySHA256 tls.SignatureScheme = 0x0809
	pssKeySHA384 tls.SignatureScheme = 0x080a
	pssKeySHA512 tls.SignatureScheme = 0x080b
	dsaSHA256    tls.SignatureScheme = 0x0402
	dsaSHA1      tls.SignatureScheme = 0x0202

	renegotiationSCSV = 0x00ff // TLS_EMPTY_RENEGOTIATION_INFO_SCSV (RFC 5746)
)

// groups are those of OpenSSL: curves, and finite fields (RFC 7919).
var groups = []tls.CurveID{tls.X25519, tls.CurveP256, 0x001e /* X448 */, tls.CurveP521, tls.CurveP384, 0x0100, 0x0101, 0x0102, 0x0103, 0x0104}

func (h hello) schemes() []tls.SignatureScheme {
	if h.key != anyKey {
		return schemes[h.key]
	}
	all := append(schemes[curveKey][:len(schemes[curveKey]):len(schemes[curveKey])], schemes[rsaKey]...)
	return append(all, dsaSHA256, dsaSHA1)
}

func (h hello) suites() []uint16 {
	var ids []uint16
	if !h.noTLS13 {
		ids = append(ids, tls.TLS_AES_256_GCM_SHA384, tls.TLS_CHACHA20_POLY1305_SHA256, tls.TLS_AES_128_GCM_SHA256)
	}
	for _, suite := range offeredSuites {
		if h.key == anyKey || strings.Contains(suite.name, "_"+string(h.key)+"_") {
			ids = append(ids, suite.id)
		}
	}
	return append(ids, renegotiationSCSV)
}

// record is the ClientHello in its record (RFC 8446, sections 4.1.2 and 5.1; RFC 5246).
func (h hello) record() []byte {
	var random [32 + 32]byte
	rand.Read(random[:])
	var b cryptobyte.Builder
	b.AddBytes([]byte{recordHandshake, 3, 1})
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddUint8(messageClientHello)
		b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
			b.AddUint16(tls.VersionTLS12)
			b.AddBytes(random[:32])
			prefixed8(b, random[32:]) // a session to resume, as middleboxes like it
			b.AddUint16LengthPrefixed(numbers(h.suites()))
			prefixed8(b, []byte{0}) // no compression
			b.AddUint16LengthPrefixed(h.extensions)
		})
	})
	return b.BytesOrPanic()
}

// extensions adds them. The private halves of the key shares are thrown away: nothing is ever decrypted.
func (h hello) extensions(b *cryptobyte.Builder) {
	extension := func(number uint16, body func(*cryptobyte.Builder)) {
		b.AddUint16(number)
		b.AddUint16LengthPrefixed(body)
	}
	list := func(body func(*cryptobyte.Builder)) func(*cryptobyte.Builder) {
		return func(b *cryptobyte.Builder) { b.AddUint16LengthPrefixed(body) }
	}
	extension(0, list(func(b *cryptobyte.Builder) { // server_name
		b.AddUint8(0)
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(h.name)) })
	}))
	extension(10, list(numbers(groups)))                                   // supported_groups
	extension(11, func(b *cryptobyte.Builder) { prefixed8(b, []byte{0}) }) // ec_point_formats
	extension(13, list(numbers(h.schemes())))                              // signature_algorithms
	extension(50, list(numbers(hello{}.schemes())))                        // signature_algorithms_cert
	extension(22, func(*cryptobyte.Builder) {})                            // encrypt_then_mac
	extension(23, func(*cryptobyte.Builder) {})                            // extended_master_secret
	if h.noTLS13 {
		return
	}
	extension(43, func(b *cryptobyte.Builder) { // supported_versions
		b.AddUint8LengthPrefixed(numbers([]uint16{tls.VersionTLS13, tls.VersionTLS12, tls.VersionTLS11, tls.VersionTLS10}))
	})
	extension(45, func(b *cryptobyte.Builder) { prefixed8(b, []byte{1}) }) // psk_key_exchange_modes
	extension(51, list(func(b *cryptobyte.Builder) {                       // key_share
		for _, curve := range []struct {
			group tls.CurveID
			ecdh.Curve
		}{{tls.X25519, ecdh.X25519()}, {tls.CurveP256, ecdh.P256()}, {tls.CurveP384, ecdh.P384()}} {
			key, err := curve.GenerateKey(rand.Reader)
			if err != nil {
				panic(err) // it never fails with this reader
			}
			b.AddUint16(uint16(curve.group))
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(key.PublicKey().Bytes()) })
		}
	}))
}

func prefixed8(b *cryptobyte.Builder, octets []byte) {
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(octets) })
}

func numbers[T ~uint16](list []T) func(*cryptobyte.Builder) {
	return func(b *cryptobyte.Builder) {
		for _, n := range list {
			b.AddUint16(uint16(n))
		}
	}
}

// The types of records and messages that are looked at.
const (
	recordAlert     = 21
	recordHandshake = 22

	messageClientHello     = 1
	messageServerHello     = 2
	messageCertificate     = 11
	messageServerHelloDone = 14
)

// serverHello is what a server shows in plain text.
type serverHello struct {
	version uint16
	suite   uint16
	retry   bool     // a HelloRetryRequest, for another group
	chain   [][]byte // nil in TLS 1.3, and where the suite needs no certificate
}

// alert is one that ends the handshake.
type alert uint8

func (a alert) Error() string { return strings.TrimPrefix(tls.AlertError(a).Error(), "tls: ") }

const (
	protocolVersion alert = 70 // the server has none of the versions that were offered
	internalError   alert = 80 // of the moment, perhaps: unrelated to the peer (RFC 8446, section 6.2)
)

var errNotTLS = errors.New("the server answers with something that is not TLS")

// readServerHello reads the server's answer to a hello. An error is an alert, errNotTLS, or that
// of the connection.
func readServerHello(r io.Reader) (serverHello, error) {
	var s serverHello
	messages := messageReader{r: r}
	for {
		kind, body, err := messages.next()
		switch {
		case err != nil:
			return s, err
		case s.version == 0 && kind != messageServerHello:
			return s, errNotTLS
		case kind == messageServerHello:
			if !s.parse(body) {
				return s, errNotTLS
			}
			if s.version == tls.VersionTLS13 {
				return s, nil
			}
		case kind == messageCertificate:
			s.chain, err = parseCertificateMessage(body)
			return s, err
		case kind == messageServerHelloDone:
			return s, nil
		}
	}
}

// messageReader puts handshake messages together from their records.
type messageReader struct {
	r      io.Reader
	buffer []byte
}

// next is the type and body of the next message.
func (m *messageReader) next() (kind uint8, body []byte, err error) {
	for {
		if len(m.buffer) >= 4 {
			length := 4 + int(m.buffer[1])<<16 + int(m.buffer[2])<<8 + int(m.buffer[3])
			if length > maxHandshakeOctets {
				return 0, nil, fmt.Errorf("%w: a handshake message of %d octets", errLimit, length)
			}
			if len(m.buffer) >= length {
				kind, body, m.buffer = m.buffer[0], m.buffer[4:length], m.buffer[length:]
				return kind, body, nil
			}
		}
		if err := m.record(); err != nil {
			return 0, nil, err
		}
	}
}

// record reads one more record. Warnings, as that of a name that is not known, are passed over.
func (m *messageReader) record() error {
	const maxRecord = 1<<14 + 256
	var header [5]byte
	if _, err := io.ReadFull(m.r, header[:]); err != nil {
		return err
	}
	length := int(header[3])<<8 | int(header[4])
	if header[1] != 3 || length == 0 || length > maxRecord {
		return errNotTLS
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(m.r, body); err != nil {
		return err
	}
	const warning, closeNotify = 1, 0
	switch {
	case header[0] == recordHandshake:
		m.buffer = append(m.buffer, body...)
	case header[0] != recordAlert || length != 2:
		return errNotTLS
	case body[0] != warning || body[1] == closeNotify:
		return alert(body[1])
	}
	return nil
}

// helloRetry is the Random of a HelloRetryRequest (RFC 8446, section 4.1.3).
const helloRetry = "\xCF\x21\xAD\x74\xE5\x9A\x61\x11\xBE\x1D\x8C\x02\x1E\x65\xB8\x91\xC2\xA2\x11\x16\x7A\xBB\x8C\x5E\x07\x9E\x09\xE2\xC8\xA8\x33\x9C"

// parse reads a ServerHello (RFC 8446, section 4.1.3).
func (s *serverHello) parse(body cryptobyte.String) bool {
	var random []byte
	var session, extensions cryptobyte.String
	var compression uint8
	if !body.ReadUint16(&s.version) || !body.ReadBytes(&random, 32) || !body.ReadUint8LengthPrefixed(&session) ||
		!body.ReadUint16(&s.suite) || !body.ReadUint8(&compression) {
		return false
	}
	s.retry = string(random) == helloRetry
	if !body.Empty() && !body.ReadUint16LengthPrefixed(&extensions) {
		return false
	}
	for !extensions.Empty() {
		var number uint16
		var value cryptobyte.String
		if !extensions.ReadUint16(&number) || !extensions.ReadUint16LengthPrefixed(&value) {
			return false
		}
		if number == 43 && !value.ReadUint16(&s.version) {
			return false
		}
	}
	return s.version >= tls.VersionTLS10 && s.version <= tls.VersionTLS13 // SSL 3.0 is nothing that a sender takes
}

// parseCertificateMessage reads the chain of TLS 1.2 and before (RFC 5246, section 7.4.2).
func parseCertificateMessage(body cryptobyte.String) ([][]byte, error) {
	var list cryptobyte.String
	if !body.ReadUint24LengthPrefixed(&list) {
		return nil, errNotTLS
	}
	var chain [][]byte
	for !list.Empty() {
		var der cryptobyte.String
		if !list.ReadUint24LengthPrefixed(&der) {
			return nil, errNotTLS
		}
		chain = append(chain, der)
	}
	if reason := pkix.Oversized(chain); reason != "" {
		return nil, fmt.Errorf("%w: %s", errLimit, reason)
	}
	return chain, nil
}
