// Package lab is a simulated estate: a Proxmox VE cluster that answers the real
// API over TLS, with guests, storages whose archives are real files, tasks that
// take time, and faults on request; and the commands that an administrator of
// its nodes has, zfs and zpool. Both see one estate: what its Proxmox does to
// the volumes of guests it does by these commands, as Proxmox itself does, on
// the ZFS of the node (package zfs).
//
// The commands are the program that opened the lab, by other names, in a folder
// where nothing else is. Started so, it is a client of package command, which
// asks the opened lab over a socket in the estate's folder.
//
// It exists so that playbooks and the rest of nixmox can be tried where nothing
// can be broken. It must know nothing of nixmox: it is what nixmox is held
// against, and answers as recordings of a real Proxmox VE 9.2.11 do. It never
// touches anything outside its folder and never starts a program.
package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"nixmox/builtins/lab/archive"
)

// Options say where an estate lives and how it behaves.
type Options struct {
	Dir     string    // the estate's folder, made with mode 0700, kept from run to run
	Fresh   bool      // start anew: what the lab itself made in Dir is removed first
	Begin   time.Time // the time at which a new estate begins; now when zero
	Brief   bool      // it need not outlive a power cut, so nothing waits for the disk
	History string    // a folder on the same file system, whose files new estates share as their older archives; none when empty
	Clock   ClockMode // how time passes while tasks run
	Faults  []Fault   // what goes wrong, see ParseFault
	Addr    string    // where to listen; "127.0.0.1:0" when empty
	// Strike decides, before Faults do, whether something goes wrong now: for
	// tests that choose the moment. target and id are those of a Fault, the id
	// of api being METHOD /PATH; the kind must be one of kinds. It is asked at
	// every chance, by several goroutines, mostly with the lab held: it must not
	// call the lab.
	Strike  func(target, id string, kinds []string) *Fault
	Observe func(Exchange) // told of every request and its answer, from several goroutines; for tests
}

// An Endpoint is what a client needs to talk to a started lab.
type Endpoint struct {
	URL         string // https://127.0.0.1:PORT
	TokenID     string // nixmox@pve!lab: what the functions of nixmox need, and no more
	TokenSecret string
	Fingerprint string // SHA-256 of the certificate, as Proxmox shows it

	RootTokenID     string // root@pam!lab: everything a token of root may
	RootTokenSecret string
	RootPassword    string // of root@pam, for /access/ticket

	Commands string // the folder of its commands, see CommandDir

	// Mounts says where the files of storages really are: by the storage's name
	// when it is shared, by "node/storage" when each node has its own.
	Mounts map[string]string
}

// A Lab is one opened estate. Its methods may be called from any goroutine.
type Lab struct {
	opt     Options
	folder  *folder
	secrets secrets
	cert    certificate
	faults  *faults
	packer  archive.Compressor

	mu       sync.Mutex // everything below
	st       *state
	machines map[string]*machine // the ZFS of each node
	replaced []string            // files that the next state will not name
	commands commands
	lastPoll time.Time     // real time of the last request, for ClockAuto
	idle     time.Duration // idleAfter, but in tests
	url      string
	server   *http.Server
	served   error // why the server ended, if not by Close
	closed   bool

	wake    chan struct{}
	stop    context.CancelFunc
	stopped <-chan struct{}
	done    sync.WaitGroup
}

// Open loads the estate in o.Dir, or makes one. Only one process has it open
// at a time; another gets a *BusyError.
func Open(o Options) (_ *Lab, err error) {
	if o.Dir == "" {
		return nil, errors.New("opening a lab: no folder given: set Dir")
	}
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	f, err := openFolder(o.Dir, o.Fresh)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	l := &Lab{opt: o, folder: f, faults: newFaults(o), idle: idleAfter, wake: make(chan struct{}, 1)}
	if l.secrets, err = loadSecrets(f); err != nil {
		return nil, err
	}
	if l.cert, err = loadCertificate(f); err != nil {
		return nil, err
	}
	if l.st, err = loadState(f); err != nil {
		return nil, err
	}
	if l.st == nil {
		// Without a state there are no storages either: what is in the folder is
		// what a first opening left that was cut short.
		if err := os.RemoveAll(f.path(mountsDir)); err != nil {
			return nil, fmt.Errorf("clearing the lab in %s: %w", f.dir, err)
		}
		if o.Begin.IsZero() {
			l.st = newEstate(time.Now())
		} else {
			l.st = newEstate(o.Begin)
			l.st.Offset = time.Until(o.Begin)
		}
		if err := l.makeStorages(); err != nil {
			return nil, err
		}
	}
	// The clock's file is written at every jump, the state is not: after a
	// crash the file is ahead, and time must not go back.
	if d, err := readOffset(f.path(clockFile)); err == nil {
		l.st.Offset = max(l.st.Offset, d)
	}
	l.applyGuestFaults()
	if err := l.loadMachines(); err != nil {
		return nil, err
	}
	if err := l.save(); err != nil {
		return nil, err
	}
	if err := l.writeClock(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.stop, l.stopped = cancel, ctx.Done()
	if err := l.startCommands(); err != nil {
		cancel()
		return nil, err
	}
	l.done.Go(func() { l.pump(ctx) })
	return l, nil
}

// Start serves the Proxmox API and says how to reach it.
func (l *Lab) Start() (Endpoint, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return Endpoint{}, errors.New("starting the lab: it is closed")
	}
	if l.server == nil {
		ln, err := net.Listen("tcp", l.opt.Addr)
		if err != nil {
			return Endpoint{}, fmt.Errorf("starting the lab on %s: %w (choose another address)", l.opt.Addr, err)
		}
		l.url = "https://" + ln.Addr().String()
		l.server = l.newServer()
		server := l.server
		l.done.Go(func() {
			if err := server.ServeTLS(ln, "", ""); !errors.Is(err, http.ErrServerClosed) {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.served = fmt.Errorf("serving the lab on %s: %w", ln.Addr(), err)
			}
		})
	}
	return Endpoint{
		URL: l.url, Fingerprint: l.cert.fingerprint,
		TokenID: mainToken, TokenSecret: l.secrets.Token,
		RootTokenID: rootToken, RootTokenSecret: l.secrets.RootToken, RootPassword: l.secrets.Password,
		Commands: l.CommandDir(), Mounts: l.mounts(),
	}, nil
}

// Close ends the server, waits for what it was doing and saves the estate.
// Tasks that still run go on when the lab is opened again.
func (l *Lab) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	server := l.server
	l.mu.Unlock()

	l.stop()
	errs := []error{l.stopCommands()}
	if server != nil {
		// Idle connections are closed at once, answers under way are finished.
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		if err := server.Shutdown(ctx); err != nil {
			errs = append(errs, server.Close())
		}
		cancel()
	}
	l.done.Wait()

	l.mu.Lock()
	defer l.mu.Unlock()
	l.packer = archive.Compressor{} // its buffers are most of what a lab holds
	errs = append(errs, l.served, l.save(), l.writeClock(), l.folder.close())
	return errors.Join(errs...)
}

// save writes the state. The caller holds mu.
func (l *Lab) save() error {
	if err := l.saveMachines(); err != nil {
		return fmt.Errorf("saving the lab: %w", err)
	}
	b, err := l.st.encode()
	if err != nil {
		return fmt.Errorf("saving the lab: %w", err)
	}
	if err := writeFile(l.folder.path(stateFile), b, !l.opt.Brief); err != nil {
		return fmt.Errorf("saving the lab: %w", err)
	}
	return l.removeReplaced()
}

// applyGuestFaults gives guests the locks that faults ask for.
func (l *Lab) applyGuestFaults() {
	for _, g := range l.st.Guests {
		if l.faults.hit("guest", g.id(), "locked") != nil {
			g.Lock = "backup"
		}
	}
}

// makeStorages makes the folders of the storages and their history.
func (l *Lab) makeStorages() error {
	if err := l.makeFolders(); err != nil {
		return fmt.Errorf("making the lab's storages: %w", err)
	}
	return l.makeHistory()
}

func (l *Lab) makeFolders() error {
	for _, dir := range l.mounts() {
		for _, sub := range []string{"dump", "template/iso", "template/cache"} {
			if err := os.MkdirAll(dir+"/"+sub, 0o700); err != nil {
				return err
			}
		}
	}
	return nil
}
