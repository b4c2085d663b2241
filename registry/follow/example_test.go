package follow_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kingpinfs/kingpin/registry/follow"
)

// Any file that a program should not have to be restarted for.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "follow")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "settings.json")

	type settings struct{ Workers int }
	parse := func(content []byte) (s settings, err error) { err = json.Unmarshal(content, &s); return s, err }
	file, err := follow.Open(path, parse, follow.Options{})
	if err != nil {
		panic(err) // bad arguments; the file may come later
	}
	defer file.Close()
	_, ok := file.Load()
	fmt.Println(ok)

	if err := os.WriteFile(path, []byte(`{"Workers": 8}`), 0o644); err != nil {
		panic(err)
	}
	if err := file.Wait(context.Background()); err != nil {
		panic(err)
	}
	s, _ := file.Load()
	fmt.Println(s.Workers)
	// Output:
	// false
	// 8
}
