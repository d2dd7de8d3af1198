package vzdump

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"nixmox/builtins/internal/pattern"
	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
	"nixmox/engine/retention"
)

// BackupArgs are the arguments of backup.
type BackupArgs struct {
	Node      builtin.Node      `name:"node" doc:"the node on which the guests are"`
	Guests    []builtin.VMID    `name:"guests" scope:"guest" doc:"the guests, all in one task: a node makes one backup at a time anyhow"`
	Storage   builtin.StorageID `name:"storage" doc:"the storage that takes the archives"`
	Mode      string            `name:"mode" default:"snapshot" enum:"snapshot,suspend,stop" doc:"snapshot goes on running, suspend halts, stop shuts down and starts again"`
	Compress  string            `name:"compress" default:"zstd" enum:"zstd,gzip,lzo,none" doc:"how the archives are packed; none can be verified in structure only"`
	Protected bool              `name:"protected" default:"false" doc:"Proxmox and nixmox shall never remove them"`
	Note      string            `name:"note" default:"" doc:"stands in the notes; {{guestname}}, {{vmid}}, {{node}} and {{cluster}} are filled in by Proxmox"`
	// The rest is as Proxmox has it by default; see options.go.
	ExcludePaths     []string          `name:"exclude_paths" default:"" doc:"of containers: shell globs of what to leave out; one with a leading / begins at the container's root"`
	StandardExcludes bool              `name:"standard_excludes" default:"true" doc:"of containers: leave out temporary files and pid files"`
	Fleecing         builtin.StorageID `name:"fleecing" default:"" doc:"of VMs: a fast storage that takes what the guest overwrites meanwhile, so that a slow target does not slow it down; empty: none"`
	ChangeDetection  string            `name:"change_detection" default:"" enum:"legacy,data,metadata" doc:"of containers, to a backup server: how unchanged files are known; empty: as Proxmox chooses"`
	Threads          *int              `name:"threads" default:"" doc:"threads that compress with zstd or gzip; 0: half of the node's cores; None: as the node's vzdump.conf says, or one"`
	Workers          int               `name:"workers" default:"0" doc:"of VMs: how many read at once; 0: as Proxmox chooses (16). Needs Sys.Modify on /"`
	Bandwidth        builtin.Bytes     `name:"bandwidth" default:"0" doc:"bytes a second at most, in whole KiB; 0: as the storage is configured. Needs Sys.Modify on /"`
	IONice           *int              `name:"ionice" default:"" doc:"0 to 7 with falling priority, 8 for idle; None: as vzdump.conf says, or 7. Needs Sys.Modify on /"`
	LockWait         *builtin.Duration `name:"lock_wait" default:"" doc:"how long to wait for another backup of the node, in whole minutes; None: as vzdump.conf says, or 3 hours"`
	StopWait         *builtin.Duration `name:"stop_wait" default:"" doc:"how long a guest may take to shut down in mode stop, in whole minutes; None: as vzdump.conf says, or 10"`
	Notifications    string            `name:"notifications" default:"auto" enum:"auto,legacy-sendmail,notification-system" doc:"how Proxmox notifies; it does so once a task"`
	CheckSpace       bool              `name:"check_space" default:"true" doc:"refuse, before anything is begun, where the guests' newest archives there would not fit once more; False only warns"`
}

func (a BackupArgs) keys() []string {
	keys := []string{"vzdump:" + string(a.Node)}
	for _, id := range a.Guests {
		if key := "guest:" + id.String(); !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// BackupResult is what a backup made. In a plan the fields that only the log
// can tell are not known.
type BackupResult struct {
	Task     builtin.Later[string]   `name:"task" doc:"the UPID of Proxmox's task"`
	Status   builtin.Later[string]   `name:"status" doc:"how the task ended: OK, WARNINGS: n, or why it failed"`
	Warnings builtin.Later[[]string] `name:"warnings" doc:"what is wrong though the archives were made"`
	Archives []Made                  `name:"archives" doc:"one for each guest that was backed up, in the order asked for"`
	Expected int64                   `name:"expected" volatile:"" doc:"bytes that the archives were expected to take: as much as the guest's newest one there, at most its disk where it has none; 0 on a backup server, which keeps only what is new"`
	Failed   []FailedGuest           `name:"failed" doc:"the guests that were not; only beside an error, where the archives are those that were made all the same"`
}

// Made is an archive with what only the log of its task tells.
type Made struct {
	Archive
	Mode    builtin.Later[string]   `name:"mode" doc:"snapshot, suspend or stop: the one that was used in the end"`
	LeftOut builtin.Later[[]string] `name:"left_out" doc:"disks, mount points, snapshots and passed-through devices that are not in it, in Proxmox's words where it says so"`
}

// FailedGuest is a guest without an archive.
type FailedGuest struct {
	Guest builtin.VMID `name:"guest" doc:"the guest"`
	Said  string       `name:"said" doc:"why, in Proxmox's words"`
}

// job is a backup that was checked and can be started.
type job struct {
	BackupArgs
	mark     mark
	template string
	kinds    map[builtin.VMID]string
	free     int64 // bytes, on the storage
	expected int64 // bytes, of the archives
	onServer bool  // the storage is a Proxmox Backup Server
	refused  []FailedGuest
	over     []pve.UPID // tasks that ended on account of those, and made nothing
	warnings []string
}

// handle is what is kept of a call whose task has begun: that task, after those
// that are over.
func (j *job) handle(task pve.UPID) string {
	var texts []string
	for _, upid := range append(slices.Clone(j.over), task) {
		texts = append(texts, upid.String())
	}
	return strings.Join(texts, " ")
}

func (j *job) what() string {
	noun, ids := "guests ", slices.Clone(j.Guests)
	for _, g := range j.refused {
		ids = append(ids, g.Guest)
	}
	if len(ids) == 1 {
		noun = "guest "
	}
	return "backing up " + noun + idList(ids) + " of " + string(j.Node) + " to the storage " + string(j.Storage)
}

func idList(ids []builtin.VMID) string {
	var texts []string
	for _, id := range ids {
		texts = append(texts, id.String())
	}
	return strings.Join(texts, ", ")
}

// identify makes a job of the arguments without looking at the world.
func identify(ctx context.Context, a BackupArgs) (*job, error) {
	call := builtin.CallFrom(ctx)
	j := &job{BackupArgs: a, mark: mark{Run: call.Run.ID, Place: string(call.Place), Playbook: call.Run.Playbook}}
	j.Guests = nil
	for _, id := range a.Guests {
		if !slices.Contains(j.Guests, id) {
			j.Guests = append(j.Guests, id)
		}
	}
	var err error
	switch j.template, err = notesTemplate(a.Note, j.mark); {
	case len(j.Guests) == 0:
		return nil, builtin.Faultf(builtin.Invalid, "backing up to the storage %s: no guest is named", a.Storage).
			Hinting("a list that is empty is more often a mistake than a wish; leave the call out where there is nothing to do")
	case j.mark.Run == "":
		return nil, builtin.Faultf(builtin.Invalid, "%s: outside a run, so the archives could not be told from others", j.what()).
			Hinting("backups are made in runs: nixmox run …")
	case err != nil:
		return nil, builtin.Faultf(builtin.Invalid, "%s", j.what()).Because(err).Hinting("change the note")
	}
	if said := a.wrongOption(); said != "" {
		return nil, builtin.Faultf(builtin.Invalid, "%s", j.what()).Saying(said).Hinting("nixmox doc vzdump.backup")
	}
	return j, nil
}

// check refuses what Proxmox would refuse only inside the task, and what would
// work today and stop working one day.
func (v *vzdump) check(ctx context.Context, a BackupArgs) (*job, error) {
	j, err := identify(ctx, a)
	if err != nil {
		return nil, err
	}
	if err := v.checkStorage(ctx, j); err != nil {
		return nil, err
	}
	guests, err := v.checkGuests(ctx, j)
	if err != nil {
		return nil, err
	}
	return j, v.checkSpace(ctx, j, guests)
}

func (v *vzdump) checkStorage(ctx context.Context, j *job) error {
	s, err := v.storage(ctx, j.Storage)
	if err != nil {
		return err
	}
	fault := func(kind builtin.Kind, said string) *builtin.Fault {
		return builtin.Faultf(kind, "%s", j.what()).Saying(said)
	}
	switch {
	case !slices.Contains(archiveStorages, s.Type):
		return fault(builtin.Invalid, "a storage of type "+s.Type+" cannot keep backups").
			Hinting("name one that can: %s; on a ZFS pool or a volume group that is a directory on a file system of it", strings.Join(archiveStorages, ", "))
	case !slices.Contains(s.Content, "backup"):
		return fault(builtin.Invalid, "the storage keeps "+strings.Join(s.Content, ", ")+", but no backups").
			Hinting("name another storage, or: pvesm set %s --content %s", j.Storage, strings.Join(append(slices.Clone(s.Content), "backup"), ","))
	case bool(s.Disable):
		return fault(builtin.Conflict, "the storage is disabled").Hinting("pvesm set %s --disable 0", j.Storage)
	case !s.On(string(j.Node)):
		return fault(builtin.Conflict, "only "+strings.Join(s.Nodes, ", ")+" may use the storage").Hinting("name another storage or node")
	}
	j.onServer = s.Type == "pbs"
	if limit := v.keepLimit(ctx, j, s); limit != "" && !j.Protected {
		// vzdump refuses, guest by guest, once a guest has that many archives
		// (exec_backup_task in PVE::VZDump), since nixmox never lets it prune:
		// its prune runs before anything can be verified. To pass keep-all=1
		// takes Datastore.Allocate, which a token for backups should not have.
		return fault(builtin.Conflict, "its retention is "+limit+": vzdump refuses once a guest has that many archives, and would remove unverified").
			Hinting("let nixmox prune, by marks: pvesm set %s --prune-backups keep-all=1", j.Storage)
	}
	var status pve.StorageStatus
	if err := v.c.Get(ctx, pve.Path("/nodes/%s/storage/%s/status", string(j.Node), string(j.Storage)), nil, &status); err != nil {
		return err
	}
	if !status.Active {
		return fault(builtin.Unreachable, "the storage is not active on "+string(j.Node)).Hinting("is it mounted, and its server up? See: pvesm status --storage %s", j.Storage)
	}
	j.free = int64(status.Avail)
	if total := int64(status.Total); total > 0 && j.free < total/50 {
		j.warnings = append(j.warnings, fmt.Sprintf("the storage %s is nearly full: %s of %s are left", j.Storage, roundedSize(j.free), roundedSize(total)))
	}
	return nil
}

// keepLimit is the retention that the storage or, where it has none, the
// node's vzdump.conf would enforce; empty when everything is kept.
func (v *vzdump) keepLimit(ctx context.Context, j *job, s pve.Storage) string {
	text := s.PruneBackups
	if text == "" {
		var defaults struct {
			Prune pve.Text `json:"prune-backups"`
		}
		if v.c.Get(ctx, pve.Path("/nodes/%s/vzdump/defaults", string(j.Node)), nil, &defaults) != nil {
			return "" // then vzdump itself has the last word, as always
		}
		text = string(defaults.Prune)
	}
	if rules, err := retention.ParseRules(text); err == nil && rules.KeepsAll() {
		return ""
	}
	return text
}

// archiveStorages are the types of storage that can keep backups, as their
// plugins in PVE::Storage declare (plugindata).
var archiveStorages = []string{"dir", "btrfs", "nfs", "cifs", "cephfs", "glusterfs", "pbs"}

// checkGuests gives the guests of the job, in its order.
func (v *vzdump) checkGuests(ctx context.Context, j *job) ([]pve.Guest, error) {
	all, err := v.c.Guests(ctx)
	if err != nil {
		return nil, err
	}
	var guests []pve.Guest
	j.kinds = map[builtin.VMID]string{}
	var missing []builtin.VMID
	var elsewhere []string
	for _, id := range j.Guests {
		i, there := slices.BinarySearchFunc(all, id, func(g pve.Guest, id builtin.VMID) int { return int(g.VMID) - int(id) })
		switch {
		case !there:
			missing = append(missing, id)
		case all[i].Node != string(j.Node):
			elsewhere = append(elsewhere, fmt.Sprintf("%d is on %s", id, all[i].Node))
		default:
			guests = append(guests, all[i])
			j.kinds[id] = pve.KindOf(all[i].Type)
		}
	}
	if missing != nil {
		return nil, builtin.Faultf(builtin.NotFound, "%s", j.what()).Saying("there is no guest " + idList(missing)).
			Hinting("proxmox.guests() lists them; the token sees only guests on which it has VM.Audit")
	}
	if elsewhere != nil {
		return nil, builtin.Faultf(builtin.Conflict, "%s", j.what()).Saying(strings.Join(elsewhere, ", ")).
			Hinting("was it migrated? Ask proxmox.guests() again and back it up there")
	}
	return guests, nil
}

// logWarnings shows warnings beside the playbook's own lines.
func (j *job) logWarnings(call *builtin.Call, warnings []string) {
	if call.Run.Log == nil {
		return
	}
	for _, w := range warnings {
		call.Run.Log(*call, "warning", string(j.Node)+": "+w)
	}
}

func (v *vzdump) previewBackup(ctx context.Context, a BackupArgs) (BackupResult, error) {
	j, err := v.check(ctx, a)
	if err != nil {
		return BackupResult{}, err
	}
	call := builtin.CallFrom(ctx)
	from := call.Place
	j.logWarnings(call, j.warnings)
	result := BackupResult{Task: builtin.PlannedBy[string](call), Status: builtin.PlannedBy[string](call), Warnings: builtin.PlannedBy[[]string](call), Expected: j.expected}
	for _, id := range j.Guests {
		m := Made{Mode: builtin.Later[string]{From: from}, LeftOut: builtin.Later[[]string]{From: from}}
		m.Archive = Archive{
			VolID: builtin.PlannedOneOf[builtin.VolID](call, "guest "+id.String()), Guest: id, Kind: j.kinds[id], Node: a.Node, Storage: a.Storage,
			Time: call.Run.Now().UTC(), Format: j.format(id), Protected: a.Protected,
			Ours: true, Run: j.mark.Run, Playbook: j.mark.Playbook, Consistency: builtin.Later[string]{From: from}, mark: j.mark,
		}
		result.Archives = append(result.Archives, m)
		if plan := call.Run.Planned; plan != nil {
			plan.Add(plannedArchives, m.Archive)
			plan.Add(plannedKey(m.VolID), m.Archive)
		}
	}
	return result, nil
}

// format is what the storage's list will call the archive of a guest.
func (j *job) format(id builtin.VMID) string {
	isVM := j.kinds[id] == "vm"
	switch {
	case j.onServer && isVM:
		return "pbs-vm"
	case j.onServer:
		return "pbs-ct"
	}
	ending := map[string]string{"zstd": ".zst", "gzip": ".gz", "lzo": ".lzo"}[j.Compress]
	if isVM {
		return "vma" + ending
	}
	return "tar" + ending
}

// backup runs the task. A guest that the token may not back up ends it before
// the first guest is begun (exec_backup in PVE::VZDump checks them one by one):
// then it is run once more without that guest, which counts as failed.
func (v *vzdump) backup(ctx context.Context, a BackupArgs) (BackupResult, error) {
	j, err := v.check(ctx, a)
	if err != nil {
		return BackupResult{}, err
	}
	for {
		upid, err := v.start(ctx, j)
		if err != nil {
			return BackupResult{}, err
		}
		if err := builtin.Hold(ctx, j.handle(upid)); err != nil {
			return BackupResult{}, fmt.Errorf("%s: the task %s has begun and goes on, but could not be recorded: %w", j.what(), upid, err)
		}
		result, err := v.follow(ctx, j, upid)
		if !j.refuse(upid, err) {
			return result, err
		}
	}
}

var refusedLine = pattern.Of(`403 Permission check failed \(/vms/(\d+), `)

// refuse takes from the job the guest on account of which nothing was begun.
// It reports whether that leaves something else to back up.
func (j *job) refuse(task pve.UPID, err error) bool {
	f, ok := errors.AsType[*builtin.Fault](err)
	if !ok || f.Kind != builtin.Forbidden || len(j.Guests) < 2 {
		return false
	}
	m := refusedLine().FindStringSubmatch(f.Said)
	if m == nil {
		return false
	}
	i := slices.Index(j.Guests, vmid(m[1]))
	if i < 0 {
		return false
	}
	j.refused = append(j.refused, FailedGuest{Guest: j.Guests[i], Said: "the token may not back it up: it lacks VM.Backup on /vms/" + m[1]})
	j.Guests = slices.Delete(j.Guests, i, i+1)
	j.over = append(j.over, task)
	return true
}

// follow waits for the task's end, tells how far it is, and then looks at what
// it made.
func (v *vzdump) follow(ctx context.Context, j *job, upid pve.UPID) (BackupResult, error) {
	log := &taskLog{want: len(j.Guests)}
	end, err := v.c.Wait(ctx, upid, func(_ int, line string) {
		if p, ok := log.Line(line); ok {
			builtin.Report(ctx, p)
		}
	})
	if err != nil {
		if end.ExitStatus == "" || errors.Is(err, context.Canceled) {
			return BackupResult{}, j.about(err)
		}
		// Half a log would tell lies; the list and the marks must do.
		log, end.Log = &taskLog{}, nil
		j.warnings = append(j.warnings, "the log of the task could not be read: "+err.Error())
	}
	return v.readBack(ctx, j, end, log)
}

// about adds to an error whose backup it ended.
func (j *job) about(err error) error {
	fault, ok := errors.AsType[*builtin.Fault](err)
	if !ok {
		return fmt.Errorf("%s: %w", j.what(), err)
	}
	f := *fault
	f.What = j.what() + ": " + f.What
	return &f
}
