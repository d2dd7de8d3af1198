package lab

import (
	"strings"
)

// seesStorage says whether the asker gets a storage listed.
func (c *call) seesStorage(s *storage) bool {
	return c.may(c.who, "/storage/"+s.Name, "Datastore.Audit") || c.may(c.who, "/storage/"+s.Name, "Datastore.AllocateSpace")
}

func (l *Lab) offline(s *storage) bool {
	return l.faults.hit("storage", s.Name, "offline") != nil
}

// offlineError is how a dir storage says that what is mounted there is not.
func (s *storage) offlineError() string {
	switch s.Type {
	case "nfs", "cifs":
		return "storage '" + s.Name + "' is not online"
	case "pbs":
		return s.Name + ": error fetching datastores - 500 Can't connect to 192.0.2.30:8007 (Connection refused)"
	}
	return "unable to activate storage '" + s.Name + "' - directory is expected to be a mount point but is not mounted: '" + s.pvePath() + "'"
}

// storageSpace is what the pool of a storage says or, of another, the made-up
// use plus what really lies there.
func (l *Lab) storageSpace(s *storage, node string) (used, total int64) {
	if s.zfsPool() != "" {
		return l.poolSpace(s, node)
	}
	used = s.Used
	if s.keepsFiles() {
		for _, v := range l.volumes(s, node) {
			used += v.size
		}
	}
	return used, s.Total
}

// storageHere finds the storage that a request names.
func (c *call) storageHere() (*storage, error) {
	s := c.st.storage(c.v("storage"))
	if s == nil {
		return nil, serverError("storage '%s' does not exist", c.v("storage"))
	}
	return s, nil
}

// activeStorage finds it, and fails if it is not there to be used.
func (c *call) activeStorage() (*storage, error) {
	s, err := c.storageHere()
	if err == nil && c.offline(s) {
		return nil, serverError("%s", s.offlineError())
	}
	return s, err
}

func (c *call) storageStatus(s *storage) obj {
	o := obj{
		"type": s.Type, "content": strings.Join(s.Content, ","), "enabled": 1, "shared": bit(s.Shared),
		"active": 0, "total": 0, "used": 0, "avail": 0,
	}
	if !c.offline(s) {
		used, total := c.storageSpace(s, c.v("node"))
		o["active"], o["total"], o["used"], o["avail"] = 1, total, used, total-used
	}
	return o
}

func getNodeStorages(c *call) (any, error) {
	want := splitList(c.params.str("content"))
	out := []obj{}
	for _, s := range c.st.Storages {
		fits := len(want) == 0
		for _, w := range want {
			fits = fits || s.holds(w)
		}
		if name := c.params.str("storage"); name != "" && name != s.Name {
			fits = false
		}
		if !fits || !c.seesStorage(s) {
			continue
		}
		o := c.storageStatus(s)
		o["storage"] = s.Name
		if total, _ := o["total"].(int64); total > 0 {
			o["used_fraction"] = jsonNumber(float64(o["used"].(int64)) / float64(total))
		}
		out = append(out, o)
	}
	return out, nil
}

func getNodeStorage(c *call) (any, error) {
	s, err := c.storageHere()
	if err != nil {
		return nil, err
	}
	return c.storageStatus(s), nil
}

func (c *call) storageConfig(s *storage) obj {
	o := obj{"storage": s.Name, "type": s.Type, "content": strings.Join(s.Content, ",")}
	switch s.Type {
	case "dir":
		o["path"] = s.pvePath()
		if s.Shared {
			o["shared"] = 1
		}
	case "nfs": // what is on a network is shared and does not say so
		o["path"], o["server"], o["export"] = s.pvePath(), "192.0.2.30", "/srv/"+s.Name
	case "cifs":
		o["path"], o["server"], o["share"] = s.pvePath(), "192.0.2.30", s.Name
	case "pbs":
		o["server"], o["datastore"], o["username"] = "192.0.2.30", s.Name, "backup@pbs"
	case "lvmthin":
		o["vgname"], o["thinpool"] = s.Name, "data"
	default:
		o["pool"], o["sparse"] = s.zfsPool(), 1
	}
	if s.Prune != "" {
		o["prune-backups"] = s.Prune
	}
	// One file holds all of them, so the digest is one for all.
	var all strings.Builder
	for _, s := range c.st.Storages {
		all.WriteString(s.Name + s.Type + strings.Join(s.Content, ",") + s.Prune)
	}
	o["digest"] = sha1Hex(all.String())
	return o
}

func getStorageConfigs(c *call) (any, error) {
	out := []obj{}
	for _, s := range c.st.Storages {
		if t := c.params.str("type"); t != "" && t != s.Type || !c.seesStorage(s) {
			continue
		}
		out = append(out, c.storageConfig(s))
	}
	return out, nil
}

func getStorageConfig(c *call) (any, error) {
	s, err := c.storageHere()
	if err != nil {
		return nil, err
	}
	return c.storageConfig(s), nil
}
