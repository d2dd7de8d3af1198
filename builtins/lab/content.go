package lab

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"nixmox/builtins/lab/archive"
)

// access fails unless the asker may see a volume (check_volume_access of
// PVE::Storage).
func (c *call) access(v *volume) error {
	path := "/storage/" + v.store.Name
	if c.may(c.who, path, "Datastore.Allocate") {
		return nil
	}
	switch v.content {
	case "iso", "vztmpl":
		return c.need(c.who, path, "Datastore.AllocateSpace", "Datastore.Audit")
	case "backup":
		if v.vmid == 0 {
			return &apiError{Status: 500, Reason: "missing privileges to access " + v.id()}
		}
		return c.needBackup(v)
	}
	return c.need(c.who, path, "Datastore.Allocate")
}

// needBackup is what handling a backup of a guest needs.
func (c *call) needBackup(v *volume) error {
	if err := c.need(c.who, "/storage/"+v.store.Name, "Datastore.AllocateSpace"); err != nil {
		return err
	}
	return c.need(c.who, fmt.Sprintf("/vms/%d", v.vmid), "VM.Backup")
}

func getContent(c *call) (any, error) {
	s, err := c.activeStorage()
	if err != nil {
		return nil, err
	}
	want := splitList(c.params.str("content"))
	vmid := int(c.params.int("vmid", 0))
	out := []obj{}
	for _, v := range c.volumes(s, c.v("node")) {
		if len(want) > 0 && !contains(want, v.content) || vmid > 0 && v.vmid != vmid || c.access(v) != nil {
			continue
		}
		out = append(out, v.entry())
	}
	return out, nil
}

// entry is a volume in a list.
func (v *volume) entry() obj {
	o := obj{"volid": v.id(), "content": v.content, "format": v.format, "size": v.size}
	if v.store.zfsPool() == "" { // whose plugin does not tell
		o["ctime"] = v.ctime
	}
	if v.vmid > 0 {
		o["vmid"] = v.vmid
	}
	switch v.content {
	case "backup":
		if v.subtype != "" {
			o["subtype"] = v.subtype
		}
		if v.notes != "" {
			o["notes"] = v.notes
		}
		if v.protected {
			o["protected"] = 1
		}
		if v.verified != "" {
			o["verification"] = obj{"state": v.verified, "upid": "UPID:pbs:00000A5E:000003D1:00000012:" + fmt.Sprintf("%08X", v.ctime) + ":verificationjob:" + v.store.Name + ":root@pam:"}
		}
	case "images", "rootdir":
		switch {
		case v.parent != "":
			o["parent"] = v.parent
		case v.store.zfsPool() != "":
			o["parent"] = nil
		default:
			o["parent"], o["used"] = nil, v.size/3
		}
	}
	return o
}

// volumeHere finds the volume that a request names, by its name or by its id
// (real_volume_id of PVE::API2::Storage::Content). It need not exist.
func (c *call) volumeHere() (*volume, error) {
	name := c.v("volume")
	if store, rest, ok := strings.Cut(name, ":"); ok {
		if wrong := storageFormat(store); wrong != "" || rest == "" {
			return nil, badParameter("volume", "unable to parse volume ID '%s'\n", name)
		}
		if store != c.v("storage") {
			return nil, badParameter("volume", "storage ID missmatch (%s != %s)\n", store, c.v("storage"))
		}
		name = rest
	}
	s, err := c.storageHere()
	if err != nil {
		return nil, err
	}
	return c.parseVolume(s, c.v("node"), name)
}

func getVolume(c *call) (any, error) {
	v, err := c.volumeHere()
	if err != nil {
		return nil, err
	}
	if err := c.access(v); err != nil {
		return nil, err
	}
	if !v.store.keepsFiles() {
		for _, d := range c.disks(v.store, c.v("node")) {
			if d.name == v.name {
				o := obj{"path": v.store.devicePath(v.id()), "size": d.size, "used": d.size / 3, "format": d.format}
				if z, ok := c.zvolOf("", v.id()); ok {
					o["used"], _ = strconv.ParseInt(c.property(c.v("node"), c.now(), "usedbydataset", z.dataset), 10, 64)
				}
				return o, nil
			}
		}
	} else if !c.offline(v.store) && v.look() {
		// The size is qemu-img's, which counts sectors; the format is what it
		// makes of any file it does not know.
		o := obj{"path": v.pvePath(), "size": (v.size + 511) / 512 * 512, "used": v.used(), "format": "raw"}
		if v.store.Type == "pbs" {
			o["size"], o["used"], o["format"] = v.size, v.size, v.format
		}
		if v.content == "backup" {
			o["protected"] = bit(v.protected)
			if notes, err := os.ReadFile(v.file + ".notes"); err == nil {
				o["notes"] = string(notes)
			}
		}
		return o, nil
	}
	return nil, serverError("volume_size_info on '%s' failed - no format", v.id())
}

func (v *volume) pvePath() string {
	_, base, _ := strings.Cut(v.name, "/")
	if v.store.Type == "pbs" {
		return "backup@pbs@192.0.2.30:" + v.store.Name + ":" + base
	}
	dir := map[string]string{"backup": "dump", "iso": "template/iso", "vztmpl": "template/cache"}[v.content]
	return v.store.pvePath() + "/" + dir + "/" + base
}

func putVolume(c *call) (any, error) {
	v, err := c.volumeHere()
	if err != nil {
		return nil, err
	}
	if err := c.access(v); err != nil {
		return nil, err
	}
	if c.offline(v.store) {
		return nil, serverError("%s", v.store.offlineError())
	}
	for _, what := range []string{"notes", "protected"} {
		if c.params.has(what) && v.content != "backup" {
			return nil, serverError("only backups support attribute '%s'", what)
		}
	}
	if !v.look() {
		return nil, serverError("unable to update attributes of '%s': no such volume", v.id())
	}
	if c.params.has("notes") {
		if err := v.setNotes(c.params.str("notes")); err != nil {
			return nil, serverError("unable to write the notes of '%s'", v.id())
		}
	}
	if c.params.has("protected") {
		if err := v.protect(c.params.bool("protected", false)); err != nil {
			return nil, serverError("unable to change the protection of '%s'", v.id())
		}
	}
	return nil, nil
}

// setNotes keeps notes beside the archive, as the dir plugin does; none at all
// are no file.
func (v *volume) setNotes(notes string) error {
	if notes == "" {
		if err := os.Remove(v.file + ".notes"); err != nil && !os.IsNotExist(err) {
			return err
		}
		return nil
	}
	return writeFile(v.file+".notes", []byte(notes), false)
}

func (v *volume) protect(on bool) error {
	if on {
		return writeFile(v.file+".protected", nil, false)
	}
	if err := os.Remove(v.file + ".protected"); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

func deleteVolume(c *call) (any, error) {
	v, err := c.volumeHere()
	if err != nil {
		return nil, err
	}
	if v.content == "backup" && v.vmid > 0 {
		err = c.needBackup(v)
	} else {
		err = c.need(c.who, "/storage/"+v.store.Name, "Datastore.Allocate")
	}
	if err != nil {
		return nil, err
	}
	id := v.store.Name
	if v.vmid > 0 {
		id = fmt.Sprintf("%d@%s", v.vmid, v.store.Name)
	}
	t := c.startTask(c.v("node"), "imgdel", id, c.who, time.Second)
	t.Volume = v.id()
	delay := time.Duration(c.params.int("delay", 0)) * time.Second
	if delay < time.Second {
		return t.upid(), nil
	}
	// The request waits for the task; having a clock of its own, the lab does
	// so in no time. Deleting takes a second, which every delay allows.
	c.runUntil(t)
	if t.Status != "OK" {
		return nil, serverError("%s", t.Status)
	}
	return nil, nil
}

// runDelete ends an imgdel task.
func (l *Lab) runDelete(t *task) string {
	store, name, _ := strings.Cut(t.Volume, ":")
	s := l.st.storage(store)
	if s == nil {
		return fmt.Sprintf("storage '%s' does not exist", store)
	}
	v, err := l.parseVolume(s, t.Node, name)
	switch {
	case err != nil:
		return strings.TrimPrefix(err.Error(), "500 ")
	case l.offline(s):
		return s.offlineError()
	case !s.keepsFiles():
		return fmt.Sprintf("can't remove '%s': it is in use by a guest", v.id())
	}
	there := v.look()
	if v.protected {
		return fmt.Sprintf("cannot remove protected volume '%s' on '%s'", v.name, s.Name)
	}
	if !there {
		// As recorded: what is not there counts as removed.
		t.say("disk image '%s' does not exist", v.pvePath())
	}
	if err := v.remove(); err != nil {
		return fmt.Sprintf("unlink '%s' failed", v.pvePath())
	}
	t.say("Removed volume '%s'", v.id())
	return "OK"
}

// getExtractConfig reads the configuration out of the real archive.
func getExtractConfig(c *call) (any, error) {
	v, err := c.backupVolume(c.params.str("volume"))
	if err != nil {
		return nil, err
	}
	f, err := os.Open(v.file)
	if err != nil {
		return nil, serverError("volume '%s' does not exist", v.id())
	}
	defer func() { _ = f.Close() }() // it was only read
	config, err := archive.ReadConfig(io.LimitReader(f, 64*mib), v.fileFormat())
	if err != nil {
		return nil, serverError("unable to extract the configuration of '%s': %v", v.id(), err)
	}
	return config, nil
}
