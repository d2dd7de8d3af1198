package lab

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	mainToken = "nixmox@pve!lab"
	rootToken = "root@pam!lab"
	rootUser  = "root@pam"
)

// principal is who asks: a user, or a token as user!token. Proxmox treats the
// two as different all the way down.
type principal string

func (p principal) user() string {
	user, _, _ := strings.Cut(string(p), "!")
	return user
}

func (p principal) token() string {
	_, token, _ := strings.Cut(string(p), "!")
	return token
}

func (p principal) isRoot() bool { return p.user() == rootUser }

// mainPrivileges are what the main token has, on everything. Backing up needs
// VM.Backup, and Datastore.AllocateSpace on the storage; pruning in vzdump and
// reading a storage's configuration Datastore.Allocate; other people's tasks
// Sys.Audit; starting and stopping VM.PowerMgmt. Pools need Pool.Allocate, and
// VM.Allocate on what goes into them or out; HA Sys.Console; restoring
// VM.Allocate; asking whether a guest is frozen VM.GuestAgent.Audit.
var mainPrivileges = []string{
	"Datastore.Allocate", "Datastore.AllocateSpace", "Datastore.Audit", "Pool.Audit",
	"Sys.Audit", "VM.Audit", "VM.Backup", "VM.GuestAgent.Audit", "VM.PowerMgmt",
	"Pool.Allocate", "Sys.Console",
	// For what playbooks do with guests beyond that.
	"VM.Allocate", "VM.Clone", "VM.Config.CDROM", "VM.Config.CPU", "VM.Config.Cloudinit", "VM.Config.Disk", "VM.Config.HWType",
	"VM.Config.Memory", "VM.Config.Network", "VM.Config.Options", "VM.Migrate", "VM.Snapshot", "VM.Snapshot.Rollback",
}

// allPrivileges are those of Proxmox VE 9.2, as recorded.
var allPrivileges = strings.Fields(`Datastore.Allocate Datastore.AllocateSpace Datastore.AllocateTemplate Datastore.Audit
	Group.Allocate Mapping.Audit Mapping.Modify Mapping.Use Permissions.Modify Pool.Allocate Pool.Audit Realm.Allocate
	Realm.AllocateUser SDN.Allocate SDN.Audit SDN.Use Sys.AccessNetwork Sys.Audit Sys.Console Sys.Incoming Sys.Modify
	Sys.PowerMgmt Sys.Syslog User.Modify VM.Allocate VM.Audit VM.Backup VM.Clone VM.Config.CDROM VM.Config.CPU
	VM.Config.Cloudinit VM.Config.Disk VM.Config.HWType VM.Config.Memory VM.Config.Network VM.Config.Options VM.Console
	VM.GuestAgent.Audit VM.GuestAgent.FileRead VM.GuestAgent.FileSystemMgmt VM.GuestAgent.FileWrite
	VM.GuestAgent.Unrestricted VM.Migrate VM.PowerMgmt VM.Replicate VM.Snapshot VM.Snapshot.Rollback`)

// may says whether who has a privilege on a path.
func (l *Lab) may(who principal, path, priv string) bool {
	if !who.isRoot() && l.faults.hit("privilege", priv, "missing") != nil {
		return false
	}
	if vmid, ok := strings.CutPrefix(path, "/vms/"); ok && priv == "VM.Backup" && l.faults.hit("vzdump", vmid, "deny") != nil {
		return false
	}
	_, has := l.st.permissions(who, path)[priv]
	return has
}

// need fails unless who has one of the privileges on the path.
func (l *Lab) need(who principal, path string, anyOf ...string) error {
	for _, p := range anyOf {
		if l.may(who, path, p) {
			return nil
		}
	}
	return forbidden(path, strings.Join(anyOf, "|"))
}

// authenticate finds out who asks.
func (l *Lab) authenticate(r *http.Request) (principal, error) {
	if auth, ok := strings.CutPrefix(r.Header.Get("Authorization"), "PVEAPIToken="); ok {
		id, secret, _ := strings.Cut(auth, "=")
		if l.faults.hit("token", "", "expired") != nil || !l.knowsToken(id, secret) {
			return "", unauthorized("Authentication failed!")
		}
		return principal(id), nil
	}
	cookie, err := r.Cookie("PVEAuthCookie")
	if err != nil {
		return "", unauthorized("No ticket")
	}
	ticket, err := url.QueryUnescape(cookie.Value)
	if err != nil {
		ticket = cookie.Value
	}
	now := l.Now()
	user, ok := l.ticketUser(ticket, now)
	if !ok || !l.ticketLasts(user) || l.faults.hit("ticket", "", "expired") != nil {
		return "", unauthorized("permission denied - invalid PVE ticket")
	}
	if r.Method != http.MethodGet && !l.signed(r.Header.Get("CSRFPreventionToken"), "csrf:"+user, now) {
		return "", unauthorized("Permission denied - invalid csrf token")
	}
	return principal(user), nil
}

// ticketLife is how long a ticket is good for, and ticketDrift how far another
// node's clock may be ahead (both PVE::AccessControl's).
const (
	ticketLife  = 2 * time.Hour
	ticketDrift = 5 * time.Minute
)

// sign makes TIME:SIGNATURE over the lab's time and what.
func (l *Lab) sign(what string, now time.Time) string {
	stamp := fmt.Sprintf("%08X", now.Unix())
	return stamp + ":" + l.mac(stamp+":"+what)
}

func (l *Lab) mac(what string) string {
	m := hmac.New(sha256.New, []byte(l.secrets.TicketKey))
	m.Write([]byte(what))
	return hex.EncodeToString(m.Sum(nil))
}

func (l *Lab) signed(token, what string, now time.Time) bool {
	stamp, sig, _ := strings.Cut(token, ":")
	at, err := strconv.ParseInt(stamp, 16, 64)
	age := now.Sub(time.Unix(at, 0))
	return err == nil && age > -ticketDrift && age < ticketLife && hmac.Equal([]byte(sig), []byte(l.mac(stamp+":"+what)))
}

// A ticket is PVE:USER:TIME::SIGNATURE.
func (l *Lab) newTicket(user string, now time.Time) string {
	stamp, sig, _ := strings.Cut(l.sign("ticket:"+user, now), ":")
	return "PVE:" + user + ":" + stamp + "::" + sig
}

func (l *Lab) ticketUser(ticket string, now time.Time) (string, bool) {
	p := strings.Split(ticket, ":")
	if len(p) != 5 || p[0] != "PVE" {
		return "", false
	}
	return p[1], l.signed(p[2]+":"+p[4], "ticket:"+p[1], now)
}
