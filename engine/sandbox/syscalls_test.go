package sandbox

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"nixmox/engine/builtin"
)

// tryEverything makes, in an evaluator, the system calls by which it would
// get out, and tells how each ended. parent is the engine's process.
func tryEverything(parent int) (lines []string) {
	path := []byte("/etc/passwd\x00")
	at := uintptr(unsafe.Pointer(&path[0]))
	var some [256]byte
	buffer := uintptr(unsafe.Pointer(&some[0]))
	pid, here := uintptr(parent), ^uintptr(99) // AT_FDCWD
	for _, try := range []struct {
		name string
		args []uintptr
	}{
		{"socket", []uintptr{unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0}},
		{"socket unix", []uintptr{unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM, 0}},
		{"socketpair", []uintptr{unix.SYS_SOCKETPAIR, unix.AF_UNIX, unix.SOCK_STREAM, 0, buffer}},
		{"connect", []uintptr{unix.SYS_CONNECT, conversation, buffer, 16}},
		{"bind", []uintptr{unix.SYS_BIND, conversation, buffer, 16}},
		{"sendmsg", []uintptr{unix.SYS_SENDMSG, conversation, buffer, 0}},
		{"openat", []uintptr{unix.SYS_OPENAT, here, at, unix.O_RDONLY, 0}},
		{"openat2", []uintptr{unix.SYS_OPENAT2, here, at, buffer, 24}},
		{"open_by_handle_at", []uintptr{unix.SYS_OPEN_BY_HANDLE_AT, here, buffer, 0}},
		{"execve", []uintptr{unix.SYS_EXECVE, at, 0, 0}},
		{"execveat", []uintptr{unix.SYS_EXECVEAT, here, at, 0, 0, 0}},
		{"clone of a process", []uintptr{unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0}},
		{"clone sharing memory, of a process", []uintptr{unix.SYS_CLONE, unix.CLONE_VM | uintptr(unix.SIGCHLD), 0, 0, 0, 0}},
		{"clone3", []uintptr{unix.SYS_CLONE3, buffer, 88}},
		{"ptrace", []uintptr{unix.SYS_PTRACE, unix.PTRACE_ATTACH, pid, 0, 0}},
		{"kill the engine", []uintptr{unix.SYS_KILL, pid, 0}},
		{"tgkill the engine", []uintptr{unix.SYS_TGKILL, pid, pid, 0}},
		{"tkill the engine", []uintptr{unix.SYS_TKILL, pid, 0}},
		{"pidfd_open", []uintptr{unix.SYS_PIDFD_OPEN, pid, 0}},
		{"fcntl for signals", []uintptr{unix.SYS_FCNTL, conversation, unix.F_SETOWN, pid}},
		{"memfd_create", []uintptr{unix.SYS_MEMFD_CREATE, at, 0}},
		{"io_uring_setup", []uintptr{unix.SYS_IO_URING_SETUP, 8, buffer}},
		{"process_vm_readv", []uintptr{unix.SYS_PROCESS_VM_READV, pid, buffer, 1, buffer, 1, 0}},
		{"process_vm_writev", []uintptr{unix.SYS_PROCESS_VM_WRITEV, pid, buffer, 1, buffer, 1, 0}},
		{"userfaultfd", []uintptr{unix.SYS_USERFAULTFD, 0}},
		{"bpf", []uintptr{unix.SYS_BPF, 0, buffer, 64}},
		{"perf_event_open", []uintptr{unix.SYS_PERF_EVENT_OPEN, buffer, 0, 0, 0, 0}},
		{"mount", []uintptr{unix.SYS_MOUNT, at, at, at, 0, 0}},
		{"unshare", []uintptr{unix.SYS_UNSHARE, unix.CLONE_NEWUSER}},
		{"setns", []uintptr{unix.SYS_SETNS, conversation, 0}},
		{"chroot", []uintptr{unix.SYS_CHROOT, at}},
		{"unlinkat", []uintptr{unix.SYS_UNLINKAT, here, at, 0}},
		{"symlinkat", []uintptr{unix.SYS_SYMLINKAT, at, here, at}},
		{"readlinkat", []uintptr{unix.SYS_READLINKAT, here, at, buffer, 256}},
		{"newfstat by path", []uintptr{unix.SYS_STATX, here, at, 0, 0, buffer}},
		{"prctl: dumpable again", []uintptr{unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1, 0, 0, 0}},
		{"prctl: no filter", []uintptr{unix.SYS_PRCTL, unix.PR_SET_SECCOMP, 0, 0, 0, 0}},
		{"seccomp", []uintptr{unix.SYS_SECCOMP, 1, 0, buffer}},
		{"prlimit64", []uintptr{unix.SYS_PRLIMIT64, 0, unix.RLIMIT_AS, 0, buffer, 0}},
		{"setuid", []uintptr{unix.SYS_SETUID, 0}},
		{"ioctl", []uintptr{unix.SYS_IOCTL, 2, unix.TIOCSTI, buffer}},
		{"dup3", []uintptr{unix.SYS_DUP3, conversation, 9, 0}},
		{"shmget", []uintptr{unix.SYS_SHMGET, 0, 4096, 0o1600}},
		{"add_key", []uintptr{unix.SYS_ADD_KEY, at, at, buffer, 1, 0}},
		{"init_module", []uintptr{unix.SYS_INIT_MODULE, buffer, 1, at}},
		{"reboot", []uintptr{unix.SYS_REBOOT, 0, 0, 0, 0}},
	} {
		args := append(try.args, make([]uintptr, 7)...)
		r, _, errno := syscall.RawSyscall6(args[0], args[1], args[2], args[3], args[4], args[5], args[6])
		if errno == 0 && r == 0 && strings.HasPrefix(try.name, "clone") {
			syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0) // it is a child, which must not be
		}
		lines = append(lines, try.name+": "+unix.ErrnoName(errno))
	}
	if _, err := os.ReadDir("/"); err == nil {
		lines = append(lines, "a folder was read: ")
	}
	return lines
}

func TestSystemCallsFail(t *testing.T) {
	p := newPlayed(nil)
	playbook, err := p.load(t, Options{}, map[string]string{"play.fake": "syscalls"})
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(playbook.Exposed, func(s string) bool { return strings.HasPrefix(s, "seccomp") }) {
		t.Skip("this kernel has no seccomp: system calls are not filtered")
	}
	err = playbook.Main(builtin.WithBranch(t.Context(), builtin.NewBranch()), p.run, map[string]any{"n": int64(os.Getpid()), "names": []any{}})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.logs) < 45 {
		t.Errorf("%d calls were tried", len(p.logs))
	}
	for _, line := range p.logs {
		if !strings.HasSuffix(line, ": EPERM") && line != "clone3: ENOSYS" {
			t.Errorf("%s", line)
		}
	}
}
