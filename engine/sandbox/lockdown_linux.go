package sandbox

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"github.com/landlock-lsm/go-landlock/landlock"
	llsys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// allowed are the system calls that the Go runtime makes while it computes,
// and that read and write descriptors that are open. Whatever is not listed
// fails with EPERM: socket, connect, open, execve, fork, ptrace, kill …
var allowed = []string{
	"read", "write", "close", // of what is open; nothing can be opened
	"mmap", "munmap", "mremap", "mprotect", "madvise", "mincore", "brk",
	"futex", "sched_yield", "sched_getaffinity", "nanosleep", "clock_nanosleep", "clock_gettime", "gettimeofday", "restart_syscall",
	"epoll_wait", "epoll_pwait", "epoll_ctl", "eventfd2", // the runtime's poller
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "getpid", "gettid",
	"set_robust_list", "rseq", "membarrier", "getrandom",
	"exit", "exit_group",
}

// lockDown takes from this process whatever an evaluator does not need. It
// says what the kernel could not give, which is not an error. It may set aside
// so many bytes of address space beyond what it has: Go's start-up alone takes
// from one to six GiB of it, more with a libc.
func lockDown(addressSpace uint64) (missing []string, err error) {
	size, _, err := memoryOf("self")
	if err != nil {
		return nil, fmt.Errorf("looking at its own memory: %w", err)
	}
	addressSpace += size
	// The runtime makes its poller when it first needs one, which it then could
	// not any more: a timer needs one.
	time.AfterFunc(time.Hour, func() {}).Stop()
	if err := closeInherited(); err != nil {
		return nil, fmt.Errorf("closing inherited descriptors: %w", err)
	}
	for _, l := range []struct {
		what  int
		limit uint64
	}{{unix.RLIMIT_CORE, 0}, {unix.RLIMIT_FSIZE, 0}, {unix.RLIMIT_AS, addressSpace}} {
		if err := unix.Setrlimit(l.what, &unix.Rlimit{Cur: l.limit, Max: l.limit}); err != nil {
			return nil, fmt.Errorf("limiting resources: %w", err)
		}
	}
	// Not even its own memory through /proc by another process of the user.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("forbidding dumps: %w", err)
	}
	if missing, err = restrictFiles(); err != nil {
		return nil, err
	}
	if !seccomp.Supported() {
		return append(missing, "seccomp (system calls are not filtered)"), nil
	}
	names, err := known(allowed)
	if err != nil {
		return nil, fmt.Errorf("filtering system calls: %w", err)
	}
	filter := seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync, Policy: seccomp.Policy{
		DefaultAction: seccomp.ActionErrno,
		Syscalls: []seccomp.SyscallGroup{{
			Names:  names,
			Action: seccomp.ActionAllow,
			// A thread of this process, as the runtime makes them, and no process.
			NamesWithCondtions: []seccomp.NameWithConditions{{Name: "clone", Conditions: []seccomp.Condition{
				{Argument: 0, Operation: seccomp.BitsSet, Value: unix.CLONE_VM},
				{Argument: 0, Operation: seccomp.BitsSet, Value: unix.CLONE_THREAD},
			}}, {Name: "tgkill", Conditions: []seccomp.Condition{ // preemption is by signals, to its own threads
				{Argument: 0, Operation: seccomp.Equal, Value: uint64(os.Getpid())},
			}}},
		}, {
			// Its flags are behind a pointer, where no filter can look. Told that
			// there is none, libc takes clone.
			Names: []string{"clone3"}, Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS),
		}},
	}}
	if err := seccomp.LoadFilter(filter); err != nil {
		return nil, fmt.Errorf("filtering system calls: %w", err)
	}
	return missing, nil
}

// closeInherited closes descriptors that were inherited by mistake. The first
// three are /dev/null and the parent's pipe, the fourth is the conversation;
// the poller's are the runtime's own.
func closeInherited() error {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, entry := range open {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil || fd <= conversation {
			continue
		}
		what, err := os.Readlink("/proc/self/fd/" + entry.Name())
		if err != nil || what == "anon_inode:[eventpoll]" || what == "anon_inode:[eventfd]" {
			continue // it is closed already: the list's own
		}
		if err := unix.Close(fd); err != nil {
			return err
		}
	}
	return nil
}

// known leaves out what this architecture does not have: 64-bit ARM has no
// epoll_wait.
func known(names []string) ([]string, error) {
	info, err := arch.GetInfo("")
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { _, ok := info.SyscallNames[name]; return !ok }), nil
}

// restrictFiles has Landlock stand behind the filter: no path at all, no port.
func restrictFiles() (missing []string, err error) {
	if version, noLandlock := llsys.LandlockGetABIVersion(); noLandlock != nil || version < 1 {
		return []string{"Landlock (the filter of system calls stands alone)"}, nil //nolint:nilerr // it is said, and not every kernel has it
	}
	if err := landlock.V5.BestEffort().Restrict(); err != nil {
		return nil, fmt.Errorf("restricting files: %w", err)
	}
	return nil, nil
}
