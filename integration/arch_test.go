package integration

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/kingpinfs/kingpin"

// The libraries, by the name they have in the table.
const (
	bbolt      = "go.etcd.io/bbolt/..."
	fsnotify   = "github.com/fsnotify/fsnotify"
	gofuse     = "github.com/hanwen/go-fuse/v2/..."
	pflag      = "github.com/spf13/pflag"
	renameio   = "github.com/google/renameio/v2"
	sys        = "golang.org/x/sys/unix"
	aws        = "github.com/aws/..."
	zk         = "github.com/go-zookeeper/zk"
	thrift     = "github.com/apache/thrift/lib/go/thrift"
	puddle     = "github.com/jackc/puddle/v2"
	failsafe   = "github.com/failsafe-go/failsafe-go/..."
	jsonschema = "github.com/santhosh-tekuri/jsonschema/v6"
	prometheus = "github.com/prometheus/client_golang/..."
)

// arrows is the import table: a package may import the standard library and what stands beside it here, no more. One
// outside neighbour a package; an arrow that is missing here is a question for the design, not for this file.
var arrows = map[string][]string{
	"cmd/kingpin": {
		"fs", "fs/keeper", "sync/disk", "sync/mirror", "registry", "registry/embedded", "registry/zookeeper",
		pflag, prometheus, sys,
	},
	"fs":                    {"fs/keeper", "sync/disk", "registry", gofuse, sys},
	"fs/keeper":             {sys},
	"sync/disk":             {"registry", renameio, sys},
	"sync/mirror":           {"sync/disk", "sync/schema", "registry", aws},
	"sync/schema":           {"registry", jsonschema},
	"registry":              {},
	"registry/registrytest": {"registry"},
	"registry/embedded":     {"registry", bbolt, sys},
	"registry/zookeeper":    {"registry", zk},
	"registry/follow":       {fsnotify},
	"registry/manageddata":  {"registry", "registry/follow"},
	"registry/decider":      {"registry", "registry/follow", "registry/manageddata"},
	"thriftclient":          {"registry", "registry/follow", thrift, puddle, failsafe, sys},
	"integration":           {"integration/server", "registry/decider", "registry/manageddata", "thriftclient", sys},
	"integration/bench":     {"integration", "integration/server", "registry", "registry/decider", "registry/manageddata", "registry/embedded", "thriftclient", "integration/storm", "integration/storm/stormservice", aws, thrift, zk, sys},
	"integration/fleet":     {"integration", "integration/server"},
	"integration/server":    {},
	"examples":              {"registry/decider"},

	"thriftclient/prometheus":        {"thriftclient", thrift, prometheus},
	"examples/thrift/client":         {"thriftclient", "examples/thrift/testservice"},
	"examples/thrift/server":         {"examples/thrift/testservice", thrift},
	"examples/thrift/testservice":    {thrift},
	"integration/storm":              {"integration/storm/stormservice", thrift, sys},
	"integration/storm/stormservice": {thrift},
}

// testArrows may be used by the tests of every package. The embedded registry is how a test has a real one.
var testArrows = []string{
	"registry", "registry/registrytest", "registry/embedded", "sync/disk", "integration", "integration/server",
	"integration/storm/...",
	bbolt, gofuse, sys,
	"go.uber.org/goleak", "pgregory.net/rapid", "github.com/rogpeppe/go-internal/testscript/...",
	"github.com/anishathalye/porcupine", "github.com/johannesboyne/gofakes3/...",
	fsnotify, renameio, // what other people's programs write and watch files with
}

// topLevel is everything that a stranger sees first.
var topLevel = []string{"cmd", "fs", "sync", "registry", "thriftclient", "integration", "examples", "deploy", "docs"}

// far holds what a read must never be able to reach, as a compile-time fact.
var far = []string{"net/http", "github.com/aws/", "github.com/go-zookeeper/", "go.etcd.io/", module + "/registry/embedded",
	module + "/registry/zookeeper", module + "/sync/mirror"}

// unlinked maps packages that live in other people's processes, or must stay tiny, to what they must not drag along.
var unlinked = map[string][]string{
	"fs":                   far,
	"fs/keeper":            slices.Concat(far, []string{"net", "github.com/hanwen/", module + "/sync", module + "/registry"}),
	"sync/disk":            far,
	"registry":             slices.Concat(far, []string{"net"}),
	"registry/follow":      slices.Concat(far, []string{"net", "github.com/prometheus/"}),
	"registry/decider":     slices.Concat(far, []string{"github.com/prometheus/"}),
	"registry/manageddata": slices.Concat(far, []string{"github.com/prometheus/"}),
	"thriftclient":         {"github.com/aws/", "github.com/go-zookeeper/", "github.com/prometheus/"},
}

type goPackage struct {
	ImportPath, Dir, Doc               string
	Imports, TestImports, XTestImports []string
	Deps                               []string
}

// packages asks go list about the whole module.
func packages(t *testing.T) map[string]goPackage {
	t.Helper()
	list := exec.Command("go", "list", "-json=ImportPath,Dir,Doc,Imports,TestImports,XTestImports,Deps", "./...")
	list.Dir = repository(t)
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	found := map[string]goPackage{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		found[strings.TrimPrefix(p.ImportPath, module+"/")] = p
	}
}

func TestArchitectureImports(t *testing.T) {
	for name, p := range packages(t) {
		allowed, ok := arrows[name]
		if !ok {
			t.Errorf("package %s is not in the table of imports", name)
			continue
		}
		for _, imported := range p.Imports {
			if !permitted(imported, allowed) {
				t.Errorf("%s must not import %s", name, imported)
			}
		}
		for _, imported := range slices.Concat(p.TestImports, p.XTestImports) {
			if imported != p.ImportPath && !permitted(imported, slices.Concat(allowed, testArrows)) {
				t.Errorf("the tests of %s must not import %s", name, imported)
			}
		}
	}
}

// permitted says whether an import is standard or matches the table.
func permitted(imported string, allowed []string) bool {
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		return true // the standard library
	}
	imported = strings.TrimPrefix(imported, module+"/")
	return slices.ContainsFunc(allowed, func(pattern string) bool {
		if parent, ok := strings.CutSuffix(pattern, "/..."); ok {
			return imported == parent || strings.HasPrefix(imported, parent+"/")
		}
		return imported == pattern
	})
}

func TestArchitectureAReadCannotReachTheNetwork(t *testing.T) {
	found := packages(t)
	if len(found["fs"].Deps) == 0 {
		t.Fatal("go list knows no dependencies of fs, so this test proves nothing")
	}
	for name, forbidden := range unlinked {
		for _, dependency := range found[name].Deps {
			for _, f := range forbidden {
				prefix := strings.HasSuffix(f, "/") && strings.HasPrefix(dependency, f)
				if dependency == f || prefix || strings.HasPrefix(f, module) && strings.HasPrefix(dependency, f+"/") {
					t.Errorf("%s links %s", name, dependency)
				}
			}
		}
	}
}

// TestArchitectureLibrariesBringNothingAlong: who imports them gets the standard library, fsnotify and our own, no more.
func TestArchitectureLibrariesBringNothingAlong(t *testing.T) {
	found := packages(t)
	allowed := []string{fsnotify + "/...", "golang.org/x/sys/...", "registry", "registry/follow", "registry/manageddata"}
	for _, name := range []string{"registry/follow", "registry/manageddata", "registry/decider"} {
		if len(found[name].Deps) == 0 {
			t.Errorf("go list knows no dependencies of %s, so this test proves nothing", name)
		}
		for _, dependency := range found[name].Deps {
			if !strings.HasPrefix(dependency, "vendor/golang.org/") && !permitted(dependency, allowed) {
				t.Errorf("%s links %s", name, dependency)
			}
			if dependency == "net" || dependency == "os/exec" {
				t.Errorf("%s links %s", name, dependency)
			}
		}
	}
}

// TestArchitectureRegistryIsPure: byte formats need no file, no socket and no process.
func TestArchitectureRegistryIsPure(t *testing.T) {
	for _, imported := range packages(t)["registry"].Imports {
		if slices.Contains([]string{"os", "net", "syscall", "os/exec", "sync", "context"}, imported) {
			t.Errorf("registry imports %s", imported)
		}
	}
}

func TestArchitectureTree(t *testing.T) {
	entries, err := os.ReadDir(repository(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !ignored(e.Name()) && !slices.Contains(topLevel, e.Name()) {
			t.Errorf("directory %s at the top level, which holds only %v", e.Name(), topLevel)
		}
	}
	for name, p := range packages(t) {
		switch base := path.Base(name); base {
		case "util", "utils", "common", "types", "pkg", "helpers", "internal", "misc":
			t.Errorf("package %s: %s says nothing about what it faces", name, base)
		}
		if p.Doc == "" {
			t.Errorf("package %s does not say what it faces", name)
		}
	}
}

// TestArchitectureNothingLiesAbout: the tree holds source and what is written about it; what a test or a build leaves in it is
// committed by somebody sooner or later.
func TestArchitectureNothingLiesAbout(t *testing.T) {
	root := repository(t)
	err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			if e.Name() == "testdata" || ignored(e.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if e.Name() == ".git" || e.Name() == ".bin" {
			return nil // of a worktree: a file that names its repository, and a link to the tools
		}
		switch {
		case slices.Contains([]string{".go", ".md", ".thrift"}, filepath.Ext(name)):
		case strings.HasPrefix(name, filepath.Join(root, "examples")+"/"): // in every language
		case strings.HasPrefix(name, filepath.Join(root, "deploy")+"/") && slices.Contains([]string{".service", ".yml"}, filepath.Ext(name)):
		case filepath.Dir(name) == root && slices.Contains([]string{"go.mod", "go.sum", "Makefile", "LICENSE", ".gitignore"}, e.Name()):
		default:
			t.Errorf("%s is not source", name)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestArchitectureNothingFetchedIsExecuted: who handles names and contents from elsewhere starts no process.
func TestArchitectureNothingFetchedIsExecuted(t *testing.T) {
	for name, p := range packages(t) {
		first, _, _ := strings.Cut(name, "/")
		if !slices.Contains([]string{"sync", "registry", "thriftclient"}, first) && name != "fs" {
			continue // the operator's command line, the keeper that starts its own children, and these tests
		}
		for _, imported := range p.Imports {
			if slices.Contains([]string{"os/exec", "plugin", "text/template", "html/template"}, imported) {
				t.Errorf("%s imports %s", name, imported)
			}
		}
	}
}

// TestArchitectureNoInit: nothing runs because something was imported.
func TestArchitectureNoInit(t *testing.T) {
	files := 0
	err := filepath.WalkDir(repository(t), func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && (e.Name() == "testdata" || ignored(e.Name())) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		files++
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution|parser.ParseComments)
		if err != nil {
			return err
		}
		if ast.IsGenerated(parsed) {
			return nil // the Thrift compiler makes an init for the constants, be there none
		}
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s has an init function", name)
			}
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Errorf("%d files read: %v", files, err)
	}
}

// ignored says whether a directory is no part of the source: .git, .ci, .state, and what make builds.
func ignored(name string) bool { return strings.HasPrefix(name, ".") && name != "." || name == "bin" }
