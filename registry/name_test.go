package registry

import (
	"errors"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	for _, test := range []struct {
		name    string
		kind    Kind
		pointer Pointer
		managed bool
	}{
		{"config.manageddata.spam.blacklist", Config, "/config/manageddata/spam/blacklist", true},
		{"config.manageddata.a.b.c", Config, "/config/manageddata/a/b/c", false},
		{"config.nginx", Config, "/config/nginx", false},
		{"config.x.Upper_case-1", Config, "/config/x/Upper_case-1", false},
		{"discovery.user.prod", Serverset, "/discovery/user/prod", false},
		{"discovery.user.prod.eu", Serverset, "/discovery/user/prod/eu", false},
	} {
		n, err := ParseName(test.name)
		if err != nil || n.Kind() != test.kind || n.Pointer() != test.pointer || n.ManagedData() != test.managed {
			t.Errorf("%s: %s, %s, %v, %v", test.name, n.Kind(), n.Pointer(), n.ManagedData(), err)
		}
		if p, err := ParsePointer(string(n.Pointer())); err != nil || p != n.Pointer() {
			t.Errorf("pointer of %s: %v", n, err)
		}
		if want := Pointer("/metaconfig/metaconfig/" + test.name); n.Metaconfig() != want {
			t.Errorf("metaconfig of %s: %s, want %s", n, n.Metaconfig(), want)
		}
	}
}

func TestNamesThatAreNone(t *testing.T) {
	for _, name := range []string{
		"", "config", "config.", "config..x", "config.x.", ".config.x", "discovery", "discovery.user", "secrets.x", "Config.x",
		"config.x/y", "config.x y", "config.caf\u00e9", "config.x\n", "config.x\x00", "config.../etc", "config.x~",
		"config.x.lock", "config.web.dep", "config." + strings.Repeat("x", 200),
	} {
		if n, err := ParseName(name); !errors.Is(err, ErrInvalid) || n != "" {
			t.Errorf("%q: %q, %v", name, n, err)
		}
	}
}

func TestDependenciesAndEdges(t *testing.T) {
	for _, good := range []string{"web.dep", "base.dep", "team.web-2.dep", "discovery.x.dep"} {
		d, err := ParseDependency(good)
		if err != nil || d.Pointer() != Pointer("/metaconfig/dependency/"+good) {
			t.Errorf("%s: %s, %v", good, d.Pointer(), err)
		}
		e, err := ParseEdge(good)
		if nested, ok := e.Dependency(); err != nil || !ok || nested != d {
			t.Errorf("edge %s leads to %s, %v, %v", good, nested, ok, err)
		}
		if _, ok := e.Name(); ok {
			t.Errorf("edge %s leads to a name", good)
		}
	}
	e, err := ParseEdge("config.manageddata.spam.blacklist")
	if n, ok := e.Name(); err != nil || !ok || n != "config.manageddata.spam.blacklist" {
		t.Errorf("edge leads to %s, %v, %v", n, ok, err)
	}
	if _, ok := e.Dependency(); ok {
		t.Error("edge to a config leads to a dependency")
	}
	for _, bad := range []string{"", ".dep", "web", "..dep", "web..dep", "a/b.dep", "../x.dep", "web.dep\n", strings.Repeat("x", 200) + ".dep"} {
		if _, err := ParseDependency(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("dependency %q: %v", bad, err)
		}
		if _, err := ParseEdge(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("edge %q: %v", bad, err)
		}
	}
}

func TestDeciderNames(t *testing.T) {
	for _, good := range []string{"new_ranker", "a", "0", "exp-1.b"} {
		if s, err := ParseDeciderName(good); err != nil || s != good {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", ".", ".x", "New", "a b", "a/b", "..", "caf\u00e9", "x\n", strings.Repeat("x", 201)} {
		if _, err := ParseDeciderName(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestPointersThatAreNone(t *testing.T) {
	for _, bad := range []string{"", "/", "config/x", "/config/", "/config//x", "/../x", "/config/.x", "/config/x y", "/config/'", "/" + strings.Repeat("x", 600)} {
		if p, err := ParsePointer(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %q, %v", bad, p, err)
		}
	}
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"config.manageddata.spam.blacklist", "discovery.user.prod", "web.dep", "config..x", "../x", "new_ranker"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := ParseName(s); err == nil {
			// A name is a file name and a path: nothing of it may lead elsewhere.
			if strings.ContainsAny(s, "/\x00\n ") || strings.HasPrefix(s, ".") || len(s) > maxNameLength {
				t.Errorf("name %q", s)
			}
			if _, err := ParsePointer(string(n.Pointer())); err != nil {
				t.Errorf("pointer of %q: %v", s, err)
			}
			if _, err := ParsePointer(string(n.Metaconfig())); err != nil {
				t.Errorf("metaconfig of %q: %v", s, err)
			}
		}
		if e, err := ParseEdge(s); err == nil {
			_, isDependency := e.Dependency()
			if _, isName := e.Name(); isName == isDependency || strings.Contains(s, "/") {
				t.Errorf("edge %q leads to a name and a dependency, or to neither", s)
			}
		}
		if n, err := ParseDeciderName(s); err == nil && (strings.Contains(n, "/") || strings.HasPrefix(n, ".")) {
			t.Errorf("decider %q", s)
		}
		if p, err := ParsePointer(s); err == nil && strings.Contains(string(p), "/.") {
			t.Errorf("pointer %q", s)
		}
	})
}

func TestSchemaNames(t *testing.T) {
	for name, want := range map[Name]Name{
		"config.manageddata.api.limits":              "config.schema.manageddata.api.limits",
		"config.x":                                   "config.schema.x",
		"config.schema.manageddata.api.limits":       "",
		"discovery.user.prod":                        "",
		Name("config." + strings.Repeat("x", 193)):   "",
		Name("config.a." + strings.Repeat("x", 180)): Name("config.schema.a." + strings.Repeat("x", 180)),
	} {
		schema, ok := name.Schema()
		if schema != want || ok != (want != "") {
			t.Errorf("the schema of %s is %q, %v, want %q", name, schema, ok, want)
		}
		if _, err := ParseName(string(schema)); ok && err != nil {
			t.Error(err)
		}
	}
}
