package lab

import (
	"crypto/subtle"
	"strings"
)

// getPermissions says what the asker may, by path.
func getPermissions(c *call) (any, error) {
	if u := c.params.str("userid"); u != "" && u != string(c.who) {
		if err := c.need(c.who, "/access", "Sys.Audit"); err != nil {
			return nil, err
		}
		c.who = principal(u)
	}
	paths := []string{"/", "/access", "/access/groups", "/access/realm", "/nodes", "/pool", "/sdn", "/storage", "/vms"}
	if p := c.params.str("path"); p != "" {
		paths = []string{p}
	} else {
		for _, g := range c.st.Guests {
			// What differs from /vms has a path of its own.
			if c.may(c.who, "/vms", "VM.Backup") && !c.may(c.who, "/vms/"+g.id(), "VM.Backup") {
				paths = append(paths, "/vms/"+g.id())
			}
		}
	}
	out := obj{}
	for _, path := range paths {
		privs := obj{}
		for _, p := range allPrivileges {
			if c.may(c.who, path, p) {
				privs[p] = 1
			}
		}
		if len(privs) > 0 {
			out[path] = privs
		}
	}
	return out, nil
}

// postTicket logs in root@pam with the lab's password, or with a ticket, which
// renews it.
func postTicket(c *call) (any, error) {
	user, password := c.params.str("username"), c.params.str("password")
	if realm := c.params.str("realm"); realm != "" && !strings.Contains(user, "@") {
		user += "@" + realm
	}
	owner, isTicket := c.ticketUser(password, c.now())
	right := subtle.ConstantTimeCompare([]byte(password), []byte(c.secrets.Password)) == 1
	if user != rootUser || !right && (!isTicket || owner != user) {
		return nil, &apiError{Status: 401, Reason: "authentication failure"}
	}
	return obj{
		"username": user, "ticket": c.newTicket(user, c.now()), "CSRFPreventionToken": c.sign("csrf:"+user, c.now()),
		"clustername": clusterName, "cap": capabilities(),
	}, nil
}

// capabilities are what the web interface asks to know which buttons to show.
func capabilities() obj {
	out := obj{}
	for _, k := range []struct{ name, prefix string }{{"vms", "VM."}, {"storage", "Datastore."}, {"nodes", "Sys."}, {"dc", "SDN."}, {"access", "User."}, {"mapping", "Mapping."}, {"sdn", "SDN."}} {
		privs := obj{}
		for _, p := range allPrivileges {
			if strings.HasPrefix(p, k.prefix) {
				privs[p] = 1
			}
		}
		out[k.name] = privs
	}
	return out
}
