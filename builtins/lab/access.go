package lab

import (
	"slices"
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
	paths := c.st.effectivePaths()
	if p := c.params.str("path"); p != "" {
		paths = []string{p}
	} else {
		for _, g := range c.st.Guests { // those that the fault denies
			if path := "/vms/" + g.id(); c.may(c.who, "/vms", "VM.Backup") && !c.may(c.who, path, "VM.Backup") {
				paths = append(paths, path)
			}
		}
	}
	out := obj{}
	for _, path := range paths {
		privs := obj{}
		for p, propagate := range c.st.permissions(c.who, path) {
			if c.may(c.who, path, p) {
				privs[p] = bit(propagate)
			}
		}
		if len(privs) > 0 {
			out[path] = privs
		}
	}
	return out, nil
}

// postTicket logs a user in with the password, or with a ticket, which renews
// it.
func postTicket(c *call) (any, error) {
	user, password := c.params.str("username"), c.params.str("password")
	if realm := c.params.str("realm"); realm != "" && !strings.Contains(user, "@") {
		user += "@" + realm
	}
	owner, isTicket := c.ticketUser(password, c.now())
	if !c.knowsPassword(user, password) && (!isTicket || owner != user) || c.st.user(user) == nil {
		return nil, &apiError{Status: 401, Reason: "authentication failure"}
	}
	return obj{
		"username": user, "ticket": c.newTicket(user, c.now()), "CSRFPreventionToken": c.sign("csrf:"+user, c.now()),
		"clustername": clusterName, "cap": c.capabilities(principal(user)),
	}, nil
}

// capabilities are what the web interface asks to know which buttons to show:
// compute_api_permission of PVE/RPCEnvironment.pm.
func (c *call) capabilities(who principal) obj {
	out := obj{}
	for _, area := range areas {
		privs := obj{}
		paths := []string{"/" + area.name}
		for _, e := range c.st.ACL {
			if strings.HasPrefix(e.Path, "/"+area.name+"/") {
				paths = append(paths, e.Path)
			}
		}
		if area.name == "dc" {
			paths = []string{"/"}
		}
		for _, path := range paths {
			for p := range c.st.permissions(who, path) {
				if slices.ContainsFunc(area.begin, func(prefix string) bool { return strings.HasPrefix(p, prefix) }) {
					privs[p] = 1
				}
			}
		}
		out[area.name] = privs
	}
	return out
}

var areas = []struct {
	name  string
	begin []string
}{
	{"vms", []string{"VM.", "Permissions.Modify"}}, {"storage", []string{"Datastore.", "Permissions.Modify"}},
	{"nodes", []string{"Sys.", "Permissions.Modify"}}, {"access", []string{"User.", "Group.", "Permissions.Modify"}},
	{"sdn", []string{"SDN.", "Permissions.Modify"}}, {"mapping", []string{"Mapping.", "Permissions.Modify"}},
	{"dc", []string{"Sys.Audit", "Sys.Modify", "SDN."}},
}
