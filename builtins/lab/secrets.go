package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"strings"
	"time"
)

// secrets are made once for an estate. They must not get into errors or logs.
type secrets struct {
	Token     string // of the main token
	RootToken string
	Password  string // of root@pam
	TicketKey string // signs tickets and CSRF tokens
}

func loadSecrets(f *folder) (secrets, error) {
	var s secrets
	b, err := os.ReadFile(f.path(secretFile))
	if err == nil {
		if json.Unmarshal(b, &s) != nil || s.Token == "" || s.RootToken == "" || s.Password == "" || s.TicketKey == "" {
			return s, fmt.Errorf("the lab's file %s is damaged: start anew with a fresh lab", f.path(secretFile))
		}
		return s, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return s, fmt.Errorf("reading the lab's secrets: %w", err)
	}
	s = secrets{Token: newUUID(), RootToken: newUUID(), Password: rand.Text(), TicketKey: rand.Text()}
	if b, err = json.Marshal(s); err == nil {
		err = writeFile(f.path(secretFile), b, true)
	}
	if err != nil {
		return s, fmt.Errorf("keeping the lab's secrets: %w", err)
	}
	return s, nil
}

// newUUID makes a random UUID, which is what Proxmox's token secrets are.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

type certificate struct {
	pair        tls.Certificate
	fingerprint string
}

func loadCertificate(f *folder) (certificate, error) {
	if _, err := os.Stat(f.path(certFile)); errors.Is(err, fs.ErrNotExist) {
		if err := makeCertificate(f); err != nil {
			return certificate{}, fmt.Errorf("making the lab's certificate: %w", err)
		}
	}
	pair, err := tls.LoadX509KeyPair(f.path(certFile), f.path(keyFile))
	if err != nil {
		return certificate{}, fmt.Errorf("loading the lab's certificate: %w (start anew with a fresh lab)", err)
	}
	return certificate{pair: pair, fingerprint: fingerprint(pair.Certificate[0])}, nil
}

// fingerprint writes the SHA-256 of a certificate as Proxmox does.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	hex := make([]string, len(sum))
	for i, b := range sum {
		hex[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(hex, ":")
}

func makeCertificate(f *folder) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return err
	}
	now := time.Now()
	tmpl := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "pve1.lab", Organization: []string{"nixmox lab"}},
		// Twenty years around now: the lab's clock runs ahead of the real one.
		NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(20, 0, 0),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost", "pve1.lab"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	// The key first: a certificate without its key would never be remade.
	if err := writeFile(f.path(keyFile), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), true); err != nil {
		return err
	}
	return writeFile(f.path(certFile), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), true)
}
