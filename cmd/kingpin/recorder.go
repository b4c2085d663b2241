package main

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/kingpinfs/kingpin/sync/disk"
	"github.com/kingpinfs/kingpin/sync/mirror"
)

// maxPublishes is how many publishes are remembered.
const maxPublishes = 100

// recorder remembers the last publishes from this machine, for .status/publishes.json. A restart forgets them; the log does not.
type recorder struct {
	mu   sync.Mutex
	last []publishRecord // oldest first
}

func (r *recorder) add(p mirror.Publication, e disk.Entry, err error, started time.Time) {
	record := publishRecord{
		Name: string(p.Name), Time: started.UTC(), Took: seconds(time.Since(started)), Result: "ok",
		Decider: p.Decider, Version: string(e.Version), Author: p.Author, Message: p.Message, Size: int64(len(p.Body)),
	}
	if err != nil {
		record.Result, record.Error = kindOfError(err), err.Error()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.last) == maxPublishes {
		r.last = slices.Delete(r.last, 0, 1)
	}
	r.last = append(r.last, record)
}

// list is the publishes, newest first.
func (r *recorder) list() []publishRecord {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := slices.Clone(r.last)
	slices.Reverse(list)
	if list == nil {
		list = []publishRecord{}
	}
	return list
}

// kindOfError is the word for an error in the table of failures.
func kindOfError(err error) string {
	for _, f := range failures {
		if errors.Is(err, f.err) || errors.Is(err, f.errno) {
			return f.kind
		}
	}
	return "failed"
}
