package main

import (
	"fmt"
	"strings"
	"time"

	"nixmox/engine/builtin"
)

// row is one thing that is being worked on: a call, or a subject of it.
type row struct {
	place   builtin.Place
	call    string
	subject string // "" for the call itself
	change  bool
	args    any // of the call
	since   time.Time
	told    builtin.Progress // the newest
}

func (r *row) label() string {
	if r.subject == "" {
		return r.call
	}
	return subjectText(r.told)
}

// step is what the host says, unless the bar says it.
func (r *row) step() string {
	step := stepText(r.told)
	if r.measured() && strings.Contains(step, fmt.Sprintf("%d%%", int(r.told.Percent))) {
		return ""
	}
	return step
}

// measured: how far it is is known in numbers.
func (r *row) measured() bool { return r.told.Done > 0 || r.told.Percent > 0 }

func (r *row) percent() float64 {
	p := r.told.Percent
	if p == 0 && r.told.Total > 0 {
		p = 100 * float64(r.told.Done) / float64(r.told.Total)
	}
	return min(max(p, 0), 100)
}

// rate is the host's, or what it was on average.
func (r *row) rate(now time.Time) string {
	rate := r.told.Rate
	if took := now.Sub(r.since); rate == 0 && took >= time.Second {
		rate = int64(float64(r.told.Done) / took.Seconds())
	}
	if rate == 0 {
		return ""
	}
	return sizeText(rate, rate) + "/s"
}

// amount is "14.4/32.0 GiB".
func (r *row) amount() string {
	p := r.told
	if p.Total <= 0 {
		return sizeText(p.Done, p.Done)
	}
	done, _, _ := strings.Cut(sizeText(p.Done, p.Total), " ")
	return done + "/" + sizeText(p.Total, p.Total)
}

// sizeText is a size in the unit that suits another.
func sizeText(n, scale int64) string {
	if n <= 0 && scale <= 0 {
		return ""
	}
	value, units := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	i := 0
	for by := float64(scale); by >= 1023.95 && i < len(units)-1; i++ {
		by, value = by/1024, value/1024
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", value, units[i])
}

func elapsedText(d time.Duration) string {
	s := max(0, int(d.Seconds()))
	if s < 3600 {
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

// columns are the widths of what stands in a row; 0 is not shown.
type columns struct{ label, bar, percent, amount, rate, elapsed, step int }

// columnsFor shares a width out, the most telling first.
func columnsFor(width int, rows []*row) columns {
	longest := 0
	for _, r := range rows {
		longest = max(longest, textWidth(oneLine(r.label())))
	}
	c := columns{label: 6, elapsed: 7}
	left := width - c.label - 1 - c.elapsed
	take := func(column *int, n int) {
		if left > n {
			*column, left = n, left-n-1
		}
	}
	grow := func(column *int, to int) {
		n := max(0, min(left, to-*column))
		*column, left = *column+n, left-n
	}
	take(&c.percent, 4)
	grow(&c.label, min(longest, 14))
	take(&c.bar, 10)
	take(&c.amount, 17)
	take(&c.rate, 12)
	grow(&c.label, min(longest, 30))
	take(&c.step, 12)
	if c.bar > 0 {
		grow(&c.bar, 20)
	}
	if c.step > 0 {
		grow(&c.step, left+c.step)
	}
	return c
}

// text is the row in columns. Where nothing is measured, the host's words
// stand in place of bar and numbers.
func (r *row) text(c columns, s style, now time.Time) string {
	cells := []string{pad(oneLine(r.label()), c.label)}
	step := oneLine(r.step())
	if r.measured() {
		if c.bar > 0 {
			cells = append(cells, barText(r.percent(), c.bar, s))
		}
		if c.percent > 0 {
			cells = append(cells, padLeft(fmt.Sprintf("%d%%", int(r.percent())), c.percent))
		}
		if c.amount > 0 {
			cells = append(cells, padLeft(r.amount(), c.amount))
		}
		if c.rate > 0 {
			cells = append(cells, padLeft(r.rate(now), c.rate))
		}
	} else {
		middle := -1
		for _, n := range []int{c.bar, c.percent, c.amount, c.rate} {
			if n > 0 {
				middle += n + 1
			}
		}
		if middle > 0 {
			cells = append(cells, s.paint(faint, pad(step, middle)))
		}
		step = ""
	}
	cells = append(cells, padLeft(elapsedText(now.Sub(r.since)), c.elapsed))
	if c.step > 0 && step != "" {
		cells = append(cells, s.paint(faint, shorten(step, c.step)))
	}
	return strings.Join(cells, " ")
}

func barText(percent float64, width int, s style) string {
	full := int(percent / 100 * float64(width))
	return s.paint(green, strings.Repeat("█", full)) + s.paint(faint, strings.Repeat("░", width-full))
}

// widestRow: longer ones are hard to follow, and break when a terminal is narrowed.
const widestRow = 120

// rowTexts are the rows that are shown of those there are. A call whose
// subjects are shown needs no row of its own; one that reads gets one when it
// is worth it.
func rowTexts(all []*row, s style, width, height int, now time.Time) []string {
	subjects := map[builtin.Place]bool{}
	for _, r := range all {
		if r.subject != "" {
			subjects[r.place] = true
		}
	}
	var shown []*row
	for _, r := range all {
		switch {
		case r.subject == "" && subjects[r.place]:
		case !r.change && !r.measured() && now.Sub(r.since) < time.Second:
		default:
			shown = append(shown, r)
		}
	}
	more := 0
	if room := max(1, height-3); len(shown) > room {
		more = len(shown) - room
		shown = shown[:room]
	}
	width = min(width-1, widestRow) // the last column makes some terminals go on below
	c := columnsFor(width, shown)
	var out []string
	for _, r := range shown {
		out = append(out, r.text(c, s, now))
	}
	if more > 0 {
		out = append(out, s.paint(faint, shorten(fmt.Sprintf("… and %d more", more), width)))
	}
	return out
}
