package zfs

import (
	"fmt"
	"strings"
)

// keptHistory is how many lines of its history a pool keeps. A real one keeps
// some 128 KiB at least, and forgets the oldest likewise.
const keptHistory = 400

const historyTime = "2006-01-02.15:04:05"

// note writes an internal event into the pool's history, of the transaction
// that the pool is at.
func (k *call) note(p *pool, format string, args ...any) {
	k.remember(p, fmt.Sprintf("%s [txg:%d] ", k.now.UTC().Format(historyTime), p.Txg)+fmt.Sprintf(format, args...))
}

func (k *call) remember(p *pool, line string) {
	p.History = append(p.History, line)
	if over := len(p.History) - keptHistory; over > 0 {
		p.History = append(p.History[:0:0], p.History[over:]...)
	}
}

// noteCommand writes a command that changed something into the history of the
// pool that it names, as the commands do once they are done.
func (k *call) noteCommand(operands []string) {
	for _, o := range operands {
		base, _, _ := split(o)
		top, _, _ := strings.Cut(base, "/")
		if p := k.m.pool(top); p != nil {
			k.remember(p, k.now.UTC().Format(historyTime)+" "+strings.Join(k.args, " "))
			return
		}
	}
}

// isInternal tells an event from a command.
func isInternal(line string) bool {
	return len(line) > len(historyTime)+1 && strings.HasPrefix(line[len(historyTime)+1:], "[txg:")
}

func (k *call) poolHistory(on options, operands []string) int {
	list, ok := k.pools(operands)
	if len(list) == 0 && ok {
		return k.fail("no pools available")
	}
	for _, p := range list {
		k.printf("History for '%s':\n", p.Name)
		for _, line := range p.History {
			if on.has("i") || !isInternal(line) {
				k.printf("%s\n", line)
			}
		}
		k.printf("\n")
	}
	if !ok {
		return 1
	}
	return 0
}
