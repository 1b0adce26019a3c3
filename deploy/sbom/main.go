// Command sbom prints a bill of materials, CycloneDX in JSON, of the binaries that it is
// given: every module compiled into them, its version, checksum and licences, and which
// binary has it. It reads the binaries themselves, so it tells of what is in them and of
// nothing else; the same binaries give the same bill, byte for byte.
package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// licences are those of packages, by `make licences`.
//
//go:embed licences.md
var licences string

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: sbom BINARY...")
		os.Exit(2)
	}
	if err := run(os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, binaries []string) error {
	modules := make(map[string]cdx.Component) // by purl
	var programs []cdx.Component
	var needs []cdx.Dependency
	for _, path := range binaries {
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read what %s was built of: %w", path, err)
		}
		program, err := application(path, info)
		if err != nil {
			return err
		}
		var has []string
		std := &debug.Module{Path: "std", Version: strings.TrimPrefix(info.GoVersion, "go")}
		for _, m := range append([]*debug.Module{std}, info.Deps...) {
			if m.Replace != nil {
				return fmt.Errorf("%s has %s in place of %s", path, m.Replace.Path, m.Path)
			}
			c, err := library(m)
			if err != nil {
				return err
			}
			modules[c.PackageURL] = c
			has = append(has, c.BOMRef)
		}
		slices.Sort(has)
		programs = append(programs, program)
		needs = append(needs, cdx.Dependency{Ref: program.BOMRef, Dependencies: &has})
	}
	for _, purl := range slices.Sorted(maps.Keys(modules)) {
		programs = append(programs, modules[purl])
	}
	bom := cdx.NewBOM()
	bom.Components, bom.Dependencies = &programs, &needs
	return cdx.NewBOMEncoder(out, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cdx.SpecVersion1_6)
}

// application is a binary as such.
func application(path string, info *debug.BuildInfo) (cdx.Component, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return cdx.Component{}, err
	}
	name := filepath.Base(path)
	return cdx.Component{
		BOMRef: name, Type: cdx.ComponentTypeApplication, Name: name, Version: info.Main.Version,
		Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: fmt.Sprintf("%x", sha256.Sum256(data))}},
	}, nil
}

// library is a module. Its checksum is that of go.sum, in hexadecimal.
func library(m *debug.Module) (cdx.Component, error) {
	purl := "pkg:golang/" + m.Path + "@" + m.Version
	c := cdx.Component{BOMRef: purl, PackageURL: purl, Type: cdx.ComponentTypeLibrary, Name: m.Path, Version: m.Version}
	if m.Path == "std" {
		c.Licenses = &cdx.Licenses{{License: &cdx.License{ID: "BSD-3-Clause"}}}
		return c, nil
	}
	sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:"))
	if err != nil || len(sum) != sha256.Size {
		return c, fmt.Errorf("%s %s has the checksum %q", m.Path, m.Version, m.Sum)
	}
	c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum)}}
	ids := licencesOf(m)
	if len(ids) == 0 {
		return c, fmt.Errorf("%s %s is not in licences.md: make licences", m.Path, m.Version)
	}
	c.Licenses = new(cdx.Licenses)
	for _, id := range ids {
		*c.Licenses = append(*c.Licenses, cdx.LicenseChoice{License: &cdx.License{ID: id}})
	}
	return c, nil
}

var line = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (\\S+) \\| (\\S+) \\|$")

// licencesOf are those of a module's packages, each once.
func licencesOf(m *debug.Module) (ids []string) {
	for _, l := range line.FindAllStringSubmatch(licences, -1) {
		inside := l[1] == m.Path || strings.HasPrefix(l[1], m.Path+"/")
		if inside && l[2] == m.Version && !slices.Contains(ids, l[3]) {
			ids = append(ids, l[3])
		}
	}
	return ids
}
