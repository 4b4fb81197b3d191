//go:build programs

// Package programs pins programs of others that the tests run: versions in go.mod, checksums in go.sum. `./x` builds
// them.
package programs

// h2spec judges HTTP/2 (RFC 7540): 145 cases.
import _ "github.com/summerwind/h2spec/cmd/h2spec"
