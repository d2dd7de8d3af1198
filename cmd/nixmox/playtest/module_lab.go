package playtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"nixmox/builtins/lab"
	"nixmox/builtins/lab/command"
	"nixmox/engine/builtin"
)

func labModule() builtin.Module {
	return builtin.NewModule("lab", "The simulated estate of the test, fresh for each: change it, and look at what a playbook left in it.",
		newChange("guest", "Change a guest, or add one. What is not given stays, or is as usual.",
			`lab.guest(200, kind = "lxc", node = "pve2", name = "new", tags = ["web"])`, (*session).changeGuest),
		newChange("remove", "Remove a guest. Its archives stay.", `lab.remove(101)`, (*session).removeGuest),
		newRead("guests", "All guests, by id.", `check.eq(len(lab.guests()), 14)`, (*session).guests),
		newChange("fault", "Have something go wrong from now on, as --lab-fault does.", `lab.fault("vzdump:101=fail")`, (*session).fault),
		newChange("heal", "Have everything go well again from now on.", `lab.heal()`, (*session).heal),
		newChange("clock", "Set the clock, or move it. It returns the time then. Without arguments it only looks.",
			`lab.clock(advance = "3d")`, (*session).clock),
		newChange("archive", "Put an older copy of a guest on a storage.",
			`old = lab.archive(101, "backup", age = "40d", verified = True)`, (*session).addArchive),
		newRead("archives", "The archives on a storage, as their files say; of one guest, if one is named.",
			`check.eq(len(lab.archives("backup", guest = 101)), 10)`, (*session).archives),
		newChange("damage", "Spoil the file of an archive.",
			`lab.damage(lab.archives("backup")[-1].volid, "flip")`, (*session).damage),
		newChange("notes", "Write the notes of an archive.",
			`lab.notes(lab.archives("backup")[-1].volid, "not mine any more")`, (*session).notes),
		newChange("protect", "Protect an archive, or no longer.",
			`lab.protect(lab.archives("backup")[-1].volid)`, (*session).protect),
		newChange("drop", "Remove an archive, protected or not.",
			`lab.drop(lab.archives("backup")[-1].volid)`, (*session).drop),
		newChange("storage", "Change what a storage keeps by itself, and how full it is.",
			`lab.storage("backup", prune = "keep-last=3")`, (*session).storage),
		newChange("command", "Give a command of the lab (zfs, zpool) on a node, as another hand would.",
			`check.eq(lab.command(["zfs", "snapshot", "rpool/share@manual"]).exit, 0)`, (*session).command),
		newRead("tasks", "The tasks that Proxmox remembers, oldest first.",
			`check.eq(len(lab.tasks(kind = "vzdump")), 0)`, (*session).tasks),
	)
}

type nothing struct{}

// GuestArgs are the arguments of guest.
type GuestArgs struct {
	Guest    builtin.VMID      `name:"guest" doc:"its id"`
	Node     *string           `name:"node" default:"" doc:"the node it is on"`
	Kind     string            `name:"kind" default:"" enum:"qemu,lxc" doc:"qemu or lxc; only of a new guest, qemu if not given"`
	Status   string            `name:"status" default:"" enum:"running,stopped" doc:"running or stopped"`
	Tags     *[]string         `name:"tags" default:"" doc:"its tags"`
	Name     *string           `name:"name" default:"" doc:"its name"`
	Template *bool             `name:"template" default:"" doc:"whether it is a template"`
	Lock     *string           `name:"lock" default:"" doc:"its lock, such as backup or migrate; - is none"`
	Pool     *string           `name:"pool" default:"" doc:"its pool; - is none"`
	Config   map[string]string `name:"config" default:"" doc:"entries of its configuration; an empty one is removed"`
}

func (s *session) changeGuest(_ context.Context, a GuestArgs) (nothing, error) {
	c := lab.GuestChange{Kind: a.Kind, Node: a.Node, Name: a.Name, Template: a.Template, Lock: orNone(a.Lock), Pool: orNone(a.Pool), Config: a.Config}
	if a.Status != "" {
		running := a.Status == "running"
		c.Running = &running
	}
	if a.Tags != nil {
		c.Tags = append([]string{}, *a.Tags...)
	}
	return nothing{}, s.world.Lab.ChangeGuest(int(a.Guest), c)
}

// orNone: an argument that is empty is one that was not given.
func orNone(text *string) *string {
	if text != nil && *text == "-" {
		return new(string)
	}
	return text
}

type guestArg struct {
	Guest builtin.VMID `name:"guest" doc:"its id"`
}

func (s *session) removeGuest(_ context.Context, a guestArg) (nothing, error) {
	return nothing{}, s.world.Lab.RemoveGuest(int(a.Guest))
}

// Guest is a guest of the lab.
type Guest struct {
	ID       int               `name:"id" doc:"its id"`
	Kind     string            `name:"kind" doc:"qemu or lxc"`
	Node     string            `name:"node" doc:"the node it is on"`
	Name     string            `name:"name" doc:"its name"`
	Status   string            `name:"status" doc:"running or stopped"`
	Template bool              `name:"template" doc:"whether it is a template"`
	Lock     string            `name:"lock" doc:"its lock, or empty"`
	Pool     string            `name:"pool" doc:"its pool, or empty"`
	Tags     []string          `name:"tags" doc:"its tags"`
	Config   map[string]string `name:"config" doc:"its configuration"`
}

func (s *session) guests(context.Context, nothing) ([]Guest, error) {
	out := []Guest{}
	for _, g := range s.world.Lab.Guests() {
		status := "stopped"
		if g.Running {
			status = "running"
		}
		out = append(out, Guest{ID: g.ID, Kind: g.Kind, Node: g.Node, Name: g.Name, Status: status, Template: g.Template, Lock: g.Lock, Pool: g.Pool,
			Tags: append([]string{}, g.Tags...), Config: g.Config})
	}
	return out, nil
}

type commandArgs struct {
	Argv []string `name:"argv" doc:"its name and arguments"`
	Node string   `name:"node" default:"" doc:"where; the node that nixmox runs on if empty"`
}

// Ended is how a command ended.
type Ended struct {
	Exit   int      `name:"exit" doc:"its exit status"`
	Lines  []string `name:"lines" doc:"what it wrote"`
	Stderr string   `name:"stderr" doc:"what it complained of"`
}

func (s *session) command(_ context.Context, a commandArgs) (Ended, error) {
	if len(a.Argv) == 0 || !command.Is(a.Argv[0]) {
		return Ended{}, builtin.Faultf(builtin.Invalid, "lab.command").Saying(fmt.Sprintf("%q is no command of the lab", a.Argv)).Hinting("there are %s", strings.Join(command.Names(), " and "))
	}
	out, complaints, exit, err := s.world.Lab.Command(a.Node, a.Argv...)
	e := Ended{Exit: exit, Lines: []string{}, Stderr: complaints}
	for line := range strings.Lines(out) {
		e.Lines = append(e.Lines, strings.TrimSuffix(line, "\n"))
	}
	return e, err
}

type faultArgs struct {
	Fault string `name:"fault" doc:"TARGET[:ID]=KIND[*COUNT]; nixmox lab --help lists them"`
}

func (s *session) fault(_ context.Context, a faultArgs) (nothing, error) {
	f, err := lab.ParseFault(a.Fault)
	if err != nil {
		return nothing{}, err
	}
	return nothing{}, s.world.Lab.AddFault(f)
}

func (s *session) heal(context.Context, nothing) (nothing, error) {
	s.world.Lab.ClearFaults()
	return nothing{}, nil
}

type clockArgs struct {
	Advance builtin.Duration `name:"advance" default:"" doc:"how far to move it, with everything that happens meanwhile"`
	Back    builtin.Duration `name:"back" default:"" doc:"how far to turn it back"`
	Set     string           `name:"set" default:"" doc:"a time as 2026-06-17T12:00:00Z"`
}

func (s *session) clock(_ context.Context, a clockArgs) (time.Time, error) {
	l := s.world.Lab
	to := l.Now()
	if a.Set != "" {
		t, err := time.Parse(time.RFC3339, a.Set)
		if err != nil {
			return to, builtin.Faultf(builtin.Invalid, "setting the lab's clock").Because(err).Hinting("%q is a time", Begin.Format(time.RFC3339))
		}
		to = t.UTC()
	}
	if a != (clockArgs{}) {
		if err := l.SetTime(to.Add(time.Duration(a.Advance) - time.Duration(a.Back))); err != nil {
			return to, err
		}
	}
	return l.Now().Truncate(time.Millisecond), nil
}

// ArchiveArgs are the arguments of archive.
type ArchiveArgs struct {
	Guest     builtin.VMID     `name:"guest" doc:"whose copy"`
	Storage   string           `name:"storage" doc:"the storage"`
	Age       builtin.Duration `name:"age" doc:"how long ago its backup began; the lab has its own of some days at 02:00 and later"`
	Ours      bool             `name:"ours" default:"true" doc:"whether it has nixmox's mark"`
	Verified  bool             `name:"verified" default:"false" doc:"whether it is marked as verified"`
	Protected bool             `name:"protected" default:"false" doc:"whether it is protected in Proxmox"`
	Notes     string           `name:"notes" default:"" doc:"further notes"`
}

// Archive is an archive on a storage of the lab.
type Archive struct {
	VolID     string    `name:"volid" doc:"the volume id"`
	Guest     int       `name:"guest" doc:"its guest"`
	Node      string    `name:"node" doc:"the first node that sees it"`
	Time      time.Time `name:"time" doc:"when its backup began"`
	Size      int64     `name:"size" doc:"bytes"`
	Ours      bool      `name:"ours" doc:"whether it has nixmox's mark"`
	Verified  bool      `name:"verified" doc:"whether it is marked as verified"`
	Protected bool      `name:"protected" doc:"whether it is protected in Proxmox"`
	Notes     string    `name:"notes" doc:"all its notes"`
}

// addArchive: the age is taken from the full minute, so that a moment more or
// less, which a test takes by itself, makes no other name.
func (s *session) addArchive(_ context.Context, a ArchiveArgs) (Archive, error) {
	l := s.world.Lab
	made, err := l.AddArchive(lab.OldArchive{Guest: int(a.Guest), Storage: a.Storage, Protected: a.Protected, Notes: a.Notes,
		Begin: l.Now().Truncate(time.Minute).Add(-time.Duration(a.Age))})
	if err != nil {
		return Archive{}, err
	}
	if a.Ours {
		mark := lab.HistoryMark
		if a.Verified {
			text, err := os.ReadFile(made.File)
			if err != nil {
				return Archive{}, err
			}
			sum := sha256.Sum256(text)
			mark += " verified=" + made.Begin.Format(time.RFC3339) + " sha256=" + hex.EncodeToString(sum[:])
		}
		made.Notes = strings.TrimSuffix(mark+"\n"+a.Notes, "\n")
		if err := l.SetNotes(made.VolID, made.Notes); err != nil {
			return Archive{}, err
		}
	}
	return archiveOf(made), nil
}

// archiveOf reads the mark as anybody can who looks at the notes: it ends the
// first line.
func archiveOf(a lab.ArchiveState) Archive {
	first, _, _ := strings.Cut(a.Notes, "\n")
	_, mark, ours := strings.Cut(first, "nixmox: v=1 ")
	return Archive{VolID: a.VolID, Guest: a.Guest, Node: a.Node, Time: a.Begin, Size: a.Size,
		Ours: ours, Verified: ours && strings.Contains(mark, " verified="), Protected: a.Protected, Notes: a.Notes}
}

type archivesArgs struct {
	Storage string        `name:"storage" doc:"the storage"`
	Guest   *builtin.VMID `name:"guest" default:"" doc:"only of this guest"`
}

func (s *session) archives(_ context.Context, a archivesArgs) ([]Archive, error) {
	all, err := s.world.Lab.Archives(a.Storage)
	if err != nil {
		return nil, err
	}
	out := []Archive{}
	for _, x := range all {
		if a.Guest == nil || int(*a.Guest) == x.Guest {
			out = append(out, archiveOf(x))
		}
	}
	slices.SortStableFunc(out, func(a, b Archive) int { return a.Time.Compare(b.Time) })
	return out, nil
}

type damageArgs struct {
	VolID string `name:"volid" doc:"the archive"`
	How   string `name:"how" enum:"truncate,flip" doc:"truncate cuts its end off, flip turns one bit"`
}

func (s *session) damage(_ context.Context, a damageArgs) (nothing, error) {
	return nothing{}, s.world.Lab.Damage(a.VolID, a.How)
}

type notesArgs struct {
	VolID string `name:"volid" doc:"the archive"`
	Notes string `name:"notes" doc:"its notes from now on"`
}

func (s *session) notes(_ context.Context, a notesArgs) (nothing, error) {
	return nothing{}, s.world.Lab.SetNotes(a.VolID, a.Notes)
}

type protectArgs struct {
	VolID string `name:"volid" doc:"the archive"`
	On    bool   `name:"on" default:"true" doc:"False takes the protection away"`
}

func (s *session) protect(_ context.Context, a protectArgs) (nothing, error) {
	return nothing{}, s.world.Lab.Protect(a.VolID, a.On)
}

type dropArgs struct {
	VolID string `name:"volid" doc:"the archive"`
}

func (s *session) drop(_ context.Context, a dropArgs) (nothing, error) {
	return nothing{}, s.world.Lab.RemoveArchive(a.VolID)
}

type storageArgs struct {
	Storage string         `name:"storage" doc:"the storage"`
	Prune   *string        `name:"prune" default:"" doc:"its prune-backups, such as keep-last=3"`
	Used    *builtin.Bytes `name:"used" default:"" doc:"bytes in use beside the lab's own files"`
}

func (s *session) storage(_ context.Context, a storageArgs) (nothing, error) {
	return nothing{}, s.world.Lab.SetStorage(a.Storage, a.Prune, (*int64)(a.Used))
}

type tasksArgs struct {
	Kind string `name:"kind" default:"" doc:"only of this kind, such as vzdump or imgdel"`
}

// Task is a task of the lab.
type Task struct {
	UPID   string   `name:"upid" doc:"its id"`
	Node   string   `name:"node" doc:"where it runs"`
	Kind   string   `name:"kind" doc:"vzdump, imgdel, qmstart …"`
	ID     string   `name:"id" doc:"what it is about: a guest, mostly"`
	Status string   `name:"status" doc:"OK, WARNINGS: n, what went wrong, or running"`
	Log    []string `name:"log" doc:"its log"`
}

func (s *session) tasks(_ context.Context, a tasksArgs) ([]Task, error) {
	out := []Task{}
	for _, t := range s.world.Lab.Tasks() {
		if a.Kind != "" && a.Kind != t.Kind {
			continue
		}
		if t.End.IsZero() {
			t.Status = "running"
		}
		out = append(out, Task{UPID: t.UPID, Node: t.Node, Kind: t.Kind, ID: t.ID, Status: t.Status, Log: append([]string{}, t.Log...)})
	}
	return out, nil
}
