package engine

import "strings"

// flagName is how a parameter is written on the command line.
func flagName(param string) string { return strings.ReplaceAll(param, "_", "-") }
