package retention

import (
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestOrderOfInputDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items, rules := drawItems(t), drawRules(t)
		want := decide(t, items, rules, theNow)
		got := decide(t, rapid.Permutation(items).Draw(t, "shuffled"), rules, theNow)
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("in another order: %v\nbefore: %v", got, want)
		}
	})
}

func TestInputIsNotTouched(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items, rules := drawItems(t), drawRules(t)
		before := slices.Clone(items)
		decide(t, items, rules, theNow)
		if !slices.Equal(items, before) {
			t.Fatalf("Decide changed its input")
		}
	})
}

func TestASecondPruneRemovesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := drawRules(t)
		kept := decide(t, drawItems(t), rules, theNow).Kept()
		if gone := decide(t, kept, rules, theNow).Removed(); len(gone) != 0 {
			t.Fatalf("the second prune removes %v", gone)
		}
	})
}

// A prune that stopped half way, or whose items others removed in part, ends where it would have ended.
func TestAnInterruptedPruneEndsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := drawRules(t)
		whole := decide(t, drawItems(t), rules, theNow)
		left := whole.Kept()
		for _, item := range whole.Removed() {
			if rapid.Bool().Draw(t, "not removed yet") {
				left = append(left, item)
			}
		}
		if got := ids(decide(t, left, rules, theNow).Kept()); !maps.Equal(got, ids(whole.Kept())) {
			t.Fatalf("keeps %v, in one go %v", got, ids(whole.Kept()))
		}
	})
}

func TestWhatMustStayStays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items, rules := drawItems(t), drawRules(t)
		decision := decide(t, items, rules, theNow)

		countable := map[string][]Verdict{} // by group, newest first
		for _, v := range decision.Verdicts {
			free := v.Item.Ours && v.Item.Protected == "" && v.Item.Time.After(earliestItem)
			if !free && !v.Keep {
				t.Fatalf("removes %+v: %s", v.Item, v.Reason)
			}
			if free {
				countable[v.Item.Group] = append(countable[v.Item.Group], v)
			}
		}
		for group, verdicts := range countable {
			if !verdicts[0].Keep {
				t.Fatalf("%s: removes the newest, %+v", group, verdicts[0])
			}
			verified := slices.IndexFunc(verdicts, func(v Verdict) bool { return v.Item.Verified })
			if verified >= 0 && !verdicts[verified].Keep {
				t.Fatalf("%s: removes the newest verified, %+v", group, verdicts[verified])
			}
			kept := 0
			for _, v := range verdicts {
				if v.Keep {
					kept++
				}
			}
			if want := min(len(verdicts), max(rules.Minimum, 1)); kept < want {
				t.Fatalf("%s: keeps %d, and at least %d must stay", group, kept, want)
			}
		}
	})
}

// What is not ours, is protected or cannot be dated does not count: the others fare as if it were not there.
func TestWhatDoesNotCountMakesNoDifference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items, rules := drawItems(t), drawRules(t)
		var countable []Item
		for _, item := range items {
			if item.Ours && item.Protected == "" && item.Time.After(earliestItem) {
				countable = append(countable, item)
			}
		}
		got := ids(decide(t, items, rules, theNow).Removed())
		want := ids(decide(t, countable, rules, theNow).Removed())
		if !maps.Equal(got, want) {
			t.Fatalf("removes %v, without the others %v", got, want)
		}
	})
}

func TestGroupsDoNotMeet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items, rules := drawItems(t), drawRules(t)
		var apart []Verdict
		for _, group := range []string{"group 0", "group 1", "group 2"} {
			var alone []Item
			for _, item := range items {
				if item.Group == group {
					alone = append(alone, item)
				}
			}
			apart = append(apart, decide(t, alone, rules, theNow).Verdicts...)
		}
		together := decide(t, items, rules, theNow).Verdicts
		if !slices.Equal(together, apart) {
			t.Fatalf("together %v\napart %v", together, apart)
		}
	})
}

// A higher count never lets go what a lower one kept, as long as each period lies within the next longer one. Weeks do not
// (TestOneMoreRuleCanKeepLessAsInProxmox), and a minimum is filled up with other things than the rules would keep.
func TestMoreKeepsMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items, rules := drawItems(t), drawRules(t)
		rules.Weekly, rules.Minimum = 0, 0
		if rules.KeepsAll() {
			rules.Last = 1
		}
		more := rules
		for _, rule := range rulesInOrder {
			if rule.period != &week {
				*rule.field(&more) += rapid.IntRange(0, 3).Draw(t, "more "+rule.name)
			}
		}
		few, many := decide(t, items, rules, theNow).Kept(), ids(decide(t, items, more, theNow).Kept())
		for _, item := range few {
			if !many[item.ID] {
				t.Fatalf("%s keeps %s, %s does not", rules, item.ID, more)
			}
		}
	})
}

func TestAHigherMinimumKeepsMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items, rules := drawItems(t), drawRules(t)
		more := rules
		more.Minimum += rapid.IntRange(0, 5).Draw(t, "more")
		few, many := decide(t, items, rules, theNow).Kept(), ids(decide(t, items, more, theNow).Kept())
		for _, item := range few {
			if !many[item.ID] {
				t.Fatalf("a minimum of %d keeps %s, one of %d does not", rules.Minimum, item.ID, more.Minimum)
			}
		}
	})
}

// Time that passes removes nothing by itself.
func TestNowDecidesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items, rules := drawItems(t), drawRules(t)
		later := theNow.AddDate(rapid.IntRange(0, 50).Draw(t, "years"), 0, 0)
		if !reflect.DeepEqual(decide(t, items, rules, theNow), decide(t, items, rules, later)) {
			t.Fatalf("another decision at %s", later)
		}
	})
}
