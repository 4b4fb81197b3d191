//go:build programs

// Package programs pins programs of others that the tests run: versions in go.mod, checksums in go.sum. `./x` builds
// them.
package programs

import (
	// h2spec judges HTTP/2 (RFC 7540): 145 cases.
	_ "github.com/summerwind/h2spec/cmd/h2spec"
	// Both ends of gRPC's interoperability cases.
	_ "google.golang.org/grpc/interop/client"
	_ "google.golang.org/grpc/interop/server"
)
