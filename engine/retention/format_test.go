package retention

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseRules(t *testing.T) {
	for text, want := range map[string]Rules{
		"":                                  {},
		"keep-all=1":                        {},
		"keep-all=0":                        {},
		"keep-all=yes":                      {},
		"keep-last=0,keep-daily=0":          {},
		"keep-all=1,keep-last=0":            {},
		"keep-last=3,keep-daily=7":          {Last: 3, Daily: 7},
		"keep-daily=7,keep-last=3":          {Last: 3, Daily: 7},
		" keep-last = 3 , , keep-daily=07,": {Last: 3, Daily: 7},
		"keep-all=0,keep-yearly=1":          {Yearly: 1},
		"keep-hourly=1,keep-monthly=2":      {Hourly: 1, Monthly: 2},
		"keep-weekly=5":                     {Weekly: 5},
		"keep-last=9223372036854775807":     {Last: 9223372036854775807},
		"keep-last=1,keep-hourly=2,keep-daily=3,keep-weekly=4,keep-monthly=5,keep-yearly=6": {Last: 1, Hourly: 2, Daily: 3, Weekly: 4, Monthly: 5, Yearly: 6},
		"last=3,hourly=24,daily=7,weekly=4,monthly=12,yearly=2":                             {Last: 3, Hourly: 24, Daily: 7, Weekly: 4, Monthly: 12, Yearly: 2},
		"last=3, keep-daily=7, minimum=2":                                                   {Last: 3, Daily: 7, Minimum: 2},
		"all=1,minimum=2":                                                                   {Minimum: 2},
	} {
		got, err := ParseRules(text)
		if err != nil || got != want {
			t.Errorf("%q: got %+v, %v; want %+v", text, got, err, want)
		}
	}
}

func TestParseRulesRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"keep-foo=1":                      `there is no "keep-foo"; known are last, hourly, daily, weekly, monthly, yearly, minimum and keep-all`,
		"keep_last=1":                     `there is no "keep_last"`,
		"Last=1":                          `there is no "Last"`,
		"keep-keep-last=1":                `there is no "keep-keep-last"`,
		"keep-minimum=1":                  `there is no "keep-minimum"`,
		"3":                               `there is no "3"; known are last, hourly, daily, weekly, monthly, yearly, minimum and keep-all; so many of the newest are last=3`,
		"last=1,keep-last=2":              "last is given twice",
		"7d":                              `there is no "7d"`,
		"minimum":                         "minimum has no value; write minimum=NUMBER",
		"minimum=-1":                      `minimum is "-1"; give a whole number`,
		"=3":                              `there is no ""`,
		"keep-last":                       "keep-last has no value; write keep-last=NUMBER",
		"keep-all":                        "keep-all has no value",
		"keep-last=":                      `keep-last is ""; give a whole number`,
		"keep-daily=-1":                   `keep-daily is "-1"; give a whole number, 0 or more`,
		"keep-daily=+1":                   `keep-daily is "+1"`,
		"keep-daily=1.5":                  `keep-daily is "1.5"`,
		"keep-daily=7=7":                  `keep-daily is "7=7"`,
		"keep-daily=99999999999999999999": "keep-daily is 99999999999999999999, which is more",
		"keep-last=1,keep-last=2":         "last is given twice",
		"keep-all=2":                      "keep-all is either 1 or 0",
		"keep-all=1,keep-last=1":          "keep-all cannot stand beside counts",
	} {
		got, err := ParseRules(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error is %v, want one with %q", text, err, want)
		}
		if got != (Rules{}) {
			t.Errorf("%q: rules in spite of the error: %+v", text, got)
		}
	}
}

func TestRulesString(t *testing.T) {
	for want, rules := range map[string]Rules{
		"keep-all=1":               {},
		"keep-all=1,minimum=3":     {Minimum: 3},
		"keep-last=3,keep-daily=7": {Daily: 7, Last: 3},
		"keep-yearly=1":            {Yearly: 1},
	} {
		if got := rules.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestRulesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := drawRules(t)
		rules.Location = nil
		got, err := ParseRules(rules.String())
		if err != nil || got != rules {
			t.Fatalf("%s came back as %s, %v", rules, got, err)
		}
	})
}

func FuzzParseRules(f *testing.F) {
	for _, text := range []string{"", "keep-all=1", "keep-last=3,keep-daily=7", "keep-last=-1", " keep-weekly = 2 ,", "keep-all=0,keep-yearly=1", "=", ",,", "last=3,minimum=2", "keep-minimum=1", "all=on", "7"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rules, err := ParseRules(text)
		if err != nil {
			return
		}
		if err := rules.Validate(); err != nil {
			t.Fatalf("%q gave rules that are none: %v", text, err)
		}
		again, err := ParseRules(rules.String())
		if err != nil || again != rules {
			t.Fatalf("%q is %s, which came back as %s, %v", text, rules, again, err)
		}
	})
}
