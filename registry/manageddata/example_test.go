package manageddata_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kingpinfs/kingpin/registry/manageddata"
)

// temporary is a directory as a test of an application has it.
func temporary() (dir string, remove func()) {
	dir, err := os.MkdirTemp("", "managed")
	if err != nil {
		panic(err)
	}
	return dir, func() { os.RemoveAll(dir) }
}

func Example() {
	dir, remove := temporary()
	defer remove()
	limits, err := manageddata.OpenMap[string, int]("api", "rate_limits", manageddata.Options{
		Dir: dir, // without it, this machine's mount
		Check: func(m map[string]int) error { // a version that fails keeps the last good one
			for key, limit := range m {
				if limit < 0 {
					return errors.New(key + " is negative")
				}
			}
			return nil
		},
	})
	if err != nil {
		panic(err) // bad arguments; a missing file is no error
	}
	defer limits.Close()

	ctx := context.Background()
	if err := limits.Put(ctx, "search", 100); err != nil {
		panic(err)
	}
	err = limits.Update(ctx, func(m map[string]int) error { // may run again if another machine was faster
		m["search"] += 10
		return nil
	})
	search, ok := limits.Value("search")
	fmt.Println(search, ok, err)
	err = limits.Put(ctx, "search", -1)
	fmt.Println(err)
	content, _ := os.ReadFile(filepath.Join(dir, "config.manageddata.api.rate_limits"))
	fmt.Printf("%s\n", content)
	// Output:
	// 110 true <nil>
	// change config.manageddata.api.rate_limits: invalid: search is negative
	// {"search": 110}
}

func ExampleList_Contains() {
	dir, remove := temporary()
	defer remove()
	file := filepath.Join(dir, "config.manageddata.spam.blacklist")
	if err := os.WriteFile(file, []byte(`["10.0.0.1", "10.0.0.2"]`), 0o644); err != nil {
		panic(err)
	}
	blacklist, err := manageddata.OpenList[string]("spam", "blacklist", manageddata.Options{Dir: dir})
	if err != nil {
		panic(err)
	}
	defer blacklist.Close()
	fmt.Println(blacklist.Contains("10.0.0.2"), blacklist.Contains("10.0.0.3"), blacklist.Len())
	// Output: true false 2
}

// Reacting to changes, for what is built from a config.
func ExampleMap_Changes() {
	dir, remove := temporary()
	defer remove()
	limits, err := manageddata.OpenMap[string, int]("api", "rate_limits", manageddata.Options{Dir: dir})
	if err != nil {
		panic(err)
	}
	defer limits.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := limits.Put(ctx, "search", 100); err != nil {
		panic(err)
	}
	for view := range limits.Changes(ctx) {
		limit, _ := view.Value("search")
		fmt.Println("search is limited to", limit)
		cancel() // a service goes on
	}
	// Output: search is limited to 100
}

// An application that follows a hundred of them watches the directory once.
func ExampleOpenDir() {
	dir, remove := temporary()
	defer remove()
	watch, err := manageddata.OpenDir(manageddata.Options{Dir: dir})
	if err != nil {
		panic(err)
	}
	defer watch.Close()
	total := 0
	for _, key := range []string{"blacklist", "whitelist", "greylist"} {
		list, err := manageddata.OpenList[string]("spam", key, manageddata.Options{In: watch})
		if err != nil {
			panic(err)
		}
		defer list.Close()
		added, err := list.Add(context.Background(), "10.0.0.1", "10.0.0.2")
		if err != nil {
			panic(err)
		}
		total += added
	}
	fmt.Println(total)
	// Output: 6
}
