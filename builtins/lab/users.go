package lab

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"nixmox/builtins/internal/pattern"
)

// user is somebody who may ask, by password or through tokens. What root@pam
// and the main token prove themselves with is in the estate's secrets.
type user struct {
	ID       string
	Enable   bool
	Expire   int64  `json:",omitempty"` // seconds since 1970, 0 for never
	Comment  string `json:",omitempty"`
	Password string `json:",omitempty"` // its SHA-256
	Tokens   []*apiToken
}

type apiToken struct {
	ID      string
	Privsep bool
	Expire  int64  `json:",omitempty"`
	Comment string `json:",omitempty"`
	Secret  string `json:",omitempty"` // its SHA-256
}

var (
	userGrammar  = pattern.Of(`^[^\s:/]+@[A-Za-z][A-Za-z0-9.\-_]+$`)
	tokenGrammar = pattern.Of(`^[A-Za-z][A-Za-z0-9.\-_]+$`)
	roleGrammar  = pattern.Of(`^[A-Za-z0-9.\-_]+$`)
)

func userFormat(s string) string {
	if !userGrammar().MatchString(s) {
		return fmt.Sprintf("value '%s' does not look like a valid user name", s)
	}
	return ""
}

func (s *state) user(id string) *user {
	for _, u := range s.Users {
		if u.ID == id {
			return u
		}
	}
	return nil
}

func (s *state) token(who principal) *apiToken {
	if u := s.user(who.user()); u != nil {
		for _, t := range u.Tokens {
			if t.ID == who.token() {
				return t
			}
		}
	}
	return nil
}

func (u *user) fields() obj {
	o := obj{"userid": u.ID, "enable": bit(u.Enable), "expire": u.Expire, "realm-type": u.ID[strings.LastIndexByte(u.ID, '@')+1:]}
	if u.Comment != "" {
		o["comment"] = u.Comment
	}
	return o
}

func (t *apiToken) fields() obj {
	o := obj{"privsep": bit(t.Privsep)}
	if t.Expire > 0 {
		o["expire"] = t.Expire
	}
	if t.Comment != "" {
		o["comment"] = t.Comment
	}
	return o
}

func hashed(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

func sameSecret(hash, secret string) bool {
	return hash != "" && subtle.ConstantTimeCompare([]byte(hash), []byte(hashed(secret))) == 1
}

// expired says whether a time of user.cfg has passed on the lab's clock.
func (l *Lab) expired(at int64) bool { return at > 0 && l.now().Unix() >= at }

// knowsToken says whether a token's secret is right and it may be used.
func (l *Lab) knowsToken(id, secret string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	who := principal(id)
	u, t := l.st.user(who.user()), l.st.token(who)
	if u == nil || t == nil || !u.Enable || l.expired(u.Expire) || l.expired(t.Expire) {
		return false
	}
	if ours := map[string]string{mainToken: l.secrets.Token, rootToken: l.secrets.RootToken}[id]; ours != "" {
		return sameSecret(hashed(ours), secret)
	}
	return sameSecret(t.Secret, secret)
}

// knowsPassword says whether a user's password is right. The caller holds mu.
func (l *Lab) knowsPassword(id, password string) bool {
	u := l.st.user(id)
	if u == nil || !u.Enable || l.expired(u.Expire) {
		return false
	}
	if id == rootUser {
		return sameSecret(hashed(l.secrets.Password), password)
	}
	return sameSecret(u.Password, password)
}

// needUserModify is the check of methods on users: oneself where self, or
// User.Modify. Groups the lab has none.
func (c *call) needUserModify(self bool) error {
	if self && c.who == principal(c.v("userid")) {
		return nil
	}
	return c.need(c.who, "/access/groups", "User.Modify")
}

func getUsers(c *call) (any, error) {
	out := []obj{}
	all := c.may(c.who, "/access/groups", "User.Modify") || c.may(c.who, "/access/groups", "Sys.Audit")
	for _, u := range c.st.Users {
		if !all && u.ID != c.who.user() || c.params.has("enabled") && u.Enable != c.params.bool("enabled", true) {
			continue
		}
		o := u.fields()
		if c.params.bool("full", false) {
			tokens := []obj{}
			for _, t := range u.Tokens {
				f := t.fields()
				f["tokenid"] = t.ID
				tokens = append(tokens, f)
			}
			o["tokens"] = tokens
		}
		out = append(out, o)
	}
	return out, nil
}

func postUser(c *call) (any, error) {
	id := c.params.str("userid")
	if err := c.need(c.who, "/access/realm/"+id[strings.LastIndexByte(id, '@')+1:], "Realm.AllocateUser"); err != nil {
		return nil, err
	}
	if err := c.needUserModify(false); err != nil {
		return nil, err
	}
	if c.st.user(id) != nil {
		return nil, serverError("create user failed: user '%s' already exists", id)
	}
	u := &user{ID: id, Enable: c.params.bool("enable", true), Expire: c.params.int("expire", 0), Comment: c.params.str("comment")}
	if c.params.has("password") {
		u.Password = hashed(c.params.str("password"))
	}
	c.st.Users = append(c.st.Users, u)
	return nil, nil
}

func deleteUser(c *call) (any, error) {
	if err := c.needUserModify(false); err != nil {
		return nil, err
	}
	id := c.v("userid")
	if c.st.user(id) == nil {
		return nil, serverError("delete user failed: user '%s' does not exist", id)
	}
	c.st.Users = slices.DeleteFunc(c.st.Users, func(u *user) bool { return u.ID == id })
	c.st.ACL = slices.DeleteFunc(c.st.ACL, func(e aclEntry) bool { return e.Who.user() == id })
	return nil, nil
}

// tokenUser is the user that a method on tokens names.
func (c *call) tokenUser() (*user, error) {
	if err := c.needUserModify(true); err != nil {
		return nil, err
	}
	u := c.st.user(c.v("userid"))
	if u == nil {
		return nil, serverError("no such user ('%s')", c.v("userid"))
	}
	return u, nil
}

func getTokens(c *call) (any, error) {
	u, err := c.tokenUser()
	if err != nil {
		return nil, err
	}
	out := []obj{}
	for _, t := range u.Tokens {
		o := t.fields()
		o["tokenid"] = t.ID
		out = append(out, o)
	}
	return out, nil
}

// namedToken is the token that a method names.
func (c *call) namedToken() (*user, *apiToken, error) {
	u, err := c.tokenUser()
	if err != nil {
		return nil, nil, err
	}
	t := c.st.token(principal(u.ID + "!" + c.v("tokenid")))
	if t == nil {
		return nil, nil, serverError("no such token '%s' for user '%s'", c.v("tokenid"), u.ID)
	}
	return u, t, nil
}

func postToken(c *call) (any, error) {
	u, err := c.tokenUser()
	if err != nil {
		return nil, err
	}
	id := c.v("tokenid")
	if !tokenGrammar().MatchString(id) {
		return nil, badParameter("tokenid", "value does not match the regex pattern")
	}
	full := u.ID + "!" + id
	if c.st.token(principal(full)) != nil {
		return nil, badParameter("tokenid", "Token already exists.")
	}
	secret := newUUID()
	t := &apiToken{ID: id, Privsep: c.params.bool("privsep", true), Expire: c.params.int("expire", 0), Comment: c.params.str("comment"), Secret: hashed(secret)}
	u.Tokens = append(u.Tokens, t)
	return obj{"full-tokenid": full, "info": t.fields(), "value": secret}, nil
}

func putToken(c *call) (any, error) {
	_, t, err := c.namedToken()
	if err != nil {
		return nil, err
	}
	p := c.params
	if p.has("expire") {
		t.Expire = p.int("expire", 0)
	}
	t.Privsep = p.bool("privsep", t.Privsep)
	if p.has("comment") {
		t.Comment = p.str("comment")
	}
	o := t.fields()
	if p.has("expire") {
		o["expire"] = p.str("expire") // a string, as recorded
	}
	if p.bool("regenerate", false) {
		secret := newUUID()
		t.Secret = hashed(secret)
		o["value"], o["full-tokenid"] = secret, c.v("userid")+"!"+t.ID
	}
	return o, nil
}

func deleteToken(c *call) (any, error) {
	u, t, err := c.namedToken()
	if err != nil {
		return nil, err
	}
	who := principal(u.ID + "!" + t.ID)
	u.Tokens = slices.DeleteFunc(u.Tokens, func(x *apiToken) bool { return x == t })
	c.st.ACL = slices.DeleteFunc(c.st.ACL, func(e aclEntry) bool { return e.Who == who })
	return nil, nil
}

func getACL(c *call) (any, error) {
	out := []obj{}
	for _, e := range c.st.ACL {
		if c.mayModify(c.who, e.Path) != nil && !c.may(c.who, "/access", "Sys.Audit") {
			continue
		}
		kind := "user"
		if e.Who.token() != "" {
			kind = "token"
		}
		out = append(out, obj{"path": e.Path, "roleid": e.Role, "ugid": string(e.Who), "type": kind, "propagate": bit(e.Propagate)})
	}
	return out, nil
}

func putACL(c *call) (any, error) {
	path := "/" + strings.Trim(c.params.str("path"), "/")
	if err := c.mayModify(c.who, path); err != nil {
		return nil, err
	}
	names := append(splitList(c.params.str("users")), splitList(c.params.str("tokens"))...)
	if len(names) == 0 {
		return nil, badParameter("users", "either 'users', 'groups' or 'tokens' is required.")
	}
	for _, role := range splitList(c.params.str("roles")) {
		if _, ok := c.st.rolePrivileges(role); !ok {
			return nil, serverError("ACL update failed: role '%s' does not exist", role)
		}
		for _, name := range names {
			who := principal(name)
			if c.st.user(who.user()) == nil || who.token() != "" && c.st.token(who) == nil {
				return nil, serverError("ACL update failed: user '%s' does not exist", name)
			}
			c.st.ACL = slices.DeleteFunc(c.st.ACL, func(e aclEntry) bool { return e.Path == path && e.Who == who && e.Role == role })
			if !c.params.bool("delete", false) {
				c.st.ACL = append(c.st.ACL, aclEntry{path, role, who, c.params.bool("propagate", true)})
			}
		}
	}
	return nil, nil
}

func getRoles(c *call) (any, error) {
	out := []obj{}
	list := func(roles map[string][]string, special int) {
		for id, privs := range roles {
			out = append(out, obj{"roleid": id, "privs": strings.Join(privs, ","), "special": special})
		}
	}
	list(builtinRoles, 1)
	list(c.st.Roles, 0)
	slices.SortFunc(out, func(a, b obj) int { return strings.Compare(a["roleid"].(string), b["roleid"].(string)) })
	return out, nil
}

func postRole(c *call) (any, error) {
	id := c.params.str("roleid")
	if !roleGrammar().MatchString(id) {
		return nil, badParameter("roleid", "invalid format - value '%s' does not look like a valid role name\n", id)
	}
	if _, exists := c.st.rolePrivileges(id); exists {
		return nil, serverError("create role failed: role '%s' already exists", id)
	}
	privs := splitList(c.params.str("privs"))
	for _, p := range privs {
		if !slices.Contains(allPrivileges, p) {
			return nil, serverError("create role failed: invalid privilege '%s'", p)
		}
	}
	c.st.Roles[id] = privs
	return nil, nil
}

// ticketLasts says whether a ticket's user is still there.
func (l *Lab) ticketLasts(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.st.user(id)
	return u != nil && u.Enable && (u.Expire == 0 || time.Unix(u.Expire, 0).After(l.now()))
}
