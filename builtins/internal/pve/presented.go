package pve

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/url"
	"strings"
)

// Presented is the chain of certificates that the host shows. Nothing is
// trusted by looking, and nothing but a handshake is sent.
func (c *Client) Presented(ctx context.Context) ([]*x509.Certificate, error) {
	return c.shake(ctx, &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true})
}

// Trusts makes the handshake as every request does. The error is a
// *FingerprintError, a *tls.CertificateVerificationError, or the line's.
func (c *Client) Trusts(ctx context.Context) error {
	cfg, err := tlsConfig(c.cfg)
	if err == nil {
		_, err = c.shake(ctx, cfg)
	}
	return err
}

func (c *Client) shake(ctx context.Context, cfg *tls.Config) ([]*x509.Certificate, error) {
	cfg.ServerName, _, _ = net.SplitHostPort(c.base.Host) // it has a port: check saw to that
	raw, err := c.rt.reads.DialContext(ctx, "tcp", c.base.Host)
	if err != nil {
		return nil, err
	}
	defer func() { _ = raw.Close() }() // it was only looked at
	conn := tls.Client(raw, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return conn.ConnectionState().PeerCertificates, nil
}

// Fingerprint is a certificate's SHA-256 as Proxmox shows it: AA:BB:….
func Fingerprint(cert *x509.Certificate) string { return fingerprint(cert) }

// Permissions are what a token may do where, by path and privilege. The value
// tells whether it holds for what is below the path, too.
type Permissions map[string]map[string]Bool

// Permissions asks what the client's own token may do.
func (c *Client) Permissions(ctx context.Context) (Permissions, error) {
	var out Permissions
	return out, c.Get(ctx, "/access/permissions", url.Values{}, &out)
}

// Has reports whether a privilege holds on a path. Proxmox lists the paths
// that have an ACL or stand in a pool; all others inherit from above. A path
// from which an ACL takes everything away (NoAccess) is not listed, so it
// looks as if it inherited: that only the path's own answer would tell.
func (p Permissions) Has(path, privilege string) bool {
	for at := path; ; {
		if privileges, listed := p[at]; listed {
			inherited, granted := privileges[privilege]
			return granted && (at == path || bool(inherited))
		}
		if at == "/" || at == "" {
			return false
		}
		if at = at[:strings.LastIndex(at, "/")]; at == "" {
			at = "/"
		}
	}
}
