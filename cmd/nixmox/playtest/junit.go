package playtest

import (
	"encoding/xml"
	"io"
	"path/filepath"
	"strconv"
	"strings"
)

// The form that CI systems read: https://github.com/testmoapp/junitxml
type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Time     string       `xml:"time,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	File    string        `xml:"file,attr"`
	Line    int           `xml:"line,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitFailure `xml:"failure"`
	Out     string        `xml:"system-out,omitempty"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",chardata"`
}

// JUnit writes results as JUnit's XML, a suite a file.
func JUnit(w io.Writer, results []Result) error {
	all := junitSuites{}
	total := 0.0
	seconds := func(s float64) string { return strconv.FormatFloat(s, 'f', 3, 64) }
	var sums []float64
	for _, r := range results {
		n := len(all.Suites)
		if n == 0 || all.Suites[n-1].Name != r.File {
			all.Suites, sums = append(all.Suites, junitSuite{Name: r.File}), append(sums, 0)
			n++
		}
		suite := &all.Suites[n-1]
		c := junitCase{Name: r.Name, Class: strings.TrimSuffix(r.File, filepath.Ext(r.File)), File: r.File, Line: r.At.Line, Time: seconds(r.Seconds), Out: strings.Join(r.Log, "\n")}
		all.Tests++
		suite.Tests++
		if !r.Passed {
			all.Failures++
			suite.Failures++
			c.Failure = &junitFailure{Message: r.Problems.At.String() + ": " + r.Problems.What, Type: "failure", Text: r.Problems.Text()}
		}
		suite.Cases = append(suite.Cases, c)
		total += r.Seconds
		sums[n-1] += r.Seconds
		suite.Time = seconds(sums[n-1])
	}
	all.Time = seconds(total)
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// Text is a failure for people, without its first line.
func (r *Report) Text() string {
	var b strings.Builder
	block := func(title, text string) {
		if text == "" {
			return
		}
		text = strings.TrimRight(text, "\n")
		if !strings.Contains(text, "\n") {
			b.WriteString("  " + title + ": " + text + "\n")
			return
		}
		b.WriteString("  " + title + ":\n    " + strings.ReplaceAll(text, "\n", "\n    ") + "\n")
	}
	if r.Diff == "" {
		block("got ", r.Got)
		block("want", r.Want)
	} else {
		block("diff", r.Diff)
	}
	block("hint", r.Hint)
	for i := len(r.Stack) - 2; i >= 0; i-- {
		b.WriteString("  called from " + r.Stack[i].String() + "\n")
	}
	block("last run", strings.Join(r.Run, "\n"))
	return b.String()
}
