// Package stdlib holds the libraries that playbooks load as @std//NAME,
// embedded. It must know nothing but their files.
package stdlib

import "embed"

// FS is the root of @std//.
//
//go:embed *.star *.lua
var FS embed.FS
