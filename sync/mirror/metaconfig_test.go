package mirror

import (
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

func TestMetaconfigIsReadAndReplaced(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx := w.Context()
		w.make(web, ham)
		m := w.boot("a", follows(web))
		w.must(m.Create(ctx, spam, nil, nil, "ann"))
		said, err := m.Metaconfig(ctx, spam)
		w.must(err)
		if !strings.Contains(string(said), `"max_wait_in_secs": 0`) {
			t.Errorf("a new metaconfig is %s", said)
		}
		spread := func(sections registry.Metaconfig) (registry.Metaconfig, error) {
			if len(sections) == 0 {
				sections = registry.NewMetaconfig(spam)
			}
			sections[0].MaxWait = time.Minute
			return sections, nil
		}
		for range 2 {
			said, err = m.EditMetaconfig(ctx, spam, "ann", spread)
			w.must(err)
			again, err := m.Metaconfig(ctx, spam)
			w.must(err)
			if string(said) != string(again) || !strings.Contains(string(said), `"max_wait_in_secs": 60`) {
				t.Errorf("edited it is %s", again)
			}
		}
		m.said(1, "metaconfig published", "author=ann")

		// One that nobody has written, or that nobody can read, may be written too; one of another name may not.
		if said, err := m.Metaconfig(ctx, ham); err != nil || len(said) != 0 {
			t.Errorf("one that was never written is %q (%v)", said, err)
		}
		w.publishMetaconfig(spam, "no JSON")
		_, err = m.EditMetaconfig(ctx, spam, "ann", spread)
		w.must(err)
		_, err = m.EditMetaconfig(ctx, ham, "ann", spread)
		w.is(err, registry.ErrInvalid)
		_, err = m.Metaconfig(ctx, "config.manageddata.spam.blacklst")
		w.is(err, registry.ErrNotExist)
		_, err = m.EditMetaconfig(ctx, "config.manageddata.spam.blacklst", "ann", spread)
		w.is(err, registry.ErrNotExist)
	})
}
