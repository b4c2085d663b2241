package follow

import (
	"fmt"
	"log/slog"
	"time"
)

// entry is one followed file as the loop sees it. Only the loop changes it once it is added.
type entry struct {
	name   string
	limit  int64
	log    *slog.Logger
	take   func(content) error // makes a value of a content; its error is what is wrong with it
	report func(error)

	removed bool
	want    bool // to be looked at
	force   bool // even if its stat is the same
	now     bool // and believed without waiting whether somebody is writing it
	waiters []chan struct{}

	last     *content      // as it was read last, without its data
	good     *content      // what take accepted last, without its data
	verdict  error         // of take on last
	doubted  time.Time     // when the file was last seen to be missing or in motion; zero if it is neither
	doubt    time.Duration // for how long it was seen so
	recheck  time.Time     // when to look again because of that; zero if there is none
	reported string        // the text of what was reported last
}

// patience with a file that is never left alone: after that its content is taken as it is.
const restless = 20 * settle

// looked is given what a look at the file found.
func (e *entry) looked(c *content, err error, now time.Time, believe bool) {
	switch {
	case err == errUnchanged:
		e.certain()
		e.wrong(e.verdict)
	case err != nil:
		if !believe && e.doubtful(now, settle) {
			return // replaced by deleting it first, perhaps
		}
		e.certain()
		e.last = nil
		e.wrong(err)
	case e.believes(c, believe):
		e.accept(c)
	default:
		before := e.last
		e.last = &content{info: c.info, sum: c.sum, torn: true, link: c.link, at: c.at}
		if before != nil && before.torn && before.sum == c.sum && before.info.ModTime().Equal(c.info.ModTime()) {
			e.last.at = before.at // it was first seen then
		}
		if !c.torn && c.at.Sub(e.last.at) >= settle || !e.doubtful(now, restless) {
			e.accept(c)
		}
	}
}

// believes says whether a content can be taken at once. An empty file that was made just now most likely waits for its content.
func (e *entry) believes(c *content, asked bool) bool {
	return c.settled() || asked && !c.torn && (len(c.data) > 0 || e.good != nil)
}

// certain ends all doubt.
func (e *entry) certain() {
	e.doubted, e.doubt, e.recheck = time.Time{}, 0, time.Time{}
}

// doubtful says whether to look again soon, which it does for at most the time given. Time in which nobody has looked does not count: a
// process that stands still for a second knows nothing of what was going on.
func (e *entry) doubtful(now time.Time, most time.Duration) bool {
	if !e.doubted.IsZero() {
		e.doubt += min(now.Sub(e.doubted), settle)
	}
	e.doubted = now
	if e.doubt >= most {
		return false
	}
	if e.recheck.IsZero() || !e.recheck.After(now) {
		e.recheck = now.Add(settle)
	}
	return true
}

// accept takes a content, if it is another one than before.
func (e *entry) accept(c *content) {
	e.certain()
	equal := func(old *content) bool { // the plain files under a mount have the bytes of a version, but not its number
		return old != nil && old.sum == c.sum && (old.version == c.version || c.version == "")
	}
	judged := equal(e.last) && !e.last.torn
	whole := *c
	c.data = nil
	e.last = c
	switch {
	case judged:
	case equal(e.good):
		e.verdict = nil
	default:
		if e.verdict = e.take(whole); e.verdict == nil {
			e.good = c
		} else {
			e.verdict = fmt.Errorf("%s: %w", c.path, e.verdict)
		}
	}
	e.wrong(e.verdict)
}

// wrong reports what is wrong with the file, nil for nothing, once.
func (e *entry) wrong(err error) {
	if err == nil {
		if e.reported != "" {
			e.log.Info("file is good again", "file", e.name)
		}
		e.reported = ""
		e.report(nil)
		return
	}
	if text := err.Error(); text != e.reported {
		e.reported = text
		if e.good != nil {
			e.log.Warn("file is not good, the last good content stays", "file", e.name, "error", err)
		} else {
			e.log.Warn("file is waited for", "file", e.name, "error", err)
		}
	}
	e.report(err)
}

// uneasy says whether an event of another name may be about this file: it is a symbolic link, or is not there.
func (e *entry) uneasy() bool { return e.last == nil || e.last.link != "" }
