package sandbox

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
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
	"read", "write", "close", "fcntl", // of what is open; nothing can be opened
	"mmap", "munmap", "mremap", "mprotect", "madvise", "mincore", "brk",
	"futex", "sched_yield", "sched_getaffinity", "nanosleep", "clock_nanosleep", "clock_gettime", "gettimeofday", "restart_syscall",
	"epoll_wait", "epoll_pwait", "epoll_ctl", "eventfd2", // the runtime's poller
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "tgkill", "getpid", "gettid", // preemption is by signals
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
	// Descriptors that were inherited by mistake. The first three are /dev/null
	// and the parent's pipe, the fourth is the conversation.
	if err := unix.CloseRange(conversation+1, ^uint(0), 0); err != nil && !errors.Is(err, syscall.ENOSYS) {
		return nil, fmt.Errorf("closing inherited descriptors: %w", err)
	}
	// The first timer starts the runtime's poller, which makes descriptors that
	// the filter forbids: then the process would die, and the runtime's own
	// scavenger has a timer whose first use may come at any moment.
	time.AfterFunc(time.Hour, func() {}).Stop()
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
	version, err := llsys.LandlockGetABIVersion()
	if err != nil || version < 1 {
		return []string{"Landlock (the filter of system calls stands alone)"}, nil
	}
	if err := landlock.V5.BestEffort().Restrict(); err != nil {
		return nil, fmt.Errorf("restricting files: %w", err)
	}
	return nil, nil
}
