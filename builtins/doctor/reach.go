package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"nixmox/builtins/internal/pve"
)

// compareOnHost is how to see a certificate where nobody stands between. A
// node has one of its own making, and pveproxy-ssl.pem if it was given another.
const compareOnHost = "openssl x509 -noout -fingerprint -sha256 -in /etc/pve/local/pve-ssl.pem (pveproxy-ssl.pem, where there is one)"

// reachability finds the host's name, its port, and whether it is the one that
// the configuration means. No token travels.
func reachability(ctx context.Context, e *examination) bool {
	where := e.client.Host()
	host, port, _ := net.SplitHostPort(where) // it has both
	if net.ParseIP(host) == nil {
		if _, err := net.DefaultResolver.LookupHost(ctx, host); err != nil {
			e.add(Error, host, "the name cannot be resolved: "+reason(err), "correct url in the configuration, or: getent hosts "+host)
			return false
		}
	}
	began := time.Now() // of the machine: it is about the line
	chain, err := e.client.Presented(ctx)
	took := time.Since(began).Round(time.Millisecond)
	var down *net.OpError
	switch {
	case errors.As(err, &down) && down.Op == "dial":
		e.add(Error, where, "no connection: "+reason(err), "on the host: systemctl status pveproxy; is url right, and port "+port+" open to this machine?")
		return false
	case err != nil:
		e.add(Error, where, "something answers, but not with TLS: "+reason(err), "correct the port in url: Proxmox VE's API is at https://HOST:8006")
		return false
	case len(chain) == 0:
		e.add(Error, where, "it presents no certificate", "correct url: it must name the Proxmox host itself")
		return false
	}
	seen := pve.Fingerprint(chain[0])
	err = e.client.Trusts(ctx)
	pin, pinned := errors.AsType[*pve.FingerprintError](err)
	chained, unsigned := errors.AsType[*tls.CertificateVerificationError](err)
	compare := fmt.Sprintf("compare on the host: %s; only if it says the same, set in [proxmox]: fingerprint = %q", compareOnHost, seen)
	switch {
	case pinned:
		e.add(Error, where, "it presents the fingerprint "+seen+", and the configuration expects "+pin.Expected+": it has a new certificate, or somebody stands between", compare)
		return false
	case unsigned:
		by := "no CA of this machine vouches for it"
		if e.Config.CAFile != "" {
			by = "the CA in ca_file does not vouch for it"
		}
		e.add(Error, where, fmt.Sprintf("it presents the fingerprint %s, and %s: %s", seen, by, chained.Err), compare)
		return false
	case err != nil:
		e.add(Error, where, "the connection broke at the second look: "+reason(err), "look again: nixmox doctor")
		return false
	}
	how := "its certificate is signed by a CA of this machine"
	switch {
	case e.Config.Fingerprint != "":
		how = "its certificate has the fingerprint of the configuration"
	case e.Config.CAFile != "":
		how = "its certificate is signed by the CA in ca_file"
	}
	e.add(OK, where, fmt.Sprintf("it answers in %s, and %s", took, how), "")
	return true
}

// reason is an error without what stands before it, which the subject says.
func reason(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Err.Error()
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return dns.Err
	}
	return strings.TrimPrefix(err.Error(), "tls: ")
}

// certificate looks at when it ends.
func certificate(ctx context.Context, e *examination) bool {
	where := e.client.Host()
	chain, err := e.client.Presented(ctx)
	if err != nil || len(chain) == 0 {
		e.notChecked(where, "it presented none at the second look", "look again: nixmox doctor")
		return false
	}
	until, left := chain[0].NotAfter, chain[0].NotAfter.Sub(e.Config.Now())
	day := until.UTC().Format(time.DateOnly)
	const renew = "on the host: pvecm updatecerts --force && systemctl restart pveproxy; then set the new fingerprint, if the configuration has one"
	switch {
	case left < 0:
		e.add(Warning, where, "it ended on "+day+"; it is trusted by its fingerprint all the same", renew)
	case left < 14*24*time.Hour:
		e.add(Warning, where, "it ends on "+day+", in "+count(int(left.Hours()/24), "day"), renew)
	default:
		e.add(OK, where, "it is good until "+day, "")
	}
	return true
}
