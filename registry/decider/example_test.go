package decider_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	"github.com/kingpinfs/kingpin/registry/decider"
)

// A service opens the deciders once, resolves its gates once, and asks them in every request.
func Example() {
	deciders, err := decider.Open(decider.Options{Logger: slog.Default()})
	if err != nil {
		panic(err) // bad options; a missing file is no error
	}
	defer deciders.Close()
	ranker := deciders.Gate("new_ranker", 0)

	http.HandleFunc("/feed", func(w http.ResponseWriter, r *http.Request) {
		user, _ := strconv.ParseInt(r.FormValue("user"), 10, 64)
		if ranker.ActiveFor(user) {
			fmt.Fprintln(w, "the new feed")
		} else {
			fmt.Fprintln(w, "the old feed")
		}
	})
}

// A test says what it wants.
func ExampleFixed() {
	deciders := decider.Fixed(map[string]int{"new_ranker": 100})
	fmt.Println(deciders.Gate("new_ranker", 0).Active(), deciders.Gate("unknown", 25).Value())
	// Output: true 25
}

// A test of a whole program is a directory with a file in it.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "deciders")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "config.manageddata.admin.decider")
	if err := os.WriteFile(file, []byte(`{"new_ranker": 42}`), 0o644); err != nil {
		panic(err)
	}
	deciders, err := decider.Open(decider.Options{Dir: dir})
	if err != nil {
		panic(err)
	}
	defer deciders.Close()
	gate := deciders.Gate("new_ranker", 0)
	fmt.Println(gate.Value(), gate.ActiveFor(41), gate.ActiveFor(42), gate.ActiveFor(-1))
	// Output: 42 true false false
}

// Why somebody sees what he sees.
func ExampleGate_Explain() {
	deciders := decider.Fixed(map[string]int{"exp": 60})
	fmt.Printf("%+v\n", deciders.Gate("exp", 0).Explain("user:1"))
	fmt.Printf("%+v\n", deciders.Gate("exq", 10).Explain("user:1"))
	// Output:
	// {Value:60 Bucket:55 Active:true Reason:published}
	// {Value:10 Bucket:14 Active:false Reason:default: nobody has set exq}
}
