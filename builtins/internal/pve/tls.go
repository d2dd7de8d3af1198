package pve

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"nixmox/engine/builtin"
)

// FingerprintError is a host whose certificate is not the one expected.
type FingerprintError struct{ Expected, Seen string }

func (e *FingerprintError) Error() string {
	return fmt.Sprintf("the certificate's fingerprint is %s, expected %s", e.Seen, e.Expected)
}

// tlsConfig trusts one certificate, one CA, or the system's roots.
//
// A pinned certificate is trusted whatever its names and dates say: Proxmox's
// own are self-signed, and the fingerprint says more than a name does. This is
// what Proxmox's clients do too.
func tlsConfig(cfg Config) (*tls.Config, error) {
	// Each change has a connection of its own: a resumed session makes it cheaper.
	out := &tls.Config{MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(32)}
	switch {
	case cfg.Fingerprint != "":
		want, err := parseFingerprint(cfg.Fingerprint)
		if err != nil {
			return nil, builtin.Faultf(builtin.Invalid, "the configuration of Proxmox: %v", err)
		}
		out.InsecureSkipVerify = true // VerifyConnection decides, on resumed sessions too
		out.VerifyConnection = func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return &FingerprintError{Expected: want, Seen: "missing"}
			}
			if seen := fingerprint(state.PeerCertificates[0]); seen != want {
				return &FingerprintError{Expected: want, Seen: seen}
			}
			return nil
		}
	case cfg.CAFile != "":
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, builtin.Faultf(builtin.Invalid, "reading the ca_file of Proxmox").Because(err)
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(pem) {
			return nil, builtin.Faultf(builtin.Invalid, "the ca_file %s holds no PEM certificate", cfg.CAFile).
				Hinting("on a Proxmox node it is /etc/pve/pve-root-ca.pem")
		}
	}
	return out, nil
}

// fingerprint writes a certificate's SHA-256 as Proxmox shows it: AA:BB:….
func fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return colons(strings.ToUpper(hex.EncodeToString(sum[:])))
}

func parseFingerprint(text string) (string, error) {
	digits := strings.ToUpper(strings.ReplaceAll(strings.TrimSpace(text), ":", ""))
	if raw, err := hex.DecodeString(digits); err != nil || len(raw) != sha256.Size {
		return "", fmt.Errorf("fingerprint = %q: want the SHA-256 of the certificate, 32 pairs of hexadecimal digits", text)
	}
	return colons(digits), nil
}

func colons(digits string) string {
	var b strings.Builder
	for i := 0; i < len(digits); i += 2 {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(digits[i : i+2])
	}
	return b.String()
}
