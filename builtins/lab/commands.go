package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"nixmox/builtins/lab/command"
	"nixmox/builtins/lab/zfs"
)

// commands is what answers the lab's commands.
type commands struct {
	listener net.Listener
	open     map[net.Conn]bool // those that are answered; the lab's mu
}

// CommandDir is the folder of the lab's commands: zfs and zpool as an
// administrator of the node where nixmox runs has them, by programs that ask
// this lab while it is open. There is nothing else in it.
func (l *Lab) CommandDir() string { return l.folder.path(command.BinDir) }

// makeCommands makes the folder anew: the commands are the program that runs
// now, by other names.
func (l *Lab) makeCommands() error {
	self, err := os.Executable()
	if err == nil {
		err = os.RemoveAll(l.CommandDir())
	}
	if err == nil {
		err = os.Mkdir(l.CommandDir(), 0o700)
	}
	for _, name := range command.Names() {
		if err == nil {
			err = os.Symlink(self, filepath.Join(l.CommandDir(), name))
		}
	}
	if err != nil {
		return fmt.Errorf("making the lab's commands: %w", err)
	}
	return nil
}

// startCommands has them answered from now on, until stopCommands.
func (l *Lab) startCommands() error {
	if err := l.makeCommands(); err != nil {
		return err
	}
	ln, err := command.Listen(l.folder.dir)
	if err != nil {
		return fmt.Errorf("serving the lab's commands: %w", err)
	}
	l.commands = commands{listener: ln, open: map[net.Conn]bool{}}
	l.done.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					l.mu.Lock()
					l.served = errors.Join(l.served, fmt.Errorf("serving the lab's commands: %w", err))
					l.mu.Unlock()
				}
				return
			}
			l.beginCommand(conn)
		}
	})
	return nil
}

// stopCommands lets those that are answered come to their end, without more
// input, and takes no others.
func (l *Lab) stopCommands() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.commands.listener.Close()
	for conn := range l.commands.open {
		if late := errors.Join(conn.SetReadDeadline(time.Now()), conn.SetWriteDeadline(time.Now().Add(2*time.Second))); !errors.Is(late, net.ErrClosed) {
			err = errors.Join(err, late)
		}
	}
	if gone := os.Remove(l.folder.path(command.RunDir + "/" + command.Socket)); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

func (l *Lab) beginCommand(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = conn.Close() // it is told that the lab went away
		return
	}
	l.commands.open[conn] = true
	l.done.Go(func() {
		defer func() {
			_ = conn.Close() // of a session that did not begin; else it is closed
			l.mu.Lock()
			defer l.mu.Unlock()
			delete(l.commands.open, conn)
		}()
		if s, err := command.Accept(conn); err == nil {
			// A program that is gone is told nothing; what it did is done and kept.
			_ = s.End(l.command(s))
		}
	})
}

// command performs one command and says how it ended.
func (l *Lab) command(s *command.Session) (exit int) {
	fail := func(err error) int {
		_, _ = fmt.Fprintf(s.Stderr, "%s: %v\n", s.Args[0], err)
		return 1
	}
	node, now, err := l.commandNode(s.Node)
	if err != nil {
		return fail(err)
	}
	s.Args[0] = filepath.Base(s.Args[0])
	exit, err = l.give(node, zfs.Command{Args: s.Args, Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr, Now: now})
	if err != nil {
		return fail(err)
	}
	return exit
}

// Command gives a command on a node, as an administrator there would, and says
// what it wrote and how it ended. An empty node is the one where nixmox runs.
func (l *Lab) Command(node string, args ...string) (stdout, stderr string, exit int, err error) {
	m, now, err := l.commandNode(node)
	if err != nil {
		return "", "", 0, err
	}
	var out, complaints strings.Builder
	exit, err = l.give(m, zfs.Command{Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &complaints, Now: now})
	return out.String(), complaints.String(), exit, err
}

// give gives a command and keeps what it changed. It is not given with the
// lab held: a command waits for its input, which may be another's output.
func (l *Lab) give(m *machine, c zfs.Command) (exit int, err error) {
	exit = m.Run(c)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !m.isSaved() {
		err = l.save()
	}
	return exit, err
}

// commandNode is the node whose command it is, and the time there. What is due
// by then has happened.
func (l *Lab) commandNode(name string) (*machine, time.Time, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.catchUp()
	if name == "" {
		name = l.st.Nodes[0].Name
	}
	n := l.st.node(name)
	switch {
	case n == nil:
		return nil, time.Time{}, fmt.Errorf("the lab has no node %q: %s names one", name, command.NodeVariable)
	case n.Down:
		return nil, time.Time{}, fmt.Errorf("the lab's node %s is down", name)
	}
	return l.machines[name], l.now(), nil
}
